"""Pause, resume, cancel, retry and delete, while work goes on."""

import asyncio
from pathlib import Path

import pytest

from batchmill.db import batches, failures, items
from batchmill.db.connect import Database
from batchmill.db.types import NOW, at
from batchmill.errors.item import UnreadableFileError
from batchmill.errors.request import ConflictError, NotFoundError
from batchmill.model.batch import BatchStatus, OwnerId
from batchmill.model.item import ItemId, ItemStatus
from batchmill.service import batch_control
from batchmill.service.batch_control import RetryScope
from batchmill.service.queries import BatchFilter, Reading
from batchmill.service.scheduling.transitions import Claimed
from batchmill.service.submission.submit import Caller, add_files
from support.rows import count_by_status
from support.server_contexts import (
    a_file,
    batch_of,
    items_of,
    new_context,
    nothing_special,
    scripted,
    send,
    send_many,
    stored_files,
    swept,
    until,
    until_ended,
    working,
)

pytestmark = pytest.mark.all_databases
ALL = BatchFilter()


async def test_a_paused_batch_starts_nothing_and_a_resumed_one_ends(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 30)
    batch = await batch_control.pause(context, batch_id, owner_id=None, reason="lunch")
    assert (batch.paused, batch.pause_reason) == (True, "lunch")
    assert batch.counts.pending == 30
    async with working(context, scripted(tmp_path, nothing_special)):
        other = await send(context, 5)
        await until_ended(context, other)
        assert (await batch_of(context, batch_id)).counts.pending == 30
        await batch_control.resume(context, batch_id, owner_id=None)
        assert (await until_ended(context, batch_id)).counts.completed == 30


async def test_a_paused_queue_starts_nothing_of_anybody_until_it_is_resumed(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    before = await send(context, 30)
    await batch_control.pause_queue(context, "the disk is being changed")
    async with working(context, scripted(tmp_path, nothing_special)):
        after = await send(context, 5, caller=Caller(OwnerId("anna")))
        await swept(context)
        assert context.vitals.paused == "the disk is being changed"
        for batch_id, number in ((before, 30), (after, 5)):
            assert (await batch_of(context, batch_id)).counts.pending == number
        await batch_control.resume_queue(context)
        assert (await until_ended(context, before)).counts.completed == 30
        assert (await until_ended(context, after)).counts.completed == 5


async def test_what_another_worker_had_claimed_when_the_queue_was_paused_it_gives_back(
    database: Database, tmp_path: Path
) -> None:
    context, gate = new_context(database, tmp_path, renew_s=1), asyncio.Event()
    elsewhere = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, lambda _: gate.wait()), slots=1):
        batch_id = await send(context, 4)
        await until(context, batch_id, lambda batch: batch.counts.processing == 1)
        await batch_control.pause_queue(elsewhere, "lunch")
        batch = await until(context, batch_id, lambda batch: batch.counts.pending == 3)
        assert batch.counts.in_flight == 1
        gate.set()
        await until(context, batch_id, lambda batch: batch.counts.completed == 1)
        assert context.vitals.holding
        await batch_control.resume_queue(elsewhere)
        assert (await until_ended(context, batch_id)).counts.completed == 4


async def test_pause_and_cancel_of_2500_items_while_they_run_leave_exact_counts(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)

    async def brief(_claimed: Claimed) -> None:
        await asyncio.sleep(0.001)

    batch_id = await send_many(context, 2_500)
    async with working(context, scripted(tmp_path, brief)):
        await until(context, batch_id, lambda batch: batch.counts.completed > 5)
        await batch_control.pause(context, batch_id, owner_id=None)
        paused = await until(context, batch_id, lambda batch: not batch.counts.in_flight)
        await batch_control.resume(context, batch_id, owner_id=None)
        await until(context, batch_id, lambda b: b.counts.completed > paused.counts.completed + 5)
        batch = await batch_control.cancel(context, batch_id, owner_id=None)
    assert batch.status is BatchStatus.CANCELLED
    assert batch.counts.cancelled + batch.counts.completed == 2_500
    counted = await database.read(count_by_status, batch_id)
    assert counted[ItemStatus.CANCELLED] == batch.counts.cancelled
    assert counted[ItemStatus.COMPLETED] == batch.counts.completed


