"""Pause, resume, cancel and retry between a claim and its finish; the rows say what came of it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from batchmill.db import batches, failures, items
from batchmill.db.connect import Database
from batchmill.errors.request import ConflictError
from batchmill.model.batch import BatchStatus
from batchmill.model.item import ItemId, WorkerId
from batchmill.service import batch_control
from batchmill.service.batch_control import RetryScope
from support.rows import AWAY, BATCH, CRASHED, DONE, LEASE_MS, SLOW, UNREADABLE, WEEK_MS, Rows
from support.server_contexts import new_context

Act = Callable[..., Awaitable[object]]


class Acting(Rows):
    """Rows on which a person acts through the service."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database)
        self.folder = folder

    def act(self, act: Act, *args: object) -> Any:
        async def acted() -> object:
            return await act(new_context(self.database, self.folder), BATCH, *args, owner_id=None)

        return asyncio.run(acted())


@pytest.fixture
def rows(database: Database, tmp_path: Path) -> Acting:
    return Acting(database, tmp_path)


def test_a_paused_batch_lets_what_is_claimed_finish_and_nothing_else_be_claimed(
    rows: Acting,
) -> None:
    rows.batch(3)
    running, waiting = rows.take(most=2)
    rows.begin(running)
    rows.act(batch_control.pause)
    assert rows.counts() == {"pending": 1, "processing": 1, "queued": 1}
    held = rows.at_any_time(items.of_worker, WorkerId("wrk_a"))
    assert [(each.claim.item_id, each.waits) for each in held] == [
        (running.claim.item_id, True),
        (waiting.claim.item_id, True),
    ]
    rows.hand_back(waiting)
    assert rows.take() == []
    assert rows.finish(running) is not None
    assert rows.counts() == {"completed": 1, "pending": 2}
    batch = rows.batch_row()
    assert (batch["paused"], batch["pause_reason"]) == (True, "paused by the user")
    rows.act(batch_control.resume)
    batch = rows.batch_row()
    assert (batch["paused"], batch["pause_reason"]) == (False, None)
    assert len(rows.take()) == 2


def test_a_retry_that_is_to_come_outlasts_a_pause(rows: Acting) -> None:
    (item_id,) = rows.batch()
    rows.finish(rows.claimed(item_id), AWAY)
    rows.act(batch_control.pause)
    rows.now += 2_000
    assert rows.take() == []
    rows.act(batch_control.resume)
    assert [each.claim.item_id for each in rows.take()] == [item_id]
    assert rows.item(item_id)["errors"] == 1


def test_a_paused_item_whose_worker_died_is_rescued_and_not_delivered(rows: Acting) -> None:
    (item_id,) = rows.batch()
    rows.claimed(item_id)
    rows.act(batch_control.pause)
    rows.now += LEASE_MS + 1
    assert rows.rescue() == 1
    assert rows.take() == []
    assert rows.counts() == {"pending": 1}


def test_a_cancellation_takes_the_claim_of_what_runs_and_its_finish_changes_nothing(
    rows: Acting,
) -> None:
    rows.batch(5, keep_open=True)
    done, claimed, retrying, _ = rows.take(most=4)
    rows.finish(done)
    rows.finish(retrying, AWAY)
    rows.begin(claimed)
    running = claimed.claim.item_id
    assert rows.counts() == {
        "completed": 1,
        "pending": 1,
        "processing": 1,
        "queued": 1,
        "retrying": 1,
    }
    assert rows.at_any_time(items.hold, [claimed.claim]) == {running: "processing"}
    rows.act(batch_control.cancel)
    assert rows.at_any_time(items.hold, [claimed.claim]) == {}
    assert rows.counts() == {"cancelled": 4, "completed": 1}
    item, batch = rows.item(running), rows.batch_row()
    assert (item["status"], item["worker_id"]) == ("cancelled", None)
    assert item["ended_at"] is not None
    assert batch["status"] == "cancelled"
    assert batch["open"] is False
    assert (batch["expires_at"] - batch["ended_at"]).total_seconds() * 1000 == WEEK_MS
    for outcome in (DONE, UNREADABLE, AWAY):
        assert rows.finish(claimed, outcome) is None
    assert (rows.item(running), rows.batch_row()) == (item, batch)


