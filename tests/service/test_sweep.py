"""The sweep makes good what kills and lost messages leave behind."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update

from batchmill.db import batches, counters, idempotency, workers
from batchmill.db.connect import Database
from batchmill.db.schema import idempotency as answers
from batchmill.db.schema import items as item_rows
from batchmill.db.types import NOW, at
from batchmill.errors.request import EmptyBatchError
from batchmill.model import ids
from batchmill.model.batch import BatchDraft, BatchId, BatchStatus, Counts, OwnerId
from batchmill.model.item import Failure, ItemStatus, Result, WorkerId
from batchmill.model.retry import RetryPolicy
from batchmill.service import sweep
from batchmill.service.scheduling import transitions
from batchmill.service.submission.submit import Caller, Order, accept, drafted
from batchmill.storage import keys
from batchmill.storage.local import LocalStorage
from batchmill.worker import background
from support.server_contexts import (
    PIPELINE,
    a_day_later,
    a_file,
    batch_of,
    claim_as,
    items_of,
    marked,
    new_context,
    nothing_special,
    scripted,
    send,
    stored_files,
    swept,
    until,
    until_ended,
    working,
)

pytestmark = pytest.mark.all_databases


async def test_an_item_whose_worker_went_silent_waits_for_another(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1)
    await claim_as(context, "wrk_dead")
    await database.run(workers.end_all)
    await swept(context)
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.attempt, item.spent.crashes) == (ItemStatus.PENDING, 1, 0)


async def test_a_storage_that_hangs_holds_up_tidying_but_not_the_sweep(
    database: Database, tmp_path: Path
) -> None:
    class Hanging(LocalStorage):
        async def list_folders(self, prefix: str) -> AsyncIterator[str]:
            asked.set()
            await asyncio.sleep(3_600)
            yield ""

    asked = asyncio.Event()

    context = replace(new_context(database, tmp_path), storage=Hanging(tmp_path / "storage"))
    batch_id = await send(context, 1)
    async with background(sweep.run(context)):
        await asyncio.wait_for(asked.wait(), 30)
        await claim_as(context, "wrk_dead")
        await database.run(workers.end_all)
        await until(context, batch_id, lambda batch: batch.counts.pending == 1)
        assert (await items_of(context, batch_id))[0].attempt == 1


async def test_a_file_that_cannot_be_removed_ends_neither_the_sweep_nor_the_removal_of_others(
    database: Database, tmp_path: Path
) -> None:
    class Stuck(LocalStorage):
        async def delete_prefix(self, prefix: str) -> int:
            if prefix in stuck:
                raise PermissionError(prefix)
            return await super().delete_prefix(prefix)

    stuck: set[str] = set()

    storage = Stuck(tmp_path / "storage")
    context = replace(new_context(database, tmp_path, cleanup_interval_ms=1_000), storage=storage)
    await marked(context)
    first, second = await send(context, 1), await send(context, 1)
    orphans = sorted(BatchId(ids.batch_id()) for _ in range(2))
    for orphan in orphans:
        (tmp_path / f"storage/batches/{orphan}/in").mkdir(parents=True)
    stuck.update(keys.batch_prefix(each) for each in (first, orphans[0]))
    for age_s, batch_id in ((20, first), (10, second)):
        ended = {"status": BatchStatus.COMPLETED, "expires_at": NOW - age_s * 1_000}
        await database.run(batches.change, batch_id, **ended)
    await swept(context)
    await a_day_later(context)
    async with background(sweep.run(context)):
        async with asyncio.timeout(30):
            while stored_batches(tmp_path) != {first, orphans[0]}:
                await asyncio.sleep(0.02)
        batch = await send(context, 1)
        await claim_as(context, "wrk_dead")
        await database.run(workers.end_all)
        await until(context, batch, lambda batch: batch.counts.pending == 1)


def stored_batches(folder: Path) -> set[str]:
    return {path.name for path in (folder / "storage/batches").iterdir()}


async def test_a_living_lease_is_left_alone(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1)
    await claim_as(context, "wrk_living")
    await swept(context)
    assert (await batch_of(context, batch_id)).counts.queued == 1


async def test_a_start_after_a_kill_takes_everything_over_at_once(
    database: Database, tmp_path: Path
) -> None:
    killed = new_context(database, tmp_path)
    batch_id = await send(killed, 6)
    await claim_as(killed, "wrk_killed", most=2)
    started = new_context(database, tmp_path)
    await sweep.take_over(started)
    async with working(started, scripted(tmp_path, nothing_special)):
        batch = await until_ended(started, batch_id)
    assert batch.counts.completed == 6


async def test_a_cancellation_that_was_killed_in_the_middle_is_finished(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 7)
    await database.run(batches.start_cancelling, batch_id)
    await swept(context)
    batch = await batch_of(context, batch_id)
    assert (batch.status, batch.counts.cancelled) == (BatchStatus.CANCELLED, 7)


async def test_an_upload_that_stopped_is_removed_with_its_bytes(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = BatchId(ids.batch_id())
    draft = batches_draft()
    await database.run(batches.insert, batch_id, draft, owner_id=OwnerId("local"), upload_ms=-1000)
    await context.storage.put(
        f"batches/{batch_id}/in/x", a_file(context.uploads, "x").path, media_type="text/plain"
    )
    await swept(context)
    assert stored_files(tmp_path) == []
    assert await database.read(batches.get, batch_id, owner_id=None) is None


async def test_a_refused_submission_leaves_nothing(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    with pytest.raises(EmptyBatchError):
        async with drafted(context, Caller()) as batch_id:
            await accept(context, batch_id, Caller(), order=Order(PIPELINE), files=[])
    assert await database.read(batches.page, None, limit=10) == []


async def test_files_of_no_known_batch_are_removed_and_others_are_not(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    await send(context, 2)
    for name in ("bat_unknown", "not-ours"):
        left = a_file(context.uploads, "x").path
        await context.storage.put(f"batches/{name}/in/x", left, media_type="text/plain")
    (tmp_path / "storage/batches/.hidden").mkdir()
    await swept(context)
    assert len(stored_files(tmp_path)) == 4
    await a_day_later(context)
    await swept(context)
    assert len(stored_files(tmp_path)) == 3
    assert (tmp_path / "storage/batches/not-ours/in/x").exists()


async def test_a_batch_is_removed_after_its_retention_time(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, retention_s=4_000)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 2)
        batch = await until_ended(context, batch_id)
    assert batch.expires_at is not None
    assert batch.ended_at is not None
    kept = batch.expires_at - batch.ended_at  # two readings of a clock that goes on
    assert abs(kept - timedelta(seconds=4_000)) < timedelta(seconds=60)
    await swept(context)
    assert (await batch_of(context, batch_id)).counts.completed == 2
    assert len(stored_files(tmp_path)) == 4
    await database.run(batches.change, batch_id, expires_at=NOW - 1)
    await swept(context)
    assert await database.read(batches.get, batch_id, owner_id=None) is None
    assert stored_files(tmp_path) == []


async def test_kept_answers_are_dropped_after_a_day(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    owner = OwnerId("local")
    for key in ("old", "new"):
        await database.run(idempotency.begin, owner, key, body_sha256="0" * 64)
    await database.run(
        lambda conn: conn.execute(
            update(answers).where(answers.c.key == "old").values(created_at=at(1))
        )
    )
    await swept(context)
    assert await database.read(idempotency.get, owner, "old") is None
    assert await database.read(idempotency.get, owner, "new") is not None


async def test_only_one_process_leads_and_another_takes_over_when_it_resigns(
    database: Database, tmp_path: Path
) -> None:
    one, two = new_context(database, tmp_path), new_context(database, tmp_path)
    await database.run(workers.enter_leadership, sweep.LEADER)
    assert await sweep.lead(one)
    assert await sweep.lead(one)
    assert not await sweep.lead(two)
    await database.run(workers.resign, sweep.LEADER, one.process_id)
    assert await sweep.lead(two)
    assert not await sweep.lead(one)


async def test_slots_of_dead_workers_are_forgotten(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    for name, lease_ms in (("wrk_a", 60_000), ("wrk_b", -1)):
        await database.run(
            workers.enter,
            WorkerId(name),
            host="h",
            pid=1,
            slots=4,
            stats={},
            lease_ms=lease_ms,
        )
    assert await database.read(workers.known_slots) == (4, 1)
    await swept(context)
    assert [worker.id for worker in await database.read(workers.alive)] == ["wrk_a"]
    assert await database.run(workers.forget_dead) == 0, "the sweep has removed its row"


async def test_a_retrying_item_is_not_taken_before_it_is_due(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1)
    (claimed,) = await claim_as(context, "wrk_a")
    failed = transitions.Failed(
        Failure("outage", "away", retryable=True),
        "errors",
        RetryPolicy(),
        retry_after_s=600,
    )
    ended = [transitions.EndedAttempt(claimed, failed, 1)]
    await database.run(transitions.finish, batch_id, ended, retention_ms=10**9)
    await swept(context)
    assert (await batch_of(context, batch_id)).counts.retrying == 1
    assert not await claim_as(context, "wrk_b")


async def test_a_batch_of_which_nothing_is_left_ends_although_its_last_finish_did_not_see_it(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1)
    (claimed,) = await claim_as(context, "wrk_a")
    ended = [transitions.EndedAttempt(claimed, transitions.Completed(Result()), 1)]
    by = WorkerId("wrk_a")
    await database.run(transitions.finish, batch_id, ended, retention_ms=10**9, by=by)
    assert (await batch_of(context, batch_id)).status is BatchStatus.PROCESSING
    await swept(context)
    assert (await batch_of(context, batch_id)).status is BatchStatus.COMPLETED


async def test_what_workers_counted_that_are_gone_is_moved_into_the_batches_rows(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 3)
    for name in ("wrk_a", "wrk_b"):
        await claim_as(context, name)
        await database.run(workers.leave, WorkerId(name))
    assert await database.read(counters.left_behind)
    await swept(context)
    assert not await database.read(counters.left_behind)
    assert (await batch_of(context, batch_id)).counts == Counts(pending=3)


def batches_draft() -> BatchDraft:
    return BatchDraft(
        pipeline={}, pipeline_name="", family="", tier="anonymous", priority=0, keep_open=True
    )


@pytest.mark.parametrize(
    ("silent_before_s", "renewed_before_s", "lost"),
    [(None, 0, 1), (30, 0, 1), (15, 0, 0), (None, 13, 0)],
    ids=["heard", "silent long ago", "silent just now", "lease over"],
)
async def test_a_worker_is_blamed_only_by_a_process_that_the_database_heard_all_the_time(
    database: Database,
    tmp_path: Path,
    *,
    silent_before_s: int | None,
    renewed_before_s: int,
    lost: int,
) -> None:
    context, now_s = new_context(database, tmp_path, lease_s=12), time.monotonic()
    batch_id = await send(context, 1)
    await claim_as(context, "wrk_lost")
    await database.run(workers.end_all)
    context.vitals.renewed_s = now_s - renewed_before_s
    if silent_before_s is not None:
        context.vitals.silent_s = now_s - silent_before_s
    await sweep.rescue_lost(context)

    def losses(conn: Connection) -> int:
        return int(conn.scalar(select(item_rows.c.lost)) or 0)

    assert (await batch_of(context, batch_id)).counts.pending == 1
    assert await database.read(losses) == lost
