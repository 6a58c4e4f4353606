"""What is over is over after its last millisecond, by the time that a transaction is told."""

from typing import Any

import pytest

from batchmill.db import batches, idempotency, pauses, webhooks, workers
from batchmill.db.connect import Database
from batchmill.db.idempotency import StoredResponse
from batchmill.db.types import from_ms
from batchmill.model.batch import BatchId, BatchStatus, OwnerId
from batchmill.model.item import WorkerId
from batchmill.model.webhook import DeliveryId, WebhookId
from support.rows import BATCH, OWNER, WEEK_MS, Rows

DAY_MS = 86_400_000


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database)


# What is kept for its time


def test_an_ended_batch_is_kept_to_the_last_millisecond_of_its_retention(rows: Rows) -> None:
    (item_id,) = rows.batch()
    rows.batch(batch_id="bat_running")
    rows.finish(rows.claimed(item_id))
    rows.now += WEEK_MS
    assert rows.do(batches.outdated, limit=9) == []
    rows.now += 1
    assert rows.do(batches.outdated, limit=9) == [BATCH]
    rows.now += 100 * WEEK_MS
    assert rows.do(batches.outdated, limit=9) == [BATCH], "a running batch has no such end"


def test_a_draft_is_abandoned_after_its_time_and_a_batch_never(rows: Rows) -> None:
    rows.batch()
    rows.batch(batch_id="bat_2")
    rows.at_any_time(batches.change, BATCH, status=BatchStatus.UPLOADING)
    rows.now += 60_000
    assert rows.do(batches.abandoned) == []
    rows.now += 1
    assert rows.do(batches.abandoned) == [BATCH]


def test_a_draft_that_was_given_up_is_abandoned_at_once(rows: Rows) -> None:
    rows.batch(0)
    rows.at_any_time(batches.change, BATCH, status=BatchStatus.UPLOADING)
    assert rows.at_any_time(batches.forsake, BATCH)
    assert rows.do(batches.abandoned) == [BATCH]


def test_a_time_limit_counts_from_the_first_claim_to_its_last_millisecond(rows: Rows) -> None:
    (item_id,) = rows.batch(time_limit_s=3)
    (other,) = rows.batch(batch_id="bat_2")
    rows.now += 60_000
    assert rows.do(batches.overdue) == []
    rows.claimed(item_id)
    rows.claimed(other)
    rows.now += 3_000
    assert rows.do(batches.overdue) == []
    rows.now += 1
    assert rows.do(batches.overdue) == [BATCH]


@pytest.mark.parametrize(("gap_ms", "busy_ms"), [(60_000, 60_000), (60_001, 0)])
def test_a_standstill_of_more_than_a_minute_is_no_busy_time(
    rows: Rows, gap_ms: int, busy_ms: int
) -> None:
    (item_id,) = rows.batch()
    claimed = rows.claimed(item_id)
    rows.now += gap_ms
    rows.finish(claimed)
    assert rows.batch_row()["busy_ms"] == busy_ms
    assert rows.batch_row()["settled_at"] == from_ms(rows.now)


@pytest.mark.parametrize(("gap_ms", "busy_ms"), [(1_200_000, 1_260_000), (1_200_001, 60_000)])
def test_where_files_take_long_a_standstill_is_longer_than_twenty_of_them(
    rows: Rows, gap_ms: int, busy_ms: int
) -> None:
    first, second = rows.batch(2)
    claimed = rows.claimed(first)
    rows.now += 60_000
    rows.finish(claimed)
    claimed = rows.claimed(second)
    rows.now += gap_ms
    rows.finish(claimed)
    assert rows.batch_row()["busy_ms"] == busy_ms


# Who lives, and who leads

A, B = WorkerId("wrk_a"), WorkerId("wrk_b")


def test_a_process_lives_and_counts_to_the_last_millisecond_of_its_lease(rows: Rows) -> None:
    lease: dict[str, Any] = {"stats": {}, "lease_ms": 12_000}
    rows.do(workers.enter, A, host="h", pid=1, slots=2, **lease)
    rows.now += 1
    rows.do(workers.enter, B, host="h", pid=1, slots=3, **lease)
    rows.now += 11_999
    assert rows.do(workers.known_slots) == (5, 2)
    assert rows.do(workers.forget_dead) == 0
    assert not rows.do(workers.renew, A, slots=2, **lease), "in its last millisecond it is over"
    assert rows.do(workers.renew, B, slots=4, **lease)
    rows.now += 1
    assert rows.do(workers.known_slots) == (4, 1), "a beat says how many there are now"
    assert [row.id for row in rows.do(workers.alive)] == [B]
    assert rows.do(workers.forget_dead) == 1
    rows.now += 11_999
    assert rows.do(workers.known_slots) == (4, 1)


def test_a_process_that_drains_lives_and_counts_for_nothing(rows: Rows) -> None:
    for worker, slots in ((A, 2), (B, 3)):
        lease: dict[str, Any] = {"slots": slots, "stats": {}, "lease_ms": 12_000}
        rows.do(workers.enter, worker, host="h", pid=1, **lease)
    rows.at_any_time(workers.start_draining, A)
    assert rows.do(workers.known_slots) == (3, 1)
    assert [row.draining for row in rows.do(workers.alive)] in ([True, False], [False, True])
    rows.at_any_time(workers.leave, A)
    assert [row.id for row in rows.do(workers.alive)] == [B]


def lead(rows: Rows, worker: WorkerId) -> bool:
    return rows.do(workers.lead, "sweep", worker, lease_ms=6_000)


