"""Reading what belongs to one: batches, items, archives' rows, places in the queue."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection

from batchmill.db import listing
from batchmill.db.connect import Database
from batchmill.db.schema import items
from batchmill.errors.item import UnreadableFileError
from batchmill.errors.request import InvalidFieldError, NotFoundError
from batchmill.model.batch import OwnerId
from batchmill.service import batch_control
from batchmill.service.queries import PAGE_ROWS, Reading, Wanted
from batchmill.service.scheduling.transitions import Claimed
from batchmill.service.submission.submit import Caller, drafted
from support.server_contexts import (
    batch_of,
    items_of,
    new_context,
    nothing_special,
    scripted,
    send,
    send_many,
    until_ended,
    working,
)

pytestmark = pytest.mark.all_databases

MINE, YOURS = OwnerId("mine"), OwnerId("yours")


async def test_only_its_owner_reads_a_batch_and_its_items(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1, caller=Caller(MINE))
    (item,) = await items_of(context, batch_id)
    mine, yours, everyones = (Reading(context, owner) for owner in (MINE, YOURS, None))
    for reading in (mine, everyones):
        assert (await reading.batch(batch_id)).id == batch_id
        assert (await reading.item(item.id))[0].id == item.id
    with pytest.raises(NotFoundError):
        await yours.batch(batch_id)
    with pytest.raises(NotFoundError):
        await yours.item(item.id)


async def test_a_batch_whose_files_still_arrive_is_told_like_every_other(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    async with drafted(context, Caller()) as batch_id:
        told = await Reading(context, None).batch(batch_id)
        await batch_control.purge(context, batch_id)
    assert (told.status, told.counts.total) == ("uploading", 0)
    assert told.pipeline == {"steps": []}


@pytest.mark.parametrize("id_", ["", "bat_", "bat_\0", "itm_1", "bat_1' OR 1=1", "bat_" + "x" * 99])
def test_what_is_no_id_is_not_even_looked_for(database: Database, tmp_path: Path, id_: str) -> None:
    with pytest.raises(NotFoundError):
        asyncio.run(Reading(new_context(database, tmp_path), None).batch(id_))


@pytest.mark.parametrize("cursor", ["", "é", "e30", "WzFd", "WyJhIl0", "WyJhIix0cnVlXQ", "%%%%"])
async def test_a_cursor_that_is_not_ours_is_refused(
    database: Database, tmp_path: Path, cursor: str
) -> None:
    context = new_context(database, tmp_path)
    batch = await batch_of(context, await send(context, 1))
    with pytest.raises(InvalidFieldError):
        await Reading(context, None).items(batch, Wanted(), limit=1, cursor=cursor)


async def test_an_archive_has_the_files_behind_many_items_that_made_none(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send_many(context, PAGE_ROWS + 20)
    await batch_control.cancel(context, batch_id, owner_id=None)
    batch = await batch_of(context, batch_id)
    reading = Reading(context, None)
    assert await reading.archive_rows(batch, -1) == []
    with database.engine.begin() as conn:
        _complete(conn, batch_id, {PAGE_ROWS + 10: "last.txt"})
    (row,) = await reading.archive_rows(batch, -1)
    assert (row.position, row.name) == (PAGE_ROWS + 10, "last.txt")
    assert await reading.archive_rows(batch, row.position) == []


async def test_every_item_is_read_page_by_page(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    batch = await batch_of(context, await send_many(context, 2 * PAGE_ROWS + 1))
    pages = [
        [item.position for item in page]
        async for page in Reading(context, None).every_item(batch, listing.ItemFilter())
    ]
    assert [len(page) for page in pages] == [PAGE_ROWS, PAGE_ROWS, 1]
    assert [each for page in pages for each in page] == list(range(2 * PAGE_ROWS + 1))


async def test_only_waiting_batches_have_a_place_in_the_queue(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    ids = [await send(context, 1) for _ in range(3)]
    urgent = await send(context, 1, priority="high")
    await batch_control.pause(context, ids[0], owner_id=None)
    reading = Reading(context, None)

    async def place(batch_id: str) -> int | None:
        return await reading.position(await reading.batch(batch_id))

    assert [await place(each) for each in (*ids, urgent)] == [None, 2, 3, 1]
    await batch_control.resume(context, ids[0], owner_id=None)
    async with working(context, scripted(tmp_path, nothing_special)):
        await until_ended(context, urgent)
        assert await place(urgent) is None


async def test_failures_come_with_samples(database: Database, tmp_path: Path) -> None:
    def fail(claimed: Claimed) -> None:
        raise UnreadableFileError(claimed.input.name, "it is damaged")

    context = new_context(database, tmp_path)
    batch_id = await send(context, 5)
    async with working(context, scripted(tmp_path, fail)):
        batch = await until_ended(context, batch_id)
    (found,) = await Reading(context, None).failures(batch)
    assert found.group.count == 5
    assert [item.position for item in found.samples] == [0, 1, 2]


def _complete(conn: Connection, batch_id: str, names: dict[int, str]) -> None:
    for position, name in names.items():
        made = {"name": name, "bytes": 1, "media_type": "a/b", "sha256": "", "crc32": 1}
        row = items.update().where(items.c.batch_id == batch_id, items.c.position == position)
        conn.execute(row.values(status="completed", outputs=[made]))
