"""Workers count for themselves and wait for none; what they count adds up with the batch's row."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

import databases
from batchmill.db import batches, counters, failures, items, schema, statistics, turns, workers
from batchmill.db.connect import Database
from batchmill.db.types import at, from_ms
from batchmill.model.batch import BatchId, BatchStatus
from batchmill.model.item import Claim, WorkerId
from batchmill.service import batch_control
from batchmill.service.batch_control import RetryScope
from batchmill.service.scheduling import claims, endings, transitions
from batchmill.service.scheduling.transitions import EndedAttempt
from support.rows import (
    AWAY,
    BATCH,
    DONE,
    FILE_BYTES,
    OWNER,
    UNREADABLE,
    WEEK_MS,
    Rows,
    both_at_once,
    claim_in_one,
)

pytestmark = pytest.mark.all_databases


def own_rows(rows: Rows) -> dict[str, dict[str, Any]]:
    """Return what each worker has counted."""
    with rows.database.engine.connect() as conn:
        found = conn.execute(select(schema.counters)).mappings()
        return {row["worker_id"]: dict(row) for row in found}


def test_a_worker_with_more_of_a_batch_writes_nothing_into_its_row(database: Database) -> None:
    rows = Rows(database)
    rows.batch(6)
    rows.take(most=1)
    before = rows.batch_row()
    done, failed, again, waits = rows.take(most=4)
    rows.begin(done, by="wrk_a")
    rows.finish(done, by="wrk_a", run_ms=2_000)
    rows.finish(failed, UNREADABLE, by="wrk_a", run_ms=1_000)
    rows.finish(again, AWAY, by="wrk_a")
    rows.hand_back(waits, by="wrk_a")
    assert rows.batch_row() == before
    assert rows.counts() == {"completed": 1, "failed": 1, "retrying": 1, "pending": 2, "queued": 1}
    batch = rows.batch_as_read()
    assert (batch.bytes_done, batch.run_ms) == (2 * FILE_BYTES, 3_005)
    assert batch.run_s2 == pytest.approx(5.0, abs=0.01)
    assert own_rows(rows).keys() == {"wrk_a"}


def test_every_change_raises_the_revision_that_all_who_watch_compare(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3)
    seen = [rows.batch_as_read().revision]

    def revision() -> int:
        found = rows.at_any_time(batches.revisions, [BATCH])
        assert found == {BATCH: rows.batch_as_read().revision}
        return found[BATCH]

    first, second = rows.take(most=2)
    seen.append(revision())
    (third,) = rows.take(most=1)
    seen.append(revision())
    rows.begin(first, by="wrk_a")
    seen.append(revision())
    rows.finish(first, by="wrk_a")
    seen.append(revision())
    rows.hand_back(second, by="wrk_a")
    seen.append(revision())
    rows.finish(third, by="wrk_a")
    seen.append(revision())
    for claimed in rows.take():
        rows.finish(claimed)
    seen.append(revision())
    assert seen == sorted(set(seen))


def test_the_end_of_a_batch_folds_in_what_workers_counted(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3)
    rows.take("wrk_a", most=1)
    second = rows.take("wrk_a", most=1)[0]
    third = rows.take("wrk_b", most=1)[0]
    rows.finish(second, by="wrk_a")
    assert own_rows(rows).keys() == {"wrk_a", "wrk_b"}
    rows.finish(third)
    assert own_rows(rows).keys() == {"wrk_a", "wrk_b"}
    rows.now += 100_000
    rows.rescue()
    (first,) = rows.take("wrk_c")
    rows.finish(first)
    assert own_rows(rows) == {}
    assert rows.counts() == {"completed": 3}
    row = rows.batch_row()
    assert (row["status"], row["n_completed"], row["n_queued"]) == ("completed", 3, 0)
    assert (row["bytes_done"], row["run_ms"]) == (3 * FILE_BYTES, 15)


def test_what_a_worker_counted_that_is_gone_is_folded_in_and_that_of_others_stays(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(4)
    rows.take("wrk_a", most=1)
    gone, stays = rows.take("wrk_a", most=2)
    rows.take("wrk_b", most=1)
    rows.finish(gone, by="wrk_a")
    rows.hand_back(stays, by="wrk_a")
    counts = rows.counts()
    assert rows.at_any_time(counters.left_behind) == {}
    rows.at_any_time(workers.leave, WorkerId("wrk_a"))
    assert rows.at_any_time(counters.left_behind) == {BATCH: ["wrk_a"]}
    rows.at_any_time(counters.fold, BATCH, only=[WorkerId("wrk_a")])
    assert rows.counts() == counts
    assert own_rows(rows).keys() == {"wrk_b"}


def test_a_batch_whose_last_finish_thought_that_it_had_more_is_ended_by_the_sweep(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(2)
    rows.take(most=1)
    rows.finish(rows.take(most=1)[0], by="wrk_a")
    assert rows.at_any_time(batches.without_work) == []
    assert not rows.at_any_time(endings.end_finished, BATCH, retention_ms=WEEK_MS)
    first = rows.at_any_time(
        lambda conn: conn.execute(
            select(schema.items.c.id).where(schema.items.c.status == "queued")
        ).scalar_one()
    )
    claim = Claim(first, BATCH, 1)
    held = replace(a_claimed(rows), claim=claim)
    rows.finish(held, by="wrk_a")
    assert (rows.batch_row()["status"], rows.counts()) == ("processing", {"completed": 2})
    assert rows.at_any_time(batches.without_work) == [BATCH]
    assert rows.at_any_time(endings.end_finished, BATCH, retention_ms=WEEK_MS)
    assert not rows.at_any_time(endings.end_finished, BATCH, retention_ms=WEEK_MS)
    assert rows.batch_row()["status"] == "completed"
    assert own_rows(rows) == {}


def a_claimed(rows: Rows) -> transitions.Claimed:
    """Return something claimed, of another batch."""
    rows.batch(batch_id="bat_9")
    (claimed,) = rows.take("wrk_z")
    return claimed


def test_a_retry_of_a_running_batch_begins_its_pace_anew_whoever_had_counted(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(4)
    rows.take(most=1)
    failed, _ = rows.take(most=2)
    rows.finish(failed, UNREADABLE, by="wrk_a", run_ms=7_000)
    moved = rows.at_any_time(batch_control._retry_chunk, BATCH, RetryScope(), is_first=True)
    assert moved == 1
    batch = rows.batch_as_read()
    assert (batch.run_ms, batch.run_s2, batch.run_base) == (0, 0.0, 0)
    assert rows.counts() == {"pending": 2, "queued": 2}


def test_the_next_claim_of_a_batch_that_is_retried_while_it_runs_starts_its_new_run(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(4)
    failed, _ = rows.take(most=2)
    rows.finish(failed, UNREADABLE)
    rows.at_any_time(batch_control._retry_chunk, BATCH, RetryScope(), is_first=True)
    assert rows.batch_row()["run_started_at"] is None
    rows.now += 1_000
    rows.take(most=1)
    assert rows.batch_row()["run_started_at"] == from_ms(rows.now)


def test_what_is_folded_in_keeps_the_turn_that_a_batch_had(database: Database) -> None:
    rows = Rows(database)
    rows.batch(9)
    rows.take(most=1)
    rows.now += 50_000
    rows.take(most=1)
    rows.at_any_time(counters.fold, BATCH)
    assert rows.batch_row()["turn_at"] == from_ms(rows.now)
    rows.now += 50_000
    (claimed,) = rows.take(most=1)
    assert not claimed.is_aged


def test_a_limit_that_came_between_the_turn_and_the_claim_is_kept(database: Database) -> None:
    rows = Rows(database)
    rows.batch(5)
    rows.take(most=1)
    rows.enter("wrk_b")
    turn = rows.do(turns.next_turn, WorkerId("wrk_b"), slots=2)
    assert turn is not None
    rows.at_any_time(batches.change, BATCH, concurrency=1)
    asking = transitions.Asking(WorkerId("wrk_b"), slots=2, most=lambda _: 4)
    assert rows.do(claims._take, turn, asking, room=9) == ()


@pytest.mark.parametrize("is_blamed", [True, False])
def test_what_a_worker_that_is_gone_may_have_left_is_looked_for(
    database: Database, is_blamed: bool
) -> None:
    rows = Rows(database)
    rows.batch(1)
    (first,) = rows.take()
    assert not first.was_tried
    rows.now += 100_000
    rows.rescue(is_blamed=is_blamed)
    (again,) = rows.take("wrk_b")
    assert again.was_tried


def test_who_holds_files_of_a_batch_that_stops_hears_that_they_must_not_begin(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(2)
    rows.take()
    assert [row.waits for row in rows.at_any_time(items.of_worker, "wrk_a")] == [False, False]
    rows.at_any_time(batches.start_cancelling, BATCH)
    assert [row.waits for row in rows.at_any_time(items.of_worker, "wrk_a")] == [True, True]


def test_batches_of_one_owner_take_turns_by_claims_that_workers_count_themselves(
    database: Database,
) -> None:
    rows = Rows(database)
    for batch_id in ("bat_1", "bat_2"):
        rows.batch(4, batch_id=batch_id)
    order = []
    for _ in range(8):
        rows.now += 1
        order += [each.claim.batch_id for each in rows.take(most=1)]
    assert order == ["bat_1", "bat_2"] * 4


def test_a_batch_that_has_its_turns_is_not_aged(database: Database) -> None:
    rows = Rows(database)
    rows.batch(9)
    rows.take(most=1)
    for _ in range(3):
        rows.now += 40_000
        (claimed,) = rows.take(most=1)
        assert not claimed.is_aged
    rows.now += 60_001
    (claimed,) = rows.take(most=1)
    assert claimed.is_aged


def test_sums_over_batches_have_what_workers_counted(database: Database) -> None:
    rows = Rows(database)
    rows.batch(5)
    rows.take(most=1)
    done, _, _ = rows.take(most=3)
    rows.finish(done, by="wrk_a", run_ms=40)
    wanted = rows.batch_as_read().counts
    assert rows.counts() == {"completed": 1, "queued": 3, "pending": 1}
    assert rows.at_any_time(statistics.totals, OWNER) == wanted
    assert rows.at_any_time(statistics.by_family) == {"images": wanted}
    (lane,) = rows.at_any_time(statistics.lanes, None)
    assert (lane.counts, lane.oldest_at is not None) == (wanted, True)
    assert rows.at_any_time(statistics.mean_run_ms, "images") == 40.0
    assert rows.do(statistics.sent_within, OWNER, window_ms=1) == wanted
    assert rows.at_any_time(turns.in_flight_of_family, "images") == 3
    assert rows.at_any_time(turns.waiting_of_family, "images", tier="free") == 4


def test_two_workers_that_meet_the_same_failure_first_count_it_twice(database: Database) -> None:
    rows = Rows(database)
    rows.batch(5)
    rows.take(most=1)
    one, _ = rows.take("wrk_a", most=2)
    other, _ = rows.take("wrk_b", most=2)

    def fail(conn: Connection, claimed: transitions.Claimed, worker: str) -> None:
        ended = [EndedAttempt(claimed, UNREADABLE, 1)]
        how: dict[str, Any] = {"retention_ms": WEEK_MS, "by": WorkerId(worker)}
        transitions.finish(conn, BATCH, ended, **how, now=at(rows.now))

    both_at_once(
        database,
        lambda conn: fail(conn, one, "wrk_a"),
        lambda conn: fail(conn, other, "wrk_b"),
    )
    (group,) = rows.at_any_time(failures.of_batch, BATCH)
    assert (group.count, group.first_at) == (2, from_ms(rows.now))
    assert rows.counts()["failed"] == 2


def test_a_failure_that_may_stop_its_batch_does_so_although_its_worker_has_more(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(4, halt_after_pct=20)
    rows.take(most=1)
    failed, waits = rows.take(most=2)
    done = rows.finish(failed, UNREADABLE, by="wrk_a")
    assert done is not None
    assert done.is_stopping
    assert rows.batch_row()["status"] == "cancelling"
    assert not rows.take(), "nothing more of it is claimed"
    assert rows.finish(waits, by="wrk_a") is not None, "what runs may still end"


def test_a_settled_batch_was_busy_until_now(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3)
    rows.take(most=1)
    (claimed,) = rows.take(most=1)
    rows.now += 4_000
    rows.finish(claimed, by="wrk_a")
    assert rows.batch_row()["settled_at"] is None
    rows.do(endings.settle, BATCH)
    row = rows.batch_row()
    assert (row["settled_at"], row["busy_ms"]) == (from_ms(rows.now), 4_000)


def test_a_cancellation_beside_a_claim_cancels_what_was_claimed(database: Database) -> None:
    rows = Rows(database)
    ids = rows.batch(4)
    rows.take(most=1)
    rows.enter("wrk_b")
    asking = transitions.Asking(WorkerId("wrk_b"), slots=2, most=lambda _: 9)
    claimed = threading.Event()

    def claim(conn: Connection) -> None:
        claim_in_one(conn, asking, now=at(rows.now))
        claimed.set()

    def cancel(conn: Connection) -> None:
        claimed.wait(0.5)  # on SQLite it can't be before this ends
        batches.start_cancelling(conn, BATCH)
        batch_control._cancel_chunk(conn, BATCH, retention_ms=WEEK_MS)

    both_at_once(database, claim, cancel)
    while rows.at_any_time(batch_control._cancel_chunk, BATCH, retention_ms=WEEK_MS)[0]:
        pass
    assert rows.counts() == {"cancelled": len(ids)}
    assert rows.batch_row()["status"] == "cancelled"


def test_two_workers_that_claim_at_once_get_other_items(database: Database) -> None:
    rows = Rows(database)
    rows.batch(5)
    rows.take(most=1)
    for worker in ("wrk_b", "wrk_c"):
        rows.enter(worker)

    def claim(conn: Connection, worker: str) -> list[str]:
        asking = transitions.Asking(WorkerId(worker), slots=2, most=lambda _: 2)
        return [each.claim.item_id for each in claim_in_one(conn, asking, now=at(rows.now))]

    one, other = both_at_once(
        database, lambda conn: claim(conn, "wrk_b"), lambda conn: claim(conn, "wrk_c")
    )
    assert len({*one, *other}) == len(one) + len(other) == 4


def test_a_finished_batch_leaves_no_counters_when_it_is_deleted(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3)
    rows.take(most=1)
    rows.take(most=1)
    assert own_rows(rows)
    rows.at_any_time(batch_control._delete_rows, BATCH)
    with database.engine.connect() as conn:
        assert conn.scalar(select(func.count()).select_from(schema.counters)) == 0


@pytest.fixture(params=databases.SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with more than one writer."""
    with databases.new_database(request.param, tmp_path) as made:
        yield made