def test_one_leads_until_its_lease_is_over_or_it_resigns(rows: Rows) -> None:
    for _ in range(2):
        rows.at_any_time(workers.enter_leadership, "sweep")
    assert lead(rows, A)
    rows.now += 6_000
    assert not lead(rows, B)
    assert lead(rows, A), "who leads goes on"
    rows.now += 6_000
    assert not lead(rows, B)
    rows.now += 1
    assert lead(rows, B)
    assert not lead(rows, A)
    rows.at_any_time(workers.resign, "sweep", A)
    assert not lead(rows, A), "nobody resigns for another"
    rows.at_any_time(workers.resign, "sweep", B)
    assert lead(rows, A)


def test_a_pause_of_the_queue_stands_until_it_is_ended(rows: Rows) -> None:
    assert not rows.at_any_time(pauses.end, pauses.QUEUE)
    rows.do(pauses.begin, pauses.QUEUE, "lunch")
    since = from_ms(rows.now)
    rows.now += 1_000
    rows.do(pauses.begin, pauses.QUEUE, "a new disk")
    standing = rows.at_any_time(pauses.standing, pauses.QUEUE)
    assert standing is not None
    assert (standing.reason, standing.since) == ("a new disk", since)
    assert rows.at_any_time(pauses.end, pauses.QUEUE)
    assert rows.at_any_time(pauses.standing, pauses.QUEUE) is None


# Answers for repeated requests

ANSWER = StoredResponse("a" * 64, 202, {"location": "/v1/batches/1"}, b"{}")


def begin(
    rows: Rows, key: str = "k", digest: str = "a", owner_id: OwnerId = OWNER
) -> StoredResponse | None:
    return rows.do(idempotency.begin, owner_id, key, body_sha256=digest * 64)


def take_over(rows: Rows, digest: str = "a") -> bool:
    return rows.do(idempotency.take_over, OWNER, "k", body_sha256=digest * 64, older_ms=600_000)


def test_a_key_is_reserved_once_for_each_owner_and_keeps_its_first_answer(rows: Rows) -> None:
    assert begin(rows) is None
    assert begin(rows, owner_id=OwnerId("berta")) is None
    assert begin(rows, digest="b") == StoredResponse("a" * 64, None, {}, b"")
    rows.at_any_time(idempotency.keep, OWNER, "k", ANSWER)
    assert begin(rows) == ANSWER
    assert begin(rows, owner_id=OwnerId("berta")) == StoredResponse("a" * 64, None, {}, b"")
    rows.at_any_time(idempotency.forget, OWNER, "k")
    assert begin(rows) == ANSWER, "what was answered is not forgotten"


def test_a_key_whose_request_died_is_taken_over_by_the_same_request_after_its_time(
    rows: Rows,
) -> None:
    begin(rows)
    rows.now += 600_000
    assert not take_over(rows)
    rows.now += 1
    assert not take_over(rows, digest="b")
    assert take_over(rows)
    assert not take_over(rows), "it has begun just now"
    rows.now += 600_001
    rows.at_any_time(idempotency.keep, OWNER, "k", ANSWER)
    assert not take_over(rows), "it was answered"


def test_a_key_without_an_answer_is_free_once_its_request_has_failed(rows: Rows) -> None:
    begin(rows)
    rows.at_any_time(idempotency.forget, OWNER, "k")
    assert begin(rows, digest="b") is None


def test_an_answer_is_kept_to_the_last_millisecond_of_its_day(rows: Rows) -> None:
    begin(rows)
    rows.now += DAY_MS
    assert rows.do(idempotency.forget_older, age_ms=DAY_MS) == 0
    rows.now += 1
    assert rows.do(idempotency.forget_older, age_ms=DAY_MS) == 1
    assert begin(rows) is None


# Notices

HOOK, NOTICE = WebhookId("wh_1"), DeliveryId("ntc_1")


def announced(rows: Rows) -> None:
    more = {"url": "http://127.0.0.1/", "secret": "s", "every_batch": True}
    rows.do(webhooks.insert, HOOK, OWNER, **more)
    rows.do(webhooks.announce, [(NOTICE, HOOK)], BatchId(BATCH), body={"n": 1})


def due(rows: Rows, without: tuple[WebhookId, ...] = ()) -> list[WebhookId]:
    return list(rows.do(webhooks.due, without=without, limit=9))


def test_a_notice_is_due_at_once_and_claimed_by_one_until_its_call_is_lost(rows: Rows) -> None:
    announced(rows)
    assert due(rows) == [HOOK]
    assert due(rows, without=(HOOK,)) == []
    assert rows.do(webhooks.claim, NOTICE, tries=0, for_ms=15_000)
    assert not rows.do(webhooks.claim, NOTICE, tries=0, for_ms=15_000)
    rows.now += 14_999
    assert due(rows) == []
    assert rows.do(webhooks.next_due, HOOK) is None
    rows.now += 1
    assert due(rows) == [HOOK]
    assert rows.do(webhooks.claim, NOTICE, tries=1, for_ms=15_000)
    late = rows.at_any_time(webhooks.record, NOTICE, tries=1, status="delivered")
    assert not late, "the first call was given up"
    assert rows.at_any_time(webhooks.record, NOTICE, tries=2, status="delivered")
    rows.now += DAY_MS
    assert due(rows) == []
    assert not rows.do(webhooks.claim, NOTICE, tries=2, for_ms=1)


def test_a_notice_is_kept_to_the_last_millisecond_of_its_time(rows: Rows) -> None:
    announced(rows)
    rows.now += WEEK_MS
    assert rows.do(webhooks.forget_older, age_ms=WEEK_MS) == 0
    rows.now += 1
    assert rows.do(webhooks.forget_older, age_ms=WEEK_MS) == 1