async def test_retry_runs_only_what_failed_and_percent_starts_a_new_run(
    database: Database, tmp_path: Path
) -> None:
    sound = False

    def script(claimed: Claimed) -> None:
        if not sound and claimed.input.name in {"1.txt", "3.txt"}:
            raise UnreadableFileError(claimed.input.name, "broken")

    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 5)
        await until_ended(context, batch_id)
        sound = True
        assert await batch_control.retry(context, batch_id, RetryScope(), owner_id=None) == 2
        batch = await until_ended(context, batch_id)
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.run_no, batch.run_base) == (2, 3)
    assert [item.attempt for item in await items_of(context, batch_id)] == [1, 2, 1, 2, 1]
    assert await database.read(failures.of_batch, batch_id) == []


async def test_retry_by_group_and_by_id_takes_up_only_those(
    database: Database, tmp_path: Path
) -> None:
    def script(claimed: Claimed) -> None:
        reason = "too dark" if claimed.input.name < "3" else "too bright"
        raise UnreadableFileError(claimed.input.name, reason)

    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 5)
        await until_ended(context, batch_id)
    large, small = await database.read(failures.of_batch, batch_id)
    assert (large.count, small.count) == (3, 2)
    assert "too dark" in large.message
    assert "txt" not in large.message
    retried = await batch_control.retry(
        context, batch_id, RetryScope(failure_no=small.no), owner_id=None
    )
    assert retried == 2
    (first, *_) = await items_of(context, batch_id)
    assert (
        await batch_control.retry(context, batch_id, RetryScope(ids=(first.id,)), owner_id=None)
        == 1
    )
    stranger = RetryScope(ids=(ItemId("itm_of_somebody_else"),))
    assert await batch_control.retry(context, batch_id, stranger, owner_id=None) == 0


async def test_somebody_elses_batch_is_as_absent_as_none(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1, caller=Caller(OwnerId("one")))
    for act in (
        batch_control.pause,
        batch_control.resume,
        batch_control.cancel,
        batch_control.close,
        batch_control.delete,
    ):
        with pytest.raises(NotFoundError):
            await act(context, batch_id, owner_id=OwnerId("other"))
    with pytest.raises(NotFoundError):
        await batch_control.retry(context, batch_id, RetryScope(), owner_id=OwnerId("other"))


async def test_an_ended_batch_can_be_neither_paused_nor_cancelled(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 1)
        await until_ended(context, batch_id)
    for act in (batch_control.pause, batch_control.resume, batch_control.cancel):
        with pytest.raises(ConflictError, match="completed"):
            await act(context, batch_id, owner_id=None)


async def test_an_open_batch_takes_files_until_it_is_closed(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 2, keep_open=True)
        await until(context, batch_id, lambda batch: batch.counts.completed == 2)
        assert not (await batch_of(context, batch_id)).status.ended
        assert await add_files(context, batch_id, Caller(), [a_file(context.uploads, "x.txt")]) == 1
        await batch_control.close(context, batch_id, owner_id=None)
        assert (await until_ended(context, batch_id)).counts.completed == 3
        with pytest.raises(ConflictError):
            await add_files(context, batch_id, Caller(), [a_file(context.uploads, "y.txt")])


async def test_closing_an_open_batch_whose_items_have_ended_ends_it(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 1, keep_open=True)
        await until(context, batch_id, lambda batch: batch.counts.completed == 1)
    batch = await batch_control.close(context, batch_id, owner_id=None)
    assert batch.status is BatchStatus.COMPLETED


