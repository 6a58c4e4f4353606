"""From claim to finish to rescue, one scripted story each; the rows say what came of it."""

from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from batchmill.db import batches, failures, items, schema, webhooks, workers
from batchmill.db.connect import Database
from batchmill.db.types import at, from_ms
from batchmill.model.batch import Batch, BatchStatus, OwnerId
from batchmill.model.item import Failure, ItemId, ItemStatus, Output, Result, SkipReason, WorkerId
from batchmill.model.webhook import WebhookId
from batchmill.service.scheduling import claims, transitions
from batchmill.service.scheduling.transitions import Completed, Failed
from support.rows import (
    AWAY,
    BATCH,
    CRASHED,
    DONE,
    FILE_BYTES,
    LEASE_MS,
    OWNER,
    POLICY,
    SLOW,
    UNREADABLE,
    WEEK_MS,
    Rows,
    both_at_once,
    claim_in_one,
)

pytestmark = pytest.mark.all_databases


def an_output(size: int) -> Output:
    return Output("out.jpg", size, "image/jpeg", "0" * 64, 0)


# Claim


def test_a_claim_writes_who_has_the_items_and_starts_the_batch(database: Database) -> None:
    rows = Rows(database)
    ids = rows.batch(3)
    claimed = rows.take("wrk_a", most=2)
    assert [each.claim.item_id for each in claimed] == ids[:2], "in the order of the files"
    item, batch = rows.item(ids[0]), rows.batch_row()
    assert (item["status"], item["attempt"], item["worker_id"]) == ("queued", 1, "wrk_a")
    assert (item["queued_at"], item["started_at"]) == (from_ms(rows.now), None)
    assert batch["started_at"] == batch["run_started_at"] == from_ms(rows.now)
    assert (batch["status"], rows.counts()) == ("processing", {"queued": 2, "pending": 1})
    assert [(each.position, each.total) for each in claimed] == [(0, 3), (1, 3)]
    assert (claimed[0].owner_id, claimed[0].tier, claimed[0].claim.attempt) == (OWNER, "free", 1)


def test_only_the_first_claim_starts_the_batch(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2)
    rows.take(most=1)
    began = rows.now
    rows.now += 5_000
    rows.take(most=1)
    batch = rows.batch_row()
    assert batch["started_at"] == batch["run_started_at"] == from_ms(began)


def test_a_begin_is_noted_once_with_the_time_at_which_it_was(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2)
    claimed, _ = rows.take()
    rows.now += 3_000
    assert rows.begin(claimed, age_ms=1_200) == 1
    item = rows.item(claimed.claim.item_id)
    assert (item["status"], item["started_at"]) == ("processing", from_ms(rows.now - 1_200))
    assert rows.counts() == {"queued": 1, "processing": 1}
    rows.now += 1_000
    assert rows.begin(claimed, age_ms=0) == 0
    assert rows.item(claimed.claim.item_id) == item
    assert rows.finish(claimed) is not None
    assert rows.item(claimed.claim.item_id)["started_at"] == item["started_at"]
    assert rows.counts() == {"queued": 1, "completed": 1}