def test_a_batch_that_is_being_cancelled_ends_as_cancelled_when_its_last_item_finishes(
    rows: Acting,
) -> None:
    (item_id,) = rows.batch()
    claimed = rows.claimed(item_id)
    rows.at_any_time(batches.start_cancelling, BATCH)
    settled = rows.finish(claimed)
    assert settled is not None
    assert settled.ended is not None
    assert settled.ended.status is BatchStatus.CANCELLED
    assert rows.counts() == {"completed": 1}


def test_cancelling_is_begun_once_and_not_after_the_end(rows: Acting) -> None:
    (item_id,) = rows.batch()
    assert rows.at_any_time(batches.start_cancelling, BATCH, reason="why")
    assert not rows.at_any_time(batches.start_cancelling, BATCH, reason="again")
    assert rows.batch_row()["pause_reason"] == "why"
    rows.batch(batch_id="bat_2")
    rows.finish(rows.claimed(ItemId("itm_bat_2_0")))
    assert not rows.at_any_time(batches.start_cancelling, "bat_2")
    assert rows.batch_row("bat_2")["status"] == "completed"
    assert rows.item(item_id)["status"] == "pending"


def test_cancelling_and_retrying_reach_the_end_of_a_batch_larger_than_a_chunk(
    rows: Acting,
) -> None:
    number = batch_control.CHUNK_ROWS + 2
    rows.batch(number)
    rows.take()
    rows.act(batch_control.cancel)
    assert rows.counts() == {"cancelled": number}
    assert rows.act(batch_control.retry, RetryScope(cancelled=True)) == number
    batch = rows.batch_row()
    assert (batch["run_no"], batch["run_base"], batch["status"]) == (2, 0, "queued")


# A person's retry


def used_up(rows: Acting) -> ItemId:
    """An item that failed after it has used each of its budgets."""
    (item_id,) = rows.batch()
    for outcome in (AWAY, SLOW, CRASHED, CRASHED):
        rows.finish(rows.claimed(item_id), outcome)
        rows.now += 600_000
    item = rows.item(item_id)
    used = (item["status"], item["errors"], item["crashes"], item["timeouts"])
    assert used == ("quarantined", 1, 2, 1)
    return item_id


def test_a_persons_retry_gives_an_item_all_its_tries_back(rows: Acting) -> None:
    item_id = used_up(rows)
    assert rows.act(batch_control.retry, RetryScope()) == 1
    item = rows.item(item_id)
    assert (item["errors"], item["crashes"], item["timeouts"]) == (0, 0, 0)
    assert item["attempt"] == 4, "the fence keeps rising"
    emptied = ("error_code", "error_message", "failure_no", "ended_at", "worker_id")
    assert [item[name] for name in emptied] == [None] * 5
    claimed = rows.claimed(item_id)
    assert claimed.claim.attempt == 5
    for outcome in (CRASHED, AWAY, AWAY):
        settled = rows.finish(claimed, outcome)
        assert settled is not None
        assert settled.status == "retrying"
        rows.now += 600_000
        claimed = rows.claimed(item_id)


