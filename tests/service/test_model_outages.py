"""What a batch needs besides batchmill may be away for long: its files wait, and use up nothing."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from batchmill.db import batches
from batchmill.db.connect import Database
from batchmill.db.types import at, from_ms, to_ms
from batchmill.model.item import Failure, WorkerId
from batchmill.service import batch_control
from batchmill.service.batch_control import RetryScope
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import Claimed, Failed
from support.rows import AWAY, BATCH, DONE, POLICY, UNREADABLE, Rows, both_at_once, claim_in_one

pytestmark = pytest.mark.all_databases

MODEL = "the model's server does not answer"
NO_MODEL = replace(AWAY, outage=MODEL)
DAY_MS = 86_400_000


def begun_outage(rows: Rows, number: int = 4) -> Claimed:
    """Let the first file of a batch find its model away; return what it was."""
    rows.batch(number)
    (claimed,) = rows.take(most=1)
    rows.finish(claimed, NO_MODEL)
    return claimed


def test_an_outage_uses_up_nothing_and_the_batch_says_what_is_away(database: Database) -> None:
    rows = Rows(database)
    claimed = begun_outage(rows)
    item, batch = rows.item(claimed.claim.item_id), rows.batch_as_read()
    assert (item["status"], item["errors"], item["error_code"]) == ("retrying", 0, "outage")
    assert (batch.outage_since, batch.pause_reason) == (from_ms(rows.now), MODEL)
    assert not batch.paused
    assert rows.counts() == {"retrying": 1, "pending": 3}


def test_while_it_lasts_one_file_at_a_time_tries_and_other_batches_go_on(
    database: Database,
) -> None:
    rows = Rows(database)
    begun_outage(rows)
    rows.batch(batch_id="bat_2")
    assert [each.claim.batch_id for each in rows.take()] == ["bat_2"]
    rows.now += batches.PROBE_MS - 1
    assert rows.take() == []
    rows.now += 1
    (probe,) = rows.take()
    assert probe.is_probe
    assert rows.take("wrk_b") == [], "one try is enough"
    rows.finish(probe, NO_MODEL)
    assert rows.batch_as_read().outage_since == from_ms(rows.now - batches.PROBE_MS)
    assert rows.take("wrk_b") == []
    rows.now += batches.PROBE_MS
    assert len(rows.take("wrk_b")) == 1


@pytest.mark.parametrize("outcome", [DONE, UNREADABLE, AWAY])
def test_all_goes_on_once_a_try_had_an_answer(
    database: Database, outcome: transitions.Outcome
) -> None:
    rows = Rows(database)
    begun_outage(rows)
    rows.now += batches.PROBE_MS
    (probe,) = rows.take()
    rows.finish(probe, outcome, by="wrk_a")
    batch = rows.batch_as_read()
    assert (batch.outage_since, batch.pause_reason) == (None, None)
    assert len(rows.take()) == 3


def test_what_was_at_work_when_it_began_says_nothing_about_its_end(database: Database) -> None:
    rows = Rows(database)
    rows.batch(4)
    away, answered, also_away, _ = rows.take()
    rows.finish(away, NO_MODEL)
    began = rows.now
    rows.now += 1_000
    rows.finish(answered, DONE)
    rows.finish(also_away, NO_MODEL)
    assert rows.batch_as_read().outage_since == from_ms(began)


def test_tries_become_rarer_and_never_come_before_the_model_wants(database: Database) -> None:
    rows = Rows(database)
    begun_outage(rows)
    gaps = []
    for _ in range(40):
        again_at = to_ms(rows.batch_row()["outage_until"])
        gaps.append(again_at - rows.now)
        rows.now = again_at
        (probe,) = rows.take()
        rows.finish(probe, NO_MODEL)
    assert gaps[0] == 5_000
    assert gaps == sorted(gaps)
    assert gaps[-1] == 300_000
    rows.now += 300_000
    (probe,) = rows.take()
    rows.finish(probe, replace(NO_MODEL, retry_after_s=900.0))
    rows.now += 899_000
    assert rows.take() == []
    rows.now += 1_000
    assert len(rows.take()) == 1


def test_after_a_day_files_fail_with_what_was_away_and_wait_for_no_try(database: Database) -> None:
    rows = Rows(database)
    begun_outage(rows, 40)
    rows.now += DAY_MS
    (probe,) = rows.take()
    rows.finish(probe, NO_MODEL)
    assert rows.counts() == {"retrying": 2, "pending": 38}, "a day is not over yet"
    rows.now += 300_001
    refused = replace(UNREADABLE, outage=MODEL)
    for claimed in rows.take(most=99):
        rows.finish(claimed, refused)
    assert rows.counts() == {"failed": 40}
    assert rows.batch_row()["status"] == "failed"


def test_one_file_that_the_model_never_answers_for_holds_up_no_other_and_fails(
    database: Database,
) -> None:
    rows = Rows(database)
    bad, *others = rows.batch(6)
    for _ in range(60):
        for claimed in rows.take(most=1):
            rows.finish(claimed, NO_MODEL if claimed.claim.item_id == bad else DONE)
        rows.now += 5_000
        if not rows.counts().keys() & {"pending", "retrying"}:
            break
    assert rows.counts() == {"failed": 1, "completed": len(others)}
    assert rows.item(bad)["errors"] == POLICY.errors + 1


def test_a_budget_that_kept_a_file_from_asking_is_no_answer(database: Database) -> None:
    rows = Rows(database)
    begun_outage(rows)
    rows.now += batches.PROBE_MS
    (probe,) = rows.take()
    rows.finish(probe, Failed(Failure("budget_used_up", "It is used up."), "errors", POLICY))
    assert rows.batch_as_read().outage_since is not None


def test_of_two_workers_that_meet_the_end_of_a_pause_one_tries(database: Database) -> None:
    rows = Rows(database)
    begun_outage(rows)
    rows.now += batches.PROBE_MS
    for worker in ("wrk_b", "wrk_c"):
        rows.enter(worker)

    def claim(conn: Connection, worker: str) -> int:
        asking = transitions.Asking(WorkerId(worker), slots=2, most=lambda _: 4)
        return len(claim_in_one(conn, asking, now=at(rows.now)))

    taken = both_at_once(
        database, lambda conn: claim(conn, "wrk_b"), lambda conn: claim(conn, "wrk_c")
    )
    assert sorted(taken) == [0, 1]


def test_the_reason_of_a_person_stays_whatever_is_away(database: Database) -> None:
    rows = Rows(database)
    rows.batch(4)
    away, _, probe, _ = rows.take()
    rows.at_any_time(batches.change, BATCH, paused=True, pause_reason="lunch")
    rows.finish(away, NO_MODEL)
    assert rows.batch_as_read().pause_reason == "lunch"
    rows.finish(replace(probe, is_probe=True), DONE)
    batch = rows.batch_as_read()
    assert (batch.pause_reason, batch.outage_since) == ("lunch", None)


@pytest.mark.parametrize("why", ["stopped: its time limit was over", None])
def test_why_a_batch_was_stopped_is_said_although_something_was_away(
    database: Database, why: str | None
) -> None:
    rows = Rows(database)
    begun_outage(rows)
    rows.at_any_time(batches.start_cancelling, BATCH, reason=why)
    while rows.at_any_time(batch_control._cancel_chunk, BATCH, retention_ms=1_000)[0]:
        pass
    batch = rows.batch_as_read()
    assert (batch.status, batch.pause_reason, batch.outage_since) == ("cancelled", why, None)


def test_a_person_who_retries_or_resumes_has_it_tried_at_once(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3)
    failed, away, _ = rows.take()
    rows.finish(failed, UNREADABLE)
    rows.finish(away, NO_MODEL)
    assert rows.take() == []
    rows.at_any_time(batch_control._retry_chunk, BATCH, RetryScope(), is_first=True)
    (again,) = rows.take()
    assert not again.is_probe
    rows.finish(again, NO_MODEL)
    rows.now += 5_000
    rows.at_any_time(batches.resume, BATCH)
    assert len(rows.take(most=9)) == 2


def test_a_batch_that_ends_waits_for_nothing_any_more(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2)
    away, done = rows.take()
    rows.finish(away, NO_MODEL)
    rows.at_any_time(batches.start_cancelling, BATCH)
    rows.finish(done, DONE)
    while rows.at_any_time(batch_control._cancel_chunk, BATCH, retention_ms=1_000)[0]:
        pass
    batch = rows.batch_as_read()
    assert (batch.status, batch.outage_since, batch.pause_reason) == ("cancelled", None, None)


def test_only_what_others_keep_running_stops_a_batch(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2)
    first, _ = rows.take()
    rows.finish(first, AWAY)
    assert rows.batch_as_read().outage_since is None
    assert rows.item(first.claim.item_id)["errors"] == 1
    assert isinstance(AWAY, Failed)
