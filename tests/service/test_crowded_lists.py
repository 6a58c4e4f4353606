"""Lists that come too fast are refused; status, and what works, never waits for them."""

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection

from batchmill.db import connect
from batchmill.db.connect import Database
from batchmill.errors.outage import ServerBusyError
from batchmill.service.queries import BatchFilter, ItemFilter, Reading
from support.server_contexts import batch_of, new_context, send


def impatient(database: Database, wait_s: float) -> Database:
    """Open a database once more, where lists wait for so long."""
    own = Database(database.engine.url.render_as_string(hide_password=False))
    own.list_wait_s = wait_s
    return own


async def test_lists_are_refused_while_those_before_wait_and_status_is_answered(
    database: Database, tmp_path: Path
) -> None:
    database = impatient(database, 0.05)
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1)
    reading, go_on = Reading(context, None), threading.Event()

    def slow(_conn: Connection) -> None:
        go_on.wait(60)

    slow_ones = [
        asyncio.create_task(database.browse(slow)) for _ in range(connect.LIST_THREADS + 1)
    ]
    batch = await batch_of(context, batch_id)
    while True:  # until the last of them has waited for long enough
        try:
            reading.begin_list()
        except ServerBusyError:
            break
        await asyncio.sleep(0.01)
    for asking in (
        reading.batches(BatchFilter(), limit=1),
        reading.failures(batch),
    ):
        with pytest.raises(ServerBusyError, match="too many lists"):
            await asking
    assert (await reading.batch(batch_id)).id == batch_id
    go_on.set()
    await asyncio.gather(*slow_ones)
    assert (await reading.batches(BatchFilter(), limit=1)).data[0].id == batch_id


async def test_a_list_that_was_begun_is_read_to_its_end(database: Database, tmp_path: Path) -> None:
    database = impatient(database, -1.0)
    context = new_context(database, tmp_path)
    batch = await batch_of(context, await send(context, 3))
    found = [
        item
        async for items in Reading(context, None).every_item(batch, ItemFilter())
        for item in items
    ]
    assert len(found) == 3


async def test_a_list_that_was_not_waited_for_holds_up_no_other(
    database: Database,
) -> None:
    database = impatient(database, 0.0)
    go_on = threading.Event()
    running = [
        asyncio.create_task(database.browse_on(lambda _conn: go_on.wait(60)))
        for _ in range(connect.LIST_THREADS)
    ]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(database.browse_on(lambda _conn: None))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await asyncio.gather(*running)
    assert await database.browse(lambda _conn: 1) == 1