async def test_a_batch_that_nobody_closed_ends_once_nothing_was_added_for_long(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, upload_expiry_s=60)
    async with working(context, scripted(tmp_path, nothing_special)):
        left, grown = await send(context, 1, keep_open=True), await send(context, 1, keep_open=True)
        for batch_id in (left, grown):
            await database.run(batches.change, batch_id, upload_until=at(0))
        await add_files(context, grown, Caller(), [a_file(context.uploads, "x.txt")])
        await batch_control.close_left_open(context)
        assert (await until_ended(context, left)).counts.completed == 1
        assert (await batch_of(context, grown)).open


async def test_an_open_batch_waits_for_its_first_files_too(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, upload_expiry_s=60)
    batch_id = await send(context, 0, keep_open=True)
    await batch_control.close_left_open(context)
    assert (await batch_of(context, batch_id)).open
    await database.run(batches.change, batch_id, upload_until=NOW - 1)
    await swept(context)
    assert (await batch_of(context, batch_id)).status is BatchStatus.COMPLETED


async def test_a_deleted_batch_leaves_no_row_and_no_byte(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 4)
        await until_ended(context, batch_id)
        await batch_control.delete(context, batch_id, owner_id=None)
    await swept(context)
    assert stored_files(tmp_path) == []
    assert list(await items_of(context, batch_id)) == []
    assert await database.read(batches.get_any, batch_id) is None


@pytest.mark.parametrize("runs", [False, True])
async def test_a_deleted_batch_is_hidden_at_once_and_removed_by_the_sweep(
    database: Database, tmp_path: Path, runs: bool
) -> None:
    context = new_context(database, tmp_path)
    reading = Reading(context, None)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id, kept = await send(context, 1), await send(context, 1)
        await until_ended(context, batch_id)
        await until_ended(context, kept)
    if runs:
        batch_id = await send(context, 3)
    (item, *_) = await items_of(context, batch_id)

    await batch_control.delete(context, batch_id, owner_id=None)

    assert await database.read(batches.get_any, batch_id) is not None, "nothing was removed yet"
    for read in (reading.batch(batch_id), reading.item(item.id)):
        with pytest.raises(NotFoundError):
            await read
    assert batch_id not in {each.id for each in (await reading.batches(ALL, limit=99)).data}
    assert await database.read(batches.revisions, [batch_id]) == {}
    assert await database.read(batches.several, [batch_id]) == []
    for act in (batch_control.cancel, batch_control.delete):
        with pytest.raises(NotFoundError):
            await act(context, batch_id, owner_id=None)
    async with working(context, scripted(tmp_path, nothing_special)):
        await swept(context)
    assert await database.read(batches.get_any, batch_id) is None
    assert (await batch_of(context, kept)).counts.completed == 1


async def test_another_process_goes_on_with_a_removal_that_a_kill_broke_off(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send_many(context, 5)
    await batch_control.delete(context, batch_id, owner_id=None)
    assert await database.run(items.delete_chunk, batch_id, limit=2) == 2

    await swept(new_context(database, tmp_path))

    assert list(await items_of(context, batch_id)) == []
    assert await database.read(batches.get_any, batch_id) is None
    assert stored_files(tmp_path) == []


async def test_a_deleted_batch_stays_hidden_whatever_its_running_items_do(
    database: Database, tmp_path: Path
) -> None:
    """One that fails would halt it."""
    context = new_context(database, tmp_path)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def fails(claimed: Claimed) -> None:
        begun.set()
        await goes_on.wait()
        raise UnreadableFileError(claimed.input.name, "it is damaged")

    async with working(context, scripted(tmp_path, fails)):
        batch_id = await send(context, 1, halt_after_pct=0)
        await begun.wait()
        await batch_control.delete(context, batch_id, owner_id=None)
        goes_on.set()
        seen: set[BatchStatus] = set()
        while gone := await database.read(batches.get_any, batch_id):
            seen.add(gone.status)
            await asyncio.sleep(0.02)
    assert seen <= {BatchStatus.EXPIRED}
