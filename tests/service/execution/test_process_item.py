"""What happens to items when attempts, notifiers and workers misbehave."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import Connection

from batchmill.api.compat import documents
from batchmill.db import workers
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.errors.item import AttemptTimeoutError, ChildCrashedError, UnreadableFileError
from batchmill.errors.outage import DatabaseUnavailableError
from batchmill.model.batch import BatchId, BatchStatus
from batchmill.model.families import DOCUMENTS, SEQUENTIAL
from batchmill.model.item import ItemStatus, Result, Spent, WorkerId
from batchmill.notifiers.local import LocalNotifier
from batchmill.service import batch_control
from batchmill.service.scheduling import leases, transitions
from batchmill.service.scheduling.claims import CHUNK_ITEMS
from batchmill.service.scheduling.finishing import MOST_WAITING
from batchmill.service.scheduling.transitions import Claimed
from batchmill.settings.compat import DocumentsSettings, SequentialSettings
from batchmill.storage import keys
from support.rows import claim_in_one
from support.server_contexts import (
    PIPELINE,
    a_file,
    batch_of,
    claim_as,
    items_of,
    new_context,
    nothing_special,
    scripted,
    send,
    send_many,
    stored_files,
    until,
    until_ended,
    working,
)

P = ParamSpec("P")
T = TypeVar("T")


class DeafNotifier(LocalNotifier):
    """Loses everything, as a broker that is restarted empty."""

    async def notify(self, batch_ids: Collection[BatchId]) -> None:
        self.heard = batch_ids


class SlowAnswers(Database):
    """Takes longer to say that an item is settled than a worker takes to look at its claims."""

    settling = 0

    async def run(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        result = await super().run(function, *args, **more)
        if function is transitions.finish:
            self.settling += 1
            await asyncio.sleep(2 * leases.TICK_S)
        return result


@pytest.mark.parametrize("drain_s", [30, 0], ids=["looking at its claims", "shutting down"])
async def test_what_a_settled_item_made_is_kept_while_the_worker_is(
    tmp_path: Path, drain_s: int
) -> None:
    database = SlowAnswers(f"sqlite:///{tmp_path}/slow.sqlite3")
    migrate(database.engine)
    context = new_context(database, tmp_path, drain_s=drain_s)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 1)
        await until_ended(context, batch_id)
        async with asyncio.timeout(60):  # what is committed is seen before the call returns
            while not database.settling:
                await asyncio.sleep(0)
        assert database.settling == 1
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.attempt) == (ItemStatus.COMPLETED, 1)
    assert len(stored_files(tmp_path)) == 2
    await database.aclose()


@pytest.mark.all_databases
async def test_every_item_of_a_batch_is_completed_once(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    seen: Counter[str] = Counter()
    attempt = scripted(tmp_path, lambda claimed: seen.update([claimed.input.name]))
    async with working(context, attempt):
        batch_id = await send(context, 25)
        batch = await until_ended(context, batch_id)
    assert batch.status is BatchStatus.COMPLETED
    assert batch.counts.completed == batch.counts.total == 25
    assert seen == {f"{n}.txt": 1 for n in range(25)}
    assert len(stored_files(tmp_path)) == 50
    assert batch.bytes_in == batch.bytes_done == 125


@pytest.mark.all_databases
async def test_a_sequential_batch_never_has_two_items_processing(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    running, most, failed = 0, 0, set[str]()

    async def one(claimed: Claimed) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        if claimed.input.name == "2.txt" and claimed.input.name not in failed:
            failed.add(claimed.input.name)
            raise DatabaseUnavailableError("away for a moment")

    async with working(context, scripted(tmp_path, one), slots=4):
        batch_id = await send(context, 12, concurrency=1)
        batch = await until_ended(context, batch_id)
    assert most == 1
    assert batch.counts.completed == 12
    assert {item.attempt for item in await items_of(context, batch_id)} == {1, 2}


async def test_nothing_stalls_when_no_notification_arrives(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, notifier=DeafNotifier())
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 3, concurrency=1)
        batch = await until_ended(context, batch_id)
    assert batch.counts.completed == 3


@pytest.mark.all_databases
async def test_a_bad_file_fails_alone_with_its_reason(database: Database, tmp_path: Path) -> None:
    def script(claimed: Claimed) -> None:
        if claimed.input.name == "1.txt":
            raise UnreadableFileError("1.txt", "it ends in the middle")

    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 3)
        batch = await until_ended(context, batch_id)
    assert batch.status is BatchStatus.COMPLETED_WITH_ERRORS
    bad = (await items_of(context, batch_id))[1]
    assert (bad.status, bad.attempt) == (ItemStatus.FAILED, 1)
    assert bad.error is not None
    assert bad.error.message == "1.txt cannot be read: it ends in the middle"


async def test_a_file_that_kills_its_child_twice_is_quarantined(
    database: Database, tmp_path: Path
) -> None:
    def script(claimed: Claimed) -> None:
        raise ChildCrashedError(claimed.input.name, "SIGSEGV")

    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 1)
        batch = await until_ended(context, batch_id)
    assert batch.counts.quarantined == 1
    assert batch.status is BatchStatus.FAILED
    (item,) = await items_of(context, batch_id)
    assert item.spent.crashes == item.attempt == 2


async def test_a_sequential_batch_has_a_budget_of_crashes_of_its_own(
    database: Database, tmp_path: Path
) -> None:
    def script(claimed: Claimed) -> None:
        raise ChildCrashedError(claimed.input.name, "SIGSEGV")

    context = new_context(database, tmp_path, sequential=SequentialSettings(crashes=0))
    one_by_one = replace(PIPELINE, family=SEQUENTIAL, concurrency=1)
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 1, pipeline=one_by_one)
        await until_ended(context, batch_id)
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.spent.crashes) == (ItemStatus.FAILED, 1)


async def test_a_document_whose_child_crashes_is_tried_again_as_often_as_its_setting_says(
    database: Database, tmp_path: Path
) -> None:
    def script(claimed: Claimed) -> None:
        raise ChildCrashedError(claimed.input.name, "SIGSEGV")

    context = new_context(database, tmp_path, documents=DocumentsSettings(retries=2))
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 1, pipeline=replace(PIPELINE, family=DOCUMENTS))
        await until_ended(context, batch_id)
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.spent.crashes) == (ItemStatus.QUARANTINED, 3)
    assert documents.retry_count(item) == 2


async def test_a_timeout_uses_its_own_budget(database: Database, tmp_path: Path) -> None:
    tried: Counter[str] = Counter()

    def script(claimed: Claimed) -> None:
        tried.update([claimed.input.name])
        if tried[claimed.input.name] == 1:
            raise AttemptTimeoutError(claimed.input.name, 30)

    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 2)
        await until_ended(context, batch_id)
    for item in await items_of(context, batch_id):
        assert (item.status, item.spent.timeouts, item.spent.errors) == (
            ItemStatus.COMPLETED,
            1,
            0,
        )


@pytest.mark.all_databases
async def test_a_stale_worker_cannot_finish_an_item_and_leaves_no_file(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1)

    async def taken_over(claimed: Claimed) -> None:
        if claimed.claim.attempt > 1:
            return
        await database.run(workers.enter, other, **lease)
        successors.extend(await database.run(take_over, claimed))

    def take_over(conn: Connection, claimed: Claimed) -> Sequence[Claimed]:
        """Hand back and claim at once: this worker must not be faster."""
        transitions.hand_back(conn, batch_id, [claimed.claim])
        return claim_in_one(conn, transitions.Asking(other, slots=1, most=lambda _: 1))

    other = WorkerId("wrk_other")
    lease: dict[str, Any] = {"host": "h", "pid": 1, "slots": 1, "stats": {}, "lease_ms": 600_000}
    successors: list[Claimed] = []
    async with working(context, scripted(tmp_path, taken_over)):
        async with asyncio.timeout(60):
            while not successors or len(stored_files(tmp_path)) > 1:
                await asyncio.sleep(0.02)
        (found,) = await items_of(context, batch_id)
        assert (found.status, found.attempt, found.result) == (ItemStatus.QUEUED, 2, None)
        done = [transitions.EndedAttempt(successors[0], transitions.Completed(Result()), 1)]
        found_out = await database.run(transitions.finish, batch_id, done, retention_ms=1_000)
        assert None not in found_out


async def test_an_attempt_whose_batch_is_cancelled_is_stopped(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    stopped = asyncio.Event()

    async def hang(_claimed: Claimed) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            stopped.set()

    async with working(context, scripted(tmp_path, hang)):
        batch_id = await send(context, 5)
        await until(context, batch_id, lambda batch: batch.counts.processing == 2)
        batch = await batch_control.cancel(context, batch_id, owner_id=None)
        assert batch.status is BatchStatus.CANCELLED
        async with asyncio.timeout(60):
            await stopped.wait()
    assert (await batch_of(context, batch_id)).counts.cancelled == 5


@pytest.mark.all_databases
async def test_a_worker_that_stops_hands_back_without_counting_an_attempt(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, drain_s=0.05)

    async def hang(_claimed: Claimed) -> None:
        await asyncio.sleep(600)

    async with working(context, scripted(tmp_path, hang)):
        batch_id = await send(context, 3)
        await until(context, batch_id, lambda batch: batch.counts.processing == 2)
    batch = await batch_of(context, batch_id)
    assert (batch.counts.in_flight, batch.counts.unfinished) == (0, 3)
    assert all(item.spent == Spent() for item in await items_of(context, batch_id))
    async with working(context, scripted(tmp_path, nothing_special)):
        assert (await until_ended(context, batch_id)).counts.completed == 3


async def test_a_batch_stops_when_more_failed_than_its_sender_allows(
    database: Database, tmp_path: Path
) -> None:
    def script(claimed: Claimed) -> None:
        raise UnreadableFileError(claimed.input.name, "no picture")

    context = new_context(database, tmp_path)
    batch_id = await send_many(context, 1_000, halt_after_pct=10)
    async with working(context, scripted(tmp_path, script)):
        batch = await until_ended(context, batch_id)
    assert batch.status is BatchStatus.CANCELLED
    # What fails at once is written together with what failed beside it; and while the database is
    # slow, a worker goes on until so many wait to be written.
    assert 100 < batch.counts.failed < 100 + CHUNK_ITEMS + MOST_WAITING + 50
    assert batch.pause_reason == "stopped: more than 10 % of the files failed"


async def test_a_fault_of_ours_fails_its_item_and_the_worker_goes_on(
    database: Database, tmp_path: Path
) -> None:
    def script(claimed: Claimed) -> None:
        if claimed.input.name == "0.txt":
            raise ZeroDivisionError("secret detail")
        if claimed.input.name == "1.txt":
            raise TimeoutError

    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, script)):
        batch_id = await send(context, 3)
        batch = await until_ended(context, batch_id)
    assert (batch.counts.failed, batch.counts.completed) == (2, 1)
    (first, *_) = await items_of(context, batch_id)
    assert first.error is not None
    assert first.error.code == "operation_failed"
    assert "secret" not in first.error.message


async def test_outputs_of_a_killed_attempt_are_removed_once_a_later_one_has_settled(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await send(context, 1)
    await claim_as(context, "wrk_dead")
    await database.run(workers.end_all)
    (item,) = await items_of(context, batch_id)
    left = a_file(context.uploads, "left").path
    await context.storage.put(
        keys.output_key(batch_id, item.id, 1, 0), left, media_type="text/plain"
    )
    async with working(context, scripted(tmp_path, nothing_special)):
        await until_ended(context, batch_id)
    (item,) = await items_of(context, batch_id)
    assert item.attempt == 2
    assert len(stored_files(tmp_path)) == 2


async def test_a_worker_that_drains_counts_for_nobody_and_finishes_what_it_has(
    database: Database, tmp_path: Path
) -> None:
    context, gate = new_context(database, tmp_path), asyncio.Event()
    async with working(context, scripted(tmp_path, lambda _: gate.wait())) as stopping:
        batch_id = await send(context, 9)
        await until(context, batch_id, lambda batch: batch.counts.processing == 2)
        assert await context.database.read(workers.known_slots) == (2, 1)
        stopping.set()
        while await context.database.read(workers.known_slots) != (0, 0):
            await asyncio.sleep(0.02)
        assert [row.draining for row in await context.database.read(workers.alive)] == [True]
        gate.set()
        batch = await until(context, batch_id, lambda batch: batch.counts.in_flight == 0)
    assert (batch.counts.completed, batch.counts.pending) == (2, 7)