def test_a_retry_begins_a_new_run_of_a_batch_that_had_ended(rows: Acting) -> None:
    done, failed = rows.batch(2)
    rows.finish(rows.claimed(done))
    rows.finish(rows.claimed(failed), UNREADABLE, run_ms=50)
    assert rows.batch_row()["status"] == "completed_with_errors"
    assert rows.act(batch_control.retry, RetryScope()) == 1
    batch = rows.batch_row()
    assert (batch["status"], batch["run_no"], batch["run_base"]) == ("queued", 2, 1)
    emptied = ("ended_at", "expires_at", "run_started_at", "settled_at", "pause_reason")
    assert [batch[name] for name in emptied] == [None] * 5
    assert (batch["run_ms"], batch["run_s2"], batch["busy_ms"]) == (0, 0.0, 0)
    assert rows.counts() == {"completed": 1, "pending": 1}
    assert rows.at_any_time(failures.of_batch, BATCH) == []


def test_a_retry_takes_up_what_failed_and_only_on_demand_what_was_cancelled(
    rows: Acting,
) -> None:
    failed, crashed, cancelled = rows.batch(3)
    rows.finish(rows.claimed(failed), UNREADABLE)
    for _ in range(2):
        rows.finish(rows.claimed(crashed), CRASHED)
        rows.now += 600_000
    rows.act(batch_control.cancel)
    assert rows.counts() == {"cancelled": 1, "failed": 1, "quarantined": 1}
    assert rows.act(batch_control.retry, RetryScope()) == 2
    assert rows.item(cancelled)["status"] == "cancelled"
    assert rows.act(batch_control.retry, RetryScope(ids=(cancelled,))) == 1
    assert rows.counts() == {"pending": 3}
    assert rows.act(batch_control.retry, RetryScope(cancelled=True)) == 0


def test_a_retry_of_one_group_leaves_the_others_and_its_count_falls(rows: Acting) -> None:
    one, two = rows.batch(2)
    rows.finish(rows.claimed(one), UNREADABLE)
    rows.finish(rows.claimed(two), SLOW)
    rows.now += 600_000
    rows.finish(rows.claimed(two), SLOW)
    wanted = rows.item(one)["failure_no"]
    assert rows.act(batch_control.retry, RetryScope(failure_no=wanted)) == 1
    assert [rows.item(each)["status"] for each in (one, two)] == ["pending", "failed"]
    assert [group.no for group in rows.at_any_time(failures.of_batch, BATCH)] == [
        rows.item(two)["failure_no"]
    ]


def test_a_stale_worker_changes_nothing_after_a_persons_retry(rows: Acting) -> None:
    (item_id,) = rows.batch()
    claimed = rows.claimed(item_id)
    rows.act(batch_control.cancel)
    rows.act(batch_control.retry, RetryScope(cancelled=True))
    assert rows.finish(claimed) is None
    successor = rows.claimed(item_id)
    assert rows.finish(claimed) is None
    assert rows.finish(successor) is not None
    assert rows.counts() == {"completed": 1}


@pytest.mark.parametrize("status", [BatchStatus.CANCELLING, BatchStatus.UPLOADING])
def test_a_batch_that_is_cancelled_or_arriving_just_now_is_not_retried(
    rows: Acting, status: BatchStatus
) -> None:
    (item_id,) = rows.batch()
    rows.finish(rows.claimed(item_id), UNREADABLE)
    rows.at_any_time(batches.change, BATCH, status=status)
    with pytest.raises(ConflictError, match=status):
        rows.act(batch_control.retry, RetryScope())
    assert rows.item(item_id)["status"] == "failed"


def test_a_draft_becomes_a_batch_once_and_not_after_it_was_given_up(rows: Acting) -> None:
    rows.batch(0)
    assert not rows.at_any_time(batches.start, BATCH, status=BatchStatus.QUEUED)
    assert not rows.at_any_time(batches.forsake, BATCH)


def test_a_pause_does_not_count_as_busy_time(rows: Acting) -> None:
    first, second = rows.batch(2)
    rows.finish(rows.claimed(first))
    rows.now += 5_000
    rows.do(batches.resume, BATCH)
    rows.now += 1_000
    before = rows.batch_row()["busy_ms"]
    rows.finish(rows.claimed(second))
    assert rows.batch_row()["busy_ms"] - before == 1_000