def test_no_claim_and_no_finish_waits_for_the_row_of_a_batch_or_of_another_worker(
    server: Database,
) -> None:
    """A process that froze in a transaction holds up those who change the batch, and no others."""
    rows = Rows(server)
    rows.batch(9)
    rows.take("wrk_b", most=1)
    rows.enter("wrk_a")
    asking = transitions.Asking(WorkerId("wrk_b"), slots=2, most=lambda _: 2)
    with server.engine.connect() as frozen:
        other, _ = claim_in_one(frozen, asking, now=at(rows.now))
        batches.lock(frozen, BATCH)
        done, again, _ = rows.take("wrk_a", most=3)
        assert other.claim.item_id not in {done.claim.item_id, again.claim.item_id}
        rows.begin(done, by="wrk_a")
        rows.finish(done, DONE, by="wrk_a")
        assert rows.hand_back(again, by="wrk_a") == 1
        frozen.rollback()
    assert rows.counts() == {"completed": 1, "queued": 2, "pending": 6}


def test_a_sequential_batch_is_claimed_from_by_one_at_a_time(database: Database) -> None:
    rows = Rows(database)
    rows.batch(4, concurrency=1)
    (first,) = rows.take("wrk_a", most=4)
    rows.begin(first, by="wrk_a")
    assert rows.take("wrk_b") == []
    rows.hand_back(first, by="wrk_a")
    for worker in ("wrk_b", "wrk_c"):
        rows.enter(worker)

    def claim(conn: Connection, worker: str) -> int:
        asking = transitions.Asking(WorkerId(worker), slots=2, most=lambda _: 4)
        return len(claim_in_one(conn, asking, now=at(rows.now)))

    taken = both_at_once(
        database, lambda conn: claim(conn, "wrk_b"), lambda conn: claim(conn, "wrk_c")
    )
    assert sorted(taken) == [0, 1]


def test_a_batch_that_runs_is_not_ended_while_it_is_open_or_has_no_file(database: Database) -> None:
    rows = Rows(database)
    rows.batch(1, keep_open=True)
    rows.finish(rows.take()[0])
    assert rows.counts() == {"completed": 1}
    assert rows.at_any_time(batches.without_work) == []
    assert not rows.at_any_time(endings.end_finished, BATCH, retention_ms=WEEK_MS)
    assert rows.batch_as_read().status is BatchStatus.PROCESSING
    assert not rows.at_any_time(endings.end_finished, BatchId("bat_none"), retention_ms=WEEK_MS)