def test_an_item_is_claimed_once_whoever_asks(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    assert len(rows.take("wrk_a")) == 1
    before = rows.item(item_id), rows.batch_row()
    assert rows.take("wrk_b") == []
    assert (rows.item(item_id), rows.batch_row()) == before


def test_of_two_claims_at_once_each_gets_items_of_its_own(database: Database) -> None:
    rows = Rows(database)
    ids = rows.batch(4)
    for worker in ("wrk_a", "wrk_b"):
        rows.enter(worker)

    def claim(conn: Connection, worker: str) -> list[str]:
        asking = transitions.Asking(WorkerId(worker), slots=2, most=lambda _: 2)
        return [each.claim.item_id for each in claim_in_one(conn, asking, now=at(rows.now))]

    taken = both_at_once(
        database, lambda conn: claim(conn, "wrk_a"), lambda conn: claim(conn, "wrk_b")
    )
    assert sorted(each for chunk in taken for each in chunk) == sorted(ids)
    assert rows.counts() == {"queued": 4}


def test_a_worker_whose_lease_is_over_claims_nothing(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2)
    worker_id = rows.enter("wrk_a")
    asking = transitions.Asking(worker_id, slots=2, most=lambda _: 1)
    rows.now += LEASE_MS
    assert rows.do(claim_in_one, asking) == ()
    assert not rows.do(workers.renew, worker_id, slots=2, stats={}, lease_ms=LEASE_MS)
    assert rows.do(claim_in_one, asking) == (), "a lease that has ended never lives again"


@pytest.mark.parametrize(
    "change",
    [{"paused": True}, {"status": BatchStatus.CANCELLING}, {"status": BatchStatus.COMPLETED}],
    ids=["paused", "being cancelled", "ended"],
)
def test_nothing_of_a_batch_that_must_not_run_is_claimed(
    database: Database, change: dict[str, object]
) -> None:
    rows = Rows(database)
    rows.batch(2)
    assert len(rows.take(most=1)) == 1
    rows.at_any_time(batches.change, BATCH, **change)
    assert rows.take() == []
    assert rows.counts() == {"pending": 1, "queued": 1}


def test_a_batch_that_was_paused_since_it_was_chosen_is_passed_over(database: Database) -> None:
    rows = Rows(database)
    rows.batch(1)
    rows.batch(1, batch_id="bat_2")
    asked: list[str] = []

    def most(batch: Batch) -> int:
        asked.append(batch.id)
        return 0

    asking = transitions.Asking(rows.enter("wrk_a"), slots=2, most=most)
    assert len(rows.do(claim_in_one, asking)) == 1, "never less than one, whoever asks"
    assert asked == [BATCH]


def test_each_attempt_has_a_number_of_its_own_however_the_last_one_ended(
    database: Database,
) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    numbers, begun = [], []
    for end in ("handed back", "rescued", "retried"):
        claimed = rows.claimed(item_id)
        numbers.append(claimed.claim.attempt)
        if end == "handed back":
            assert rows.hand_back(claimed) == 1
        elif end == "rescued":
            rows.now += LEASE_MS + 1
            assert rows.rescue() == 1
        else:
            rows.finish(claimed, AWAY)
            rows.now += 2_000
        begun.append(rows.item(item_id)["begun"])
    assert [*numbers, rows.claimed(item_id).claim.attempt] == [1, 2, 3, 4]
    assert begun == [0, 0, 1], "an attempt that was handed back is none"


def test_a_claim_takes_no_more_bytes_than_a_worker_should_hold(database: Database) -> None:
    rows = Rows(database)
    ids = rows.batch(5)
    sizes = (1, claims.CHUNK_BYTES, 1, 1, 1)
    for item_id, size in zip(ids, sizes, strict=True):
        row = update(schema.items).where(schema.items.c.id == item_id)
        rows.at_any_time(
            lambda conn, row=row, size=size: conn.execute(row.values(input_bytes=size))
        )
    taken = [len(rows.take()) for _ in range(3)]
    assert taken == [1, 1, 3]


def test_an_item_whose_earlier_attempt_may_have_left_files_says_so(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    tried = []
    for end in ("handed back", "rescued", "retried"):
        claimed = rows.claimed(item_id)
        tried.append(claimed.was_tried)
        if end == "handed back":
            rows.hand_back(claimed)
        elif end == "rescued":
            rows.now += LEASE_MS + 1
            rows.rescue()
        else:
            rows.finish(claimed, AWAY)
            rows.now += 2_000
    assert [*tried, rows.claimed(item_id).was_tried] == [False, False, True, True]


# Finish


def test_a_finish_writes_the_result_and_counts_it_once(database: Database) -> None:
    rows = Rows(database)
    first, _ = rows.batch(2)
    claimed, _ = rows.take()
    rows.now += 7_000
    result = Result(outputs=(an_output(4),), warnings=("It is small.",), step_ms={"resize": 3.0})
    settled = rows.finish(claimed, Completed(result), run_ms=6_000)
    assert settled is not None
    assert (settled.status, settled.ended) == ("completed", None)
    item, batch = rows.item(first), rows.batch_row()
    assert (batch["n_completed"], batch["n_queued"]) == (1, 1)
    assert (item["status"], item["progress"], item["run_ms"]) == ("completed", 1.0, 6_000)
    assert (item["worker_id"], item["begun"]) == (None, 1)
    assert item["started_at"] == from_ms(rows.now - 6_000)
    assert item["ended_at"] == batch["settled_at"] == from_ms(rows.now)
    assert [output["bytes"] for output in item["outputs"]] == [4]
    assert (item["warnings"], item["step_ms"]) == (["It is small."], {"resize": 3.0})
    assert (batch["bytes_done"], batch["bytes_out"], batch["bytes_saved"]) == (FILE_BYTES, 4, 6)
    assert (batch["run_ms"], batch["run_s2"], batch["busy_ms"]) == (6_000, 36.0, 7_000)
    assert batch["ended_at"] is batch["expires_at"] is None
    again = rows.item(first), rows.batch_row()
    assert rows.finish(claimed, Completed(result)) is None
    assert (rows.item(first), rows.batch_row()) == again


def test_what_is_told_about_a_file_saves_no_bytes(database: Database) -> None:
    rows = Rows(database)
    told, nothing = rows.batch(2)
    rows.finish(rows.claimed(told), Completed(Result((an_output(1),), data={"faces": 1})))
    rows.finish(rows.claimed(nothing), DONE)
    batch = rows.batch_row()
    assert (batch["bytes_saved"], batch["bytes_out"]) == (0, 1)
    assert batch["bytes_done"] == 2 * FILE_BYTES


def test_a_skipped_file_says_why_and_counts_as_done(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    rows.finish(rows.claimed(item_id), Completed(Result(skipped=SkipReason.UNCHANGED)))
    item = rows.item(item_id)
    assert (item["status"], item["skip_reason"]) == ("skipped", "unchanged")
    assert (rows.counts(), rows.batch_row()["status"]) == ({"skipped": 1}, "completed")


def test_a_file_that_succeeds_after_a_retry_has_no_error_any_more(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    rows.finish(rows.claimed(item_id), AWAY)
    item = rows.item(item_id)
    assert (item["status"], item["error_code"], item["errors"]) == ("retrying", "outage", 1)
    assert (item["worker_id"], item["progress"]) == (None, 0.0)
    rows.now += 2_000
    rows.finish(rows.claimed(item_id))
    item = rows.item(item_id)
    names = ("error_code", "error_message", "error_step", "error_retryable")
    assert [item[name] for name in names] == [None] * 4


def test_a_failed_file_says_what_was_wrong_and_where(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    failure = Failure("unreadable_file", "x" * 2_000, step="resize")
    rows.finish(rows.claimed(item_id), Failed(failure, "errors", POLICY), run_ms=9)
    item = rows.item(item_id)
    assert (item["status"], item["error_code"], item["error_step"]) == (
        "failed",
        "unreadable_file",
        "resize",
    )
    assert (item["error_message"], item["error_retryable"]) == ("x" * 1_000, False)
    assert (item["run_ms"], item["ended_at"]) == (9, from_ms(rows.now))
    assert item["worker_id"] is None
    assert rows.batch_row()["bytes_done"] == FILE_BYTES


# The end of a batch


def test_a_batch_ends_with_its_last_item_and_is_kept_for_its_time(database: Database) -> None:
    rows = Rows(database)
    first, second = rows.batch(2)
    claimed = rows.claimed(first), rows.claimed(second)
    rows.finish(claimed[0])
    batch = rows.batch_row()
    assert (batch["status"], batch["ended_at"], batch["expires_at"]) == ("processing", None, None)
    rows.now += 1_000
    settled = rows.finish(claimed[1])
    assert settled is not None
    assert settled.ended is not None
    assert settled.ended.status is BatchStatus.COMPLETED
    batch = rows.batch_row()
    assert (batch["status"], batch["ended_at"]) == ("completed", from_ms(rows.now))
    assert batch["expires_at"] == from_ms(rows.now + WEEK_MS)


def test_an_item_that_waits_for_its_retry_keeps_the_batch_going(database: Database) -> None:
    rows = Rows(database)
    first, second = rows.batch(2)
    rows.finish(rows.claimed(first), AWAY)
    rows.finish(rows.claimed(second))
    assert rows.batch_row()["status"] == "processing"
    assert rows.counts() == {"completed": 1, "retrying": 1}


def test_an_open_batch_does_not_end_with_its_last_item(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch(keep_open=True)
    rows.finish(rows.claimed(item_id))
    assert rows.batch_row()["status"] == "processing"


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([DONE, DONE], "completed"),
        ([DONE, UNREADABLE], "completed_with_errors"),
        ([Completed(Result(skipped=SkipReason.FILTERED)), UNREADABLE], "completed_with_errors"),
        ([UNREADABLE, UNREADABLE], "failed"),
        ([Completed(Result(skipped=SkipReason.FILTERED))], "completed"),
    ],
)
def test_the_status_of_an_ended_batch_says_how_its_files_did(
    database: Database, outcomes: list[transitions.Outcome], status: str
) -> None:
    rows = Rows(database)
    for item_id, outcome in zip(rows.batch(len(outcomes)), outcomes, strict=True):
        rows.finish(rows.claimed(item_id), outcome)
    assert rows.batch_row()["status"] == status


def test_of_the_finishes_of_the_last_two_items_at_once_one_ends_the_batch(
    database: Database,
) -> None:
    rows = Rows(database)
    claimed = [rows.claimed(each) for each in rows.batch(2)]

    def finish(conn: Connection, which: int) -> transitions.FinishedItem | None:
        ended = [transitions.EndedAttempt(claimed[which], DONE, 1)]
        (done,) = transitions.finish(conn, BATCH, ended, retention_ms=WEEK_MS, now=at(rows.now))
        return done

    settled = both_at_once(database, lambda conn: finish(conn, 0), lambda conn: finish(conn, 1))
    assert sorted(_end_of(each) for each in settled if each) == ["None", "completed"]
    assert rows.counts() == {"completed": 2}
    assert rows.batch_row()["status"] == "completed"


def _end_of(done: transitions.FinishedItem) -> str:
    return str(done.ended and done.ended.status)


class KilledError(Exception):
    """The process ended here."""


def test_a_kill_before_the_commit_of_a_finish_leaves_all_to_the_next_worker(
    database: Database,
) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    a_webhook(rows)
    claimed = rows.claimed(item_id)
    before = rows.item(item_id), rows.batch_row()

    def killed(conn: Connection) -> None:
        ended = [transitions.EndedAttempt(claimed, DONE, 1)]
        transitions.finish(conn, BATCH, ended, retention_ms=WEEK_MS, now=at(rows.now))
        raise KilledError

    with pytest.raises(KilledError):
        rows.at_any_time(killed)
    assert (rows.item(item_id), rows.batch_row()) == before
    assert notices(rows) == []
    rows.now += LEASE_MS + 1
    rows.rescue()
    rows.finish(rows.claimed(item_id, "wrk_b"))
    assert rows.batch_row()["status"] == "completed"
    assert notices(rows) == [("wh_1", "completed")]


# The outbox


def a_webhook(rows: Rows, name: str = "wh_1", *, every_batch: bool = True, **more: Any) -> None:
    owner_id = more.get("owner_id", OWNER)
    rows.do(
        webhooks.insert,
        WebhookId(name),
        owner_id,
        url="http://127.0.0.1/",
        secret="s",
        every_batch=every_batch,
    )


def notices(rows: Rows) -> list[tuple[str, str]]:
    table = schema.notices
    with rows.database.engine.connect() as conn:
        found = conn.execute(select(table.c.webhook_id, table.c.body))
        return sorted((name, body["data"]["status"]) for name, body in found)


def test_only_the_finish_that_ends_a_batch_writes_one_notice_for_each_webhook_of_its_owner(
    database: Database,
) -> None:
    rows = Rows(database)
    for name, every_batch in (("wh_1", True), ("wh_own", False), ("wh_other", False)):
        a_webhook(rows, name, every_batch=every_batch)
    a_webhook(rows, "wh_stranger", owner_id=OwnerId("berta"))
    first, second = rows.batch(2, webhook_id="wh_own")
    rows.finish(rows.claimed(first))
    assert notices(rows) == []
    claimed = rows.claimed(second)
    rows.finish(claimed, UNREADABLE)
    rows.finish(claimed, UNREADABLE)
    told = [("wh_1", "completed_with_errors"), ("wh_own", "completed_with_errors")]
    assert notices(rows) == told


# Lease over, rescue, hand back


def test_a_lease_is_over_after_its_last_millisecond_and_not_in_it(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    rows.claimed(item_id)
    rows.now += LEASE_MS
    assert rows.rescue() == 0
    assert rows.item(item_id)["status"] == "queued"
    rows.now += 1
    assert rows.rescue() == 1
    item = rows.item(item_id)
    assert (item["status"], item["worker_id"], item["lost"]) == ("pending", None, 1)
    assert (item["attempt"], item["errors"], item["crashes"], item["timeouts"]) == (1, 0, 0, 0)
    assert rows.counts() == {"pending": 1}


def test_a_renewed_lease_counts_from_its_renewal(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    claimed = rows.claimed(item_id)
    rows.now += LEASE_MS - 1
    rows.enter("wrk_a")
    rows.now += LEASE_MS
    assert rows.rescue() == 0
    assert rows.finish(claimed) is not None
    assert rows.item(item_id)["attempt"] == 1


def test_what_a_worker_has_whose_lease_stands_is_left_alone_whoever_was_asked_to_rescue_it(
    database: Database,
) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    claimed = rows.claimed(item_id)
    asked = BATCH, WorkerId("wrk_a"), [claimed.claim]
    assert rows.do(transitions.rescue, *asked, retention_ms=WEEK_MS).items == 0
    assert rows.item(item_id)["status"] == "queued"


def test_a_rescue_takes_what_a_worker_that_is_gone_had_of_every_batch_and_of_no_other(
    database: Database,
) -> None:
    rows = Rows(database)
    for batch_id in (BATCH, "bat_2"):
        gone, begun, living = rows.batch(3, batch_id=batch_id)
        rows.claimed(gone, "wrk_gone")
        rows.begin(rows.claimed(begun, "wrk_gone"))
        rows.claimed(living, "wrk_living")
    rows.now += LEASE_MS - 1
    rows.enter("wrk_living")
    rows.now += 2
    assert rows.rescue() == 4
    for batch_id in (BATCH, "bat_2"):
        assert rows.counts(batch_id) == {"pending": 2, "queued": 1}


def test_a_worker_that_has_left_leaves_its_items_to_others(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    rows.claimed(item_id)
    rows.at_any_time(workers.leave, WorkerId("wrk_a"))
    assert rows.rescue() == 1


def test_a_worker_is_not_forgotten_while_it_has_items_that_nobody_rescued(
    database: Database,
) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    rows.claimed(item_id)
    rows.now += LEASE_MS + 1
    assert rows.do(workers.forget_dead) == 0
    rows.rescue()
    assert rows.do(workers.forget_dead) == 1


def test_items_that_are_handed_back_are_due_at_once_and_have_used_nothing(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(2)
    claimed, waiting = rows.take()
    rows.begin(claimed)
    rows.do(items.report_progress, {claimed.claim: 0.5, waiting.claim: 0.5})
    item_id = claimed.claim.item_id
    assert rows.item(item_id)["progress"] == 0.5
    assert rows.item(waiting.claim.item_id)["progress"] == 0.0, "it has not begun"
    held = [claimed.claim, waiting.claim]
    assert rows.at_any_time(transitions.hand_back, BATCH, held) == 2
    item = rows.item(item_id)
    assert (item["status"], item["progress"], item["errors"]) == ("pending", 0.0, 0)
    assert (item["worker_id"], item["begun"], item["lost"]) == (None, 0, 0)
    assert rows.counts() == {"pending": 2}
    assert rows.at_any_time(transitions.hand_back, BATCH, held) == 0
    assert [each.claim.item_id for each in rows.take()] == [each.item_id for each in held]


def test_every_lease_ends_at_a_start_that_knows_of_no_other_process(database: Database) -> None:
    rows = Rows(database)
    for number, worker in enumerate(("wrk_a", "wrk_b")):
        rows.batch(batch_id=f"bat_{number}")
        rows.take(worker)
    rows.at_any_time(workers.end_all)
    assert rows.rescue() == 2


# Chunks


def test_attempts_that_end_together_are_each_recorded_for_what_they_are(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(7)
    done, skipped, failed, away, crashed, stale, last = rows.take()
    rows.begin(done)
    rows.hand_back(stale)
    outcomes: list[tuple[transitions.Claimed, transitions.Outcome]] = [
        (done, Completed(Result((an_output(4),), warnings=("Ä 'quoted\\' text",)))),
        (skipped, Completed(Result(skipped=SkipReason.UNCHANGED))),
        (failed, UNREADABLE),
        (away, AWAY),
        (crashed, CRASHED),
        (stale, DONE),
        (last, Completed(Result(data={"faces": [1, 2.5, None, True], "name": "Zoë"}))),
    ]
    ended = [transitions.EndedAttempt(each, what, 5) for each, what in outcomes]
    found = rows.finish_all(ended)
    assert [each and each.status for each in found] == [
        *("completed", "skipped", "failed", "retrying", "retrying"),
        None,
        "completed",
    ]
    assert rows.counts() == {
        **{"completed": 2, "skipped": 1, "failed": 1, "retrying": 2, "pending": 1},
    }
    row = rows.item(done.claim.item_id)
    assert row["warnings"] == ["Ä 'quoted\\' text"]
    assert [output["bytes"] for output in row["outputs"]] == [4]
    assert rows.item(skipped.claim.item_id)["outputs"] == []
    assert rows.item(last.claim.item_id)["data"] == {
        "faces": [1, 2.5, None, True],
        "name": "Zoë",
    }
    (waits, dies) = (rows.item(each.claim.item_id) for each in (away, crashed))
    assert (waits["errors"], waits["crashes"], dies["errors"], dies["crashes"]) == (1, 0, 0, 1)
    assert (waits["data"], waits["outputs"], waits["error_retryable"]) == (None, None, True)
    assert waits["due_at"] == from_ms(rows.now + 2_000)
    assert rows.batch_row()["bytes_done"] == 4 * FILE_BYTES
    assert groups(rows) == [("unreadable_file", "The picture ends early.", 1)]
    assert rows.finish_all(ended) == [None] * 7
    assert rows.counts()["completed"] == 2


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_two_attempts_of_an_item_that_end_together_the_newest_alone_counts(
    database: Database, *, newest_first: bool
) -> None:
    rows = Rows(database)
    item_id, _ = rows.batch(2)
    older = rows.claimed(item_id)
    rows.now += LEASE_MS + 1
    rows.rescue()
    newer = rows.claimed(item_id)
    ended = [transitions.EndedAttempt(each, DONE, 5) for each in (older, newer)]
    found = rows.finish_all(ended[::-1] if newest_first else ended)
    assert sum(each is not None for each in found) == 1
    assert found[0 if newest_first else 1] is not None
    assert rows.counts() == {"completed": 1, "pending": 1}
    assert rows.batch_row()["status"] == "processing"
    assert rows.batch_row()["bytes_done"] == FILE_BYTES


def test_a_batch_ends_when_its_last_items_end_together_and_the_last_one_says_so(
    database: Database,
) -> None:
    rows = Rows(database)
    a_webhook(rows)
    rows.batch(3)
    found = rows.finish_all([transitions.EndedAttempt(each, DONE, 5) for each in rows.take()])
    assert [each and _end_of(each) for each in found] == ["None", "None", "completed"]
    assert rows.batch_row()["status"] == "completed"
    assert notices(rows) == [("wh_1", "completed")]


# Failures by cause, and batches that stop


def groups(rows: Rows) -> list[tuple[str, str, int]]:
    found = rows.at_any_time(failures.of_batch, BATCH)
    return [(each.code, each.message, each.count) for each in found]


def test_files_with_the_same_cause_are_one_group_whatever_their_names_and_numbers(
    database: Database,
) -> None:
    rows = Rows(database)
    ids = rows.batch(4)
    for n, item_id in enumerate(ids[:3]):
        message = f"{n}.jpg ends after {n} of 9{n} bytes" if n < 2 else f"{n}.jpg is no picture"
        rows.now += 1_000
        rows.finish(
            rows.claimed(item_id), Failed(Failure("unreadable_file", message), "errors", POLICY)
        )
    assert groups(rows) == [
        ("unreadable_file", "… ends after # of # bytes", 2),
        ("unreadable_file", "… is no picture", 1),
    ]
    large, small = rows.at_any_time(failures.of_batch, BATCH)
    assert [rows.item(each)["failure_no"] for each in ids[:3]] == [large.no, large.no, small.no]
    assert (large.first_at, large.last_at) == (
        from_ms(rows.now - 2_000),
        from_ms(rows.now - 1_000),
    )


def test_the_same_cause_in_two_batches_is_two_groups(database: Database) -> None:
    rows = Rows(database)
    for batch_id in (BATCH, "bat_2"):
        (item_id,) = rows.batch(batch_id=batch_id)
        rows.finish(rows.claimed(item_id), UNREADABLE)
    assert [count for *_, count in groups(rows)] == [1]


def test_a_retry_that_is_still_to_come_is_no_failure_yet(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    rows.finish(rows.claimed(item_id), AWAY)
    assert groups(rows) == []


def test_a_batch_stops_once_more_failed_than_its_sender_allows_and_not_before(
    database: Database,
) -> None:
    rows = Rows(database)
    ids = rows.batch(4, halt_after_pct=50)
    for item_id in ids[:2]:
        rows.finish(rows.claimed(item_id), UNREADABLE)
    assert rows.batch_row()["status"] == "processing"
    running, last = rows.claimed(ids[2]), rows.claimed(ids[3])
    rows.finish(running, UNREADABLE)
    batch = rows.batch_row()
    assert batch["status"] == "cancelling"
    assert batch["pause_reason"] == "stopped: more than 50 % of the files failed"
    assert rows.finish(last) is not None, "what runs may still end"
    assert rows.batch_row()["status"] == "cancelled"


def test_crashes_errors_and_timeouts_are_counted_apart(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    used = []
    for outcome in (AWAY, CRASHED, SLOW):
        rows.finish(rows.claimed(item_id), outcome)
        rows.now += 10_000
        item = rows.item(item_id)
        used.append((item["errors"], item["crashes"], item["timeouts"]))
    assert used == [(1, 0, 0), (1, 1, 0), (1, 1, 1)]
    rows.finish(rows.claimed(item_id), CRASHED)
    item = rows.item(item_id)
    assert (item["status"], item["crashes"]) == ("quarantined", 2)


# Files that kill their workers


def lose(rows: Rows, item_id: ItemId, *, begun: bool = True, is_blamed: bool = True) -> None:
    """Let a worker claim an item, begin it, and never be heard of again."""
    claimed = rows.claimed(item_id, "wrk_lost")
    if begun:
        rows.begin(claimed)
    rows.now += LEASE_MS + 1
    assert rows.rescue(is_blamed=is_blamed) == 1


def test_an_item_that_four_workers_were_lost_with_is_quarantined_and_no_other(
    database: Database,
) -> None:
    rows = Rows(database)
    (first, second) = rows.batch(2)
    for _ in range(4):
        assert rows.item(first)["status"] == "pending"
        lose(rows, first)
    row = rows.item(first)
    assert (row["status"], row["error_code"], row["crashes"]) == ("quarantined", "worker_lost", 4)
    assert row["error_message"] == f"4 workers were lost while they worked on {row['name']}"
    assert rows.counts() == {"pending": 1, "quarantined": 1}
    rows.finish(rows.claimed(second))
    assert rows.batch_row()["status"] == "completed_with_errors"


def test_a_suspect_that_had_not_begun_is_not_blamed_for_another_loss(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    for _ in range(9):
        lose(rows, item_id, begun=False)
    assert rows.item(item_id)["lost"] == 2
    lose(rows, item_id)
    assert (rows.item(item_id)["status"], rows.item(item_id)["lost"]) == ("pending", 3)


def test_nothing_is_blamed_while_the_database_was_away(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    for _ in range(9):
        lose(rows, item_id, is_blamed=False)
    assert (rows.item(item_id)["status"], rows.item(item_id)["lost"]) == ("pending", 0)


def test_a_suspect_is_claimed_alone_and_one_at_a_time(database: Database) -> None:
    rows = Rows(database)
    ids = rows.batch(5)
    for item_id in (ids[1], ids[2]):
        lose(rows, item_id)
        lose(rows, item_id)
    assert [each.claim.item_id for each in rows.take()] == [ids[0]], "up to the suspect"
    (suspect,) = rows.take()
    assert (suspect.claim.item_id, suspect.is_suspect) == (ids[1], True)
    beside = rows.take(has_suspect=True)
    assert [each.claim.item_id for each in beside] == ids[3:]
    assert not any(each.is_suspect for each in beside)
    assert rows.take(has_suspect=True) == []


def test_a_retry_by_hand_forgets_the_losses(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    for _ in range(4):
        lose(rows, item_id)
    rows.at_any_time(items.reset, [item_id], seen=ItemStatus.QUARANTINED)
    assert rows.item(item_id)["lost"] == 0
