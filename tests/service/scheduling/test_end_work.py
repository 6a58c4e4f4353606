"""A batch with end work is finalizing until one worker has done it, once, whatever is killed."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from batchmill.db import batches, ends, schema, webhooks, workers
from batchmill.db.connect import Database
from batchmill.db.ends import EndClaim
from batchmill.db.types import at
from batchmill.errors.outage import DatabaseUnavailableError, StorageUnavailableError
from batchmill.model.batch import Batch, BatchStatus
from batchmill.model.item import WorkerId
from batchmill.model.webhook import WebhookId
from batchmill.service import batch_control
from batchmill.service.batch_control import RetryScope
from batchmill.service.context import ServerContext
from batchmill.service.family_rules import EndWork, FamilyRules
from batchmill.service.scheduling import end_work, endings, transitions
from batchmill.service.scheduling.end_work import EndWorker
from batchmill.storage.base import Storage
from support.rows import BATCH, LEASE_MS, OWNER, UNREADABLE, WEEK_MS, Rows
from support.server_contexts import (
    batch_of,
    new_context,
    nothing_special,
    scripted,
    send,
    swept,
    until,
    until_ended,
    working,
)

pytestmark = pytest.mark.all_databases


def finalizing(rows: Rows, number: int = 1, **order: Any) -> None:
    """Send a batch with end work, tell a webhook of its end, and let all its items end."""
    told: dict[str, Any] = {"url": "http://127.0.0.1/", "secret": "s", "every_batch": True}
    rows.do(webhooks.insert, WebhookId("wh_1"), OWNER, **told)
    rows.batch(number, end_work=True, **order)
    for claimed in rows.take():
        rows.finish(claimed)


def notices(rows: Rows) -> int:
    with rows.database.engine.connect() as conn:
        return len(conn.execute(select(schema.notices.c.id)).all())


def claim(rows: Rows, worker: str) -> EndClaim:
    held = rows.do(ends.claim, rows.enter(worker))
    assert held is not None
    return held


def end(rows: Rows, held: EndClaim, **more: str) -> BatchStatus | None:
    found = rows.do(endings.end, held, retention_ms=WEEK_MS, **more)
    return found.status if found else None


def test_the_end_of_its_items_is_not_yet_the_end_of_the_batch(database: Database) -> None:
    rows = Rows(database)
    finalizing(rows, 2)
    batch = rows.batch_as_read()
    assert (batch.status, batch.ended_at, batch.expires_at) == ("finalizing", None, None)
    assert notices(rows) == 0
    assert rows.take() == []
    assert end(rows, claim(rows, "wrk_a")) is BatchStatus.COMPLETED
    batch = rows.batch_as_read()
    assert (batch.status, batch.counts.completed) == ("completed", 2)
    assert batch.ended_at is not None
    assert notices(rows) == 1
    assert rows.do(ends.claim, WorkerId("wrk_a")) is None


def test_one_worker_has_it_at_a_time_and_only_with_a_lease(database: Database) -> None:
    rows = Rows(database)
    finalizing(rows)
    assert rows.do(ends.claim, WorkerId("wrk_unknown")) is None
    held = claim(rows, "wrk_a")
    assert rows.do(ends.claim, rows.enter("wrk_b")) is None
    assert rows.at_any_time(ends.is_held, held)


def test_the_end_of_an_older_attempt_changes_nothing(database: Database) -> None:
    rows = Rows(database)
    finalizing(rows)
    first = claim(rows, "wrk_a")
    rows.now += LEASE_MS + 1
    rows.enter("wrk_b")
    assert rows.do(ends.free_gone) == 1
    assert rows.do(ends.free_gone) == 0
    second = claim(rows, "wrk_b")
    assert not rows.at_any_time(ends.is_held, first)
    assert end(rows, first) is None
    assert rows.batch_as_read().status is BatchStatus.FINALIZING
    assert end(rows, second) is BatchStatus.COMPLETED
    assert end(rows, second) is None
    assert notices(rows) == 1


def test_a_claim_whose_answer_was_lost_is_made_again(database: Database) -> None:
    rows = Rows(database)
    finalizing(rows)
    lost = claim(rows, "wrk_a")
    again = claim(rows, "wrk_a")
    assert again.attempt == lost.attempt + 1
    assert end(rows, lost) is None
    assert end(rows, again) is BatchStatus.COMPLETED


def test_workers_that_are_lost_with_it_count_as_its_errors(database: Database) -> None:
    rows = Rows(database)
    finalizing(rows)
    for number in range(end_work.MOST_ERRORS):
        assert claim(rows, f"wrk_{number}").errors == number
        rows.now += LEASE_MS + 1
        rows.enter("wrk_other")
        rows.do(ends.free_gone)
    assert claim(rows, "wrk_last").errors == end_work.MOST_ERRORS


async def test_work_with_which_workers_were_lost_is_not_tried_again(
    database: Database, tmp_path: Path
) -> None:
    async def never(_db: Database, _storage: Storage, _batch: Batch) -> None:
        raise AssertionError

    context = context_with(database, tmp_path, never)
    batch_id = await send(context, 1)
    over = {"status": BatchStatus.FINALIZING, "end_errors": end_work.MOST_ERRORS}
    await database.run(batches.change, batch_id, **over)
    async with working(context, scripted(tmp_path, nothing_special)):
        with pytest.raises(TimeoutError):
            await until_ended(context, batch_id, limit_s=1.5)
    assert (await batch_of(context, batch_id)).counts.pending == 1, "not while a file is left"


def test_a_cancellation_takes_the_work_away(database: Database) -> None:
    rows = Rows(database)
    finalizing(rows)
    held = claim(rows, "wrk_a")
    rows.at_any_time(batches.start_cancelling, BATCH)
    assert not rows.at_any_time(ends.is_held, held)
    assert end(rows, held) is None
    rows.at_any_time(batch_control._cancel_chunk, BATCH, retention_ms=WEEK_MS)
    assert rows.batch_as_read().status is BatchStatus.CANCELLED
    assert notices(rows) == 1


def test_a_retry_before_the_end_runs_the_files_first(database: Database) -> None:
    rows = Rows(database)
    rows.batch(1, end_work=True)
    rows.finish(rows.take()[0], UNREADABLE)
    held = claim(rows, "wrk_a")
    assert rows.at_any_time(batch_control._retry_chunk, BATCH, RetryScope(), is_first=True) == 1
    assert end(rows, held) is None
    assert rows.batch_as_read().status is BatchStatus.QUEUED
    rows.finish(rows.take()[0])
    assert end(rows, claim(rows, "wrk_a")) is BatchStatus.COMPLETED


def test_a_batch_that_is_closed_or_found_by_the_sweep_has_its_end_work_too(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(1, end_work=True, keep_open=True)
    rows.finish(rows.take()[0])
    rows.at_any_time(batch_control._close, BATCH, retention_ms=WEEK_MS)
    assert rows.batch_as_read().status is BatchStatus.FINALIZING
    rows.batch(2, batch_id="bat_2", end_work=True)
    rows.take(most=1)
    for claimed in rows.take(most=1):
        rows.finish(claimed, by="wrk_a")
    for claimed in held_of(rows):
        rows.finish(claimed, by="wrk_a")
    rows.at_any_time(endings.end_finished, "bat_2", retention_ms=WEEK_MS)
    assert rows.batch_as_read("bat_2").status is BatchStatus.FINALIZING
    assert notices(rows) == 0


def held_of(rows: Rows) -> list[transitions.Claimed]:
    """Hand back what is in hand, and claim it again."""
    rows.now += 10 * LEASE_MS
    rows.rescue()
    return rows.take()


# A worker


def context_with(database: Database, folder: Path, work: EndWork, **more: Any) -> ServerContext:
    rules: Mapping[str, FamilyRules] = {"images": FamilyRules(end_work=work)}
    return replace(new_context(database, folder, **more), family_rules=rules)


async def test_a_worker_does_it_once_all_items_have_ended(
    database: Database, tmp_path: Path
) -> None:
    seen: list[Batch] = []

    async def count(_db: Database, _storage: Storage, batch: Batch) -> None:
        seen.append(batch)

    context = context_with(database, tmp_path, count)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 3)
        batch = await until_ended(context, batch_id)
    assert batch.status is BatchStatus.COMPLETED
    assert [(each.id, each.counts.completed) for each in seen] == [(batch_id, 3)]


async def test_an_outage_is_waited_out_and_errors_end_the_batch_without_it(
    database: Database, tmp_path: Path
) -> None:
    tries: list[int] = []

    async def fail(_db: Database, _storage: Storage, _batch: Batch) -> None:
        tries.append(len(tries))
        if len(tries) <= 7:
            raise StorageUnavailableError
        raise ValueError(tries)

    context = context_with(database, tmp_path, fail)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 1)
        batch = await until(context, batch_id, lambda batch: len(tries) == 1)
    lease: dict[str, Any] = {"slots": 1, "stats": {}, "lease_ms": 600_000}
    await database.run(workers.enter, context.worker_id, host="h", pid=1, **lease)
    worker = EndWorker(context)
    while not batch.status.ended:
        assert not await worker.take_next(), "it is not due yet"
        await database.run(batches.change, batch_id, end_due_at=at(0))
        assert await worker.take_next()
        batch = await batch_of(context, batch_id)
    assert len(tries) == 7 + end_work.MOST_ERRORS
    assert batch.status is BatchStatus.COMPLETED
    assert batch.pause_reason == "its last step failed: a fault of the server"


async def test_work_whose_claim_is_lost_is_stopped(database: Database, tmp_path: Path) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def hang(_db: Database, _storage: Storage, _batch: Batch) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    context = context_with(database, tmp_path, hang)
    async with asyncio.timeout(60), working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 1)
        await begun.wait()
        await batch_control.cancel(context, batch_id, owner_id=None)
        await stopped.wait()
    assert (await batch_of(context, batch_id)).status is BatchStatus.CANCELLED


async def test_a_worker_that_stops_gives_it_back_and_one_that_is_killed_loses_it_to_others(
    database: Database, tmp_path: Path
) -> None:
    begun = asyncio.Event()

    async def hang(_db: Database, _storage: Storage, _batch: Batch) -> None:
        begun.set()
        await asyncio.Event().wait()

    context = context_with(database, tmp_path, hang)
    async with asyncio.timeout(60), working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 1)
        await begun.wait()
        await until(context, batch_id, lambda batch: batch.status is BatchStatus.FINALIZING)
    killed = WorkerId("wrk_killed")
    lease: dict[str, Any] = {"slots": 1, "stats": {}, "lease_ms": 600_000}
    await database.run(workers.enter, killed, host="h", pid=1, **lease)
    held = await database.run(ends.claim, killed)
    assert held is not None, "it was given back"
    assert held.errors == 0
    await database.run(workers.end_all)
    await swept(context)
    await database.run(workers.enter, WorkerId("wrk_next"), host="h", pid=1, **lease)
    assert await database.run(ends.claim, WorkerId("wrk_next")) is not None


class Broken(Database):
    """A database that is away for a while, and then refuses a statement."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.faults: list[Exception] = []

    async def run(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if function in (ends.claim, endings.end) and self.faults:
            raise self.faults.pop()
        return await super().run(function, *args, **more)


async def test_a_worker_goes_on_after_an_outage_and_after_a_fault_of_ours(
    database: Database, tmp_path: Path
) -> None:
    broken = Broken(database.engine.url.render_as_string(hide_password=False))
    done: list[Batch] = []

    async def count(_db: Database, _storage: Storage, batch: Batch) -> None:
        done.append(batch)
        if len(done) == 1:  # the answer to its end is lost
            broken.faults.append(DatabaseUnavailableError("The line broke."))

    context = context_with(broken, tmp_path, count)
    broken.faults = [ValueError("a fault of ours"), DatabaseUnavailableError("It is away.")]
    async with working(context, scripted(tmp_path, nothing_special)):
        batch = await until_ended(context, await send(context, 1))
    assert batch.status is BatchStatus.COMPLETED
    assert len(done) == 2
    await broken.aclose()


async def test_work_that_was_lost_with_its_workers_is_given_up(
    database: Database, tmp_path: Path
) -> None:
    async def never(_db: Database, _storage: Storage, _batch: Batch) -> None:
        raise AssertionError

    context = context_with(database, tmp_path, never)
    batch_id = await send(context, 1, keep_open=True)
    async with working(context, scripted(tmp_path, nothing_special)):
        await until(context, batch_id, lambda batch: batch.counts.completed == 1)
    over = {"status": BatchStatus.FINALIZING, "open": False, "end_errors": end_work.MOST_ERRORS}
    await database.run(batches.change, batch_id, **over)
    lease: dict[str, Any] = {"slots": 1, "stats": {}, "lease_ms": 600_000}
    await database.run(workers.enter, context.worker_id, host="h", pid=1, **lease)
    assert await EndWorker(context).take_next()
    batch = await batch_of(context, batch_id)
    assert batch.pause_reason == "its last step failed: workers were lost with it"
    assert batch.status is BatchStatus.COMPLETED


async def test_a_worker_that_the_database_does_not_hear_stops_what_it_does(
    database: Database, tmp_path: Path
) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def hang(_db: Database, _storage: Storage, _batch: Batch) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    context = context_with(database, tmp_path, hang, lease_s=180, renew_s=60)
    async with asyncio.timeout(60), working(context, scripted(tmp_path, nothing_special)):
        await send(context, 1)
        await begun.wait()
        context.vitals.renewed_s -= 121
        await stopped.wait()
