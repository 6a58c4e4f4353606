"""A file with which workers were lost is worked on alone, and known to have begun."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select, update

from batchmill.db.connect import Connection, Database
from batchmill.db.schema import items
from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId
from batchmill.service.context import ServerContext
from batchmill.service.scheduling.transitions import SUSPECT_LOST, Claimed
from support.server_contexts import (
    items_of,
    new_context,
    scripted,
    send,
    working,
)


async def suspected(context: ServerContext, number: int) -> BatchId:
    """Send a batch with all of whose items workers were lost."""
    batch_id = await send(context, number, keep_open=True)

    def suspect(conn: Connection) -> None:
        conn.execute(update(items).values(lost=SUSPECT_LOST))

    await context.database.run(suspect)
    return batch_id


async def test_a_suspect_is_known_to_have_begun_before_it_can_do_harm(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await suspected(context, 1)
    seen = []

    async def attempt(claimed: Claimed) -> None:
        def status(conn: Connection) -> str | None:
            return conn.scalar(select(items.c.status).where(items.c.id == claimed.claim.item_id))

        seen.append(await database.read(status))

    async with asyncio.timeout(60), working(context, scripted(tmp_path, attempt)):
        while [item.status for item in await items_of(context, batch_id)] != ["completed"]:
            await asyncio.sleep(0.01)
    assert seen == ["processing"]


async def test_a_worker_has_one_suspect_at_a_time(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    batch_id = await suspected(context, 4)
    running: set[ItemId] = set()
    most = 0

    async def attempt(claimed: Claimed) -> None:
        nonlocal most
        running.add(claimed.claim.item_id)
        most = max(most, len(running))
        await asyncio.sleep(0.2)
        running.remove(claimed.claim.item_id)

    async with asyncio.timeout(60), working(context, scripted(tmp_path, attempt), slots=4):
        while {item.status for item in await items_of(context, batch_id)} != {"completed"}:
            await asyncio.sleep(0.01)
    assert most == 1


@pytest.mark.parametrize("held_up_by", ["a suspect", "a limit"])
async def test_what_one_file_holds_up_is_asked_for_once_that_is_written(
    held_up_by: str, database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    if held_up_by == "a suspect":
        batch_id = await suspected(context, 3)
    else:
        batch_id = await send(context, 3, keep_open=True, concurrency=1)
    told = []
    listening = asyncio.create_task(context.notifier.listen(lambda: told.append(batch_id)))
    await asyncio.sleep(0)
    async with asyncio.timeout(60), working(context, scripted(tmp_path, lambda _: None)):
        while {item.status for item in await items_of(context, batch_id)} != {"completed"}:
            await asyncio.sleep(0.01)
    listening.cancel()
    assert told == [batch_id] * 3
