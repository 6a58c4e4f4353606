"""Whose turn it is and what a worker gets: tiers, shares, ageing and limits, as rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import Connection, event

import databases
from batchmill.db import batches, shares, turns
from batchmill.db.connect import Database
from batchmill.db.shares import Share
from batchmill.db.types import at, from_ms
from batchmill.model.batch import BatchId, OwnerId
from batchmill.model.item import WorkerId
from batchmill.service.scheduling import claims, transitions
from support.rows import AWAY, BATCH, OWNER, Rows, both_at_once, claim_in_one

pytestmark = pytest.mark.all_databases

ANNA, BERTA, CARLA = OwnerId("anna"), OwnerId("berta"), OwnerId("carla")


def ids_of(claimed: Sequence[transitions.Claimed]) -> list[str]:
    return [each.claim.item_id for each in claimed]


# Who stays


def of_owner(rows: Rows, worker: str, **more: Any) -> str:
    """Claim one file and hand it back; return whose it was."""
    asking = transitions.Asking(rows.enter(worker), slots=2, most=lambda _: 1, **more)
    (claimed,) = rows.do(claim_in_one, asking)
    rows.hand_back(claimed)
    return claimed.owner_id


def test_within_a_second_of_slot_time_owners_stay_where_their_children_are(
    database: Database,
) -> None:
    rows = Rows(database)
    for owner in (ANNA, BERTA):
        rows.batch(3, batch_id=f"bat_{owner}", owner_id=owner)
    served = [Share(ANNA, 0, 0, 900), Share(BERTA, 0, 0, 10)]
    assert of_owner(rows, "wrk_a", here=[ANNA], usage=served) == ANNA
    assert of_owner(rows, "wrk_b", here=[BERTA]) == BERTA
    assert of_owner(rows, "wrk_b") == BERTA, "else who had less"
    assert of_owner(rows, "wrk_a", here=[ANNA], usage=[Share(ANNA, 0, 0, 100)]) == BERTA


def test_of_owners_far_behind_none_stays_while_another_waits(database: Database) -> None:
    rows = Rows(database)
    for owner in (BERTA, CARLA):
        rows.batch(9, batch_id=f"bat_{owner}", owner_id=owner)
    rows.take("wrk_a", most=1)  # so that each batch has had a turn
    rows.take("wrk_a", most=1)
    veteran = Share(ANNA, 0, 0, 1_000_000)
    chosen = set()
    for _ in range(4):
        rows.now += 1
        chosen.add(of_owner(rows, "wrk_a", here=[BERTA], usage=[veteran]))
    assert chosen == {BERTA, CARLA}


# What is claimed


def test_what_is_due_is_claimed_in_order_as_far_as_the_worker_can_use_it(
    database: Database,
) -> None:
    rows = Rows(database)
    ids = rows.batch(5)
    assert ids_of(rows.take(most=3)) == ids[:3]
    assert rows.item(ids[0])["queued_at"] == from_ms(rows.now)
    assert rows.counts() == {"pending": 2, "queued": 3}
    assert ids_of(rows.take(most=3)) == ids[3:]


def test_a_batch_with_a_limit_has_no_more_in_hand_whoever_asks(database: Database) -> None:
    rows = Rows(database)
    rows.batch(5, concurrency=2)
    first, second = rows.take("wrk_a", most=9)
    assert rows.take("wrk_b", most=9) == []
    rows.begin(first)
    assert rows.take("wrk_b", most=9) == [], "one that has begun counts too"
    rows.finish(first)
    assert len(rows.take("wrk_b", most=9)) == 1
    rows.hand_back(second)
    assert len(rows.take("wrk_b", most=9)) == 1


def test_a_retry_is_claimed_in_its_millisecond_and_not_before_and_goes_first(
    database: Database,
) -> None:
    rows = Rows(database)
    ids = rows.batch(3)
    first, retried, third = rows.take()
    rows.finish(retried, AWAY)
    for each in (first, third):
        rows.hand_back(each)
    rows.now += 1_999
    assert ids_of(rows.take(most=1)) == [ids[0]]
    rows.now += 1
    assert ids_of(rows.take(most=2)) == [ids[1], ids[2]]
    assert rows.item(ids[1])["status"] == "queued"
    assert rows.counts() == {"queued": 3}


def test_each_retry_is_claimed_when_it_is_due_in_whatever_order_they_were_left(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(3)
    one, two, three = rows.take()
    rows.finish(one, replace(AWAY, retry_after_s=30.0))
    waits = [replace(AWAY, retry_after_s=10.0), replace(AWAY, retry_after_s=20.0)]
    ended = zip((two, three), waits, strict=True)
    rows.finish_all([transitions.EndedAttempt(each, wait, 1) for each, wait in ended])
    rows.now += 9_999
    assert rows.take() == []
    for late in (two, three, one):
        rows.now += 1
        assert ids_of(rows.take()) == [late.claim.item_id]
        rows.now += 9_999


# The cap of a family


CAPS = {"images": 2}


def test_a_family_has_no_more_in_hand_than_its_cap_over_all_batches_and_owners(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch()
    rows.batch(3, batch_id="bat_2", owner_id=BERTA)
    rows.batch(3, batch_id="bat_3", family="document-jobs", owner_id=CARLA)
    taken = [rows.take(caps=CAPS) for _ in range(4)]
    assert [[each.claim.batch_id for each in chunk] for chunk in taken] == [
        ["bat_1"],
        ["bat_2"],
        ["bat_3"] * 3,
        [],
    ]
    rows.finish(taken[0][0])
    assert [each.claim.batch_id for each in rows.take(caps=CAPS)] == ["bat_2"]


def test_a_family_that_is_full_is_locked_in_no_transaction_that_goes_on_to_another(
    database: Database,
) -> None:
    rows = Rows(database)
    caps = {"images": 1, "document-jobs": 1}
    for family in caps:
        rows.batch(2, batch_id=f"bat_{family}", family=family)
    for _ in caps:
        assert rows.take(caps=caps)
    asking = transitions.Asking(rows.enter(), slots=9, most=lambda _: 9, caps=caps)
    seen = []
    while (passed := rows.do(claims.claim, asking).passed) is not None:
        asking = replace(asking, passed=passed)
        seen.append(list(passed.families))
    assert [len(each) for each in seen] == [1, 2]
    assert seen[1][:1] == seen[0]


def test_two_workers_that_ask_at_once_do_not_pass_the_cap_together(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3)
    rows.batch(3, batch_id="bat_2", owner_id=BERTA)
    for worker in ("wrk_a", "wrk_b"):
        rows.enter(worker)

    def take(conn: Connection, worker: str) -> int:
        asking = transitions.Asking(WorkerId(worker), slots=2, most=lambda _: 9, caps=CAPS)
        return len(claim_in_one(conn, asking, now=at(rows.now)))

    taken = both_at_once(
        database, lambda conn: take(conn, "wrk_a"), lambda conn: take(conn, "wrk_b")
    )
    assert sum(taken) == 2


def test_a_family_that_is_full_hides_no_other_batch_of_its_owner(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3, priority=1010)
    rows.batch(batch_id="bat_2", family="document-jobs")
    caps = {"images": 1}
    assert [each.claim.batch_id for each in rows.take(caps=caps)] == [BATCH]
    assert [each.claim.batch_id for each in rows.take(caps=caps)] == ["bat_2"]


def test_what_has_begun_counts_towards_the_cap(database: Database) -> None:
    rows = Rows(database)
    rows.batch(4)
    for claimed in rows.take(caps=CAPS):
        rows.begin(claimed)
    assert rows.counts() == {"processing": 2, "pending": 2}
    assert rows.take(caps=CAPS) == []


def full_families(rows: Rows, number: int) -> None:
    rows.batch(2)
    rows.take(caps=CAPS)
    for n in range(number):
        rows.batch(batch_id=f"bat_full_{n}", owner_id=BERTA)


def paused_batches(rows: Rows, number: int) -> None:
    for n in range(number):
        rows.batch(batch_id=f"bat_paused_{n}")
        rows.at_any_time(batches.change, BatchId(f"bat_paused_{n}"), paused=True)


def full_batches(rows: Rows, number: int) -> None:
    for n in range(number):
        rows.batch(2, batch_id=f"bat_full_{n}", concurrency=1)
        rows.take(most=1)


@pytest.mark.parametrize("making", [full_families, paused_batches, full_batches])
def test_a_claim_asks_no_more_often_however_many_batches_can_have_nothing(
    database: Database, making: Callable[[Rows, int], None]
) -> None:
    asked = []
    for number in (1, 6):
        with database.engine.begin() as conn:
            databases.empty(conn)
        rows = Rows(database)
        making(rows, number)
        rows.enter()
        asked.append(statements_of(database, lambda: rows.take(caps=CAPS)))  # noqa: B023
    assert asked[0] == asked[1]


def statements_of(database: Database, act: Callable[[], list[transitions.Claimed]]) -> int:
    """Return how many statements a claim took that got nothing."""
    seen: list[object] = []

    def note(*_told: object) -> None:
        seen.append(None)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        assert act() == []
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return len(seen)


# Turns and priorities


def turn(rows: Rows, **more: Any) -> list[str]:
    """Let one item be claimed and finished; return of which batch it was."""
    claimed = rows.take(most=1, **more)
    for each in claimed:
        rows.finish(each)
    rows.now += 1
    return [each.claim.batch_id for each in claimed]


def turns_of(rows: Rows, number: int) -> list[str]:
    return list(chain.from_iterable(turn(rows) for _ in range(number)))


def test_batches_of_one_priority_take_turns(database: Database) -> None:
    rows = Rows(database)
    for batch_id in ("bat_1", "bat_2", "bat_3"):
        rows.batch(2, batch_id=batch_id)
        rows.now += 1
    assert turns_of(rows, 6) == ["bat_1", "bat_2", "bat_3"] * 2
    assert turn(rows) == []


def test_a_batch_of_higher_priority_has_every_turn_of_its_owner_until_it_is_done(
    database: Database,
) -> None:
    rows = Rows(database)
    for batch_id, priority in (("bat_1", 1090), ("bat_2", 1010), ("bat_3", 1050)):
        rows.batch(2, batch_id=batch_id, priority=priority)
    assert turns_of(rows, 6) == ["bat_2"] * 2 + ["bat_3"] * 2 + ["bat_1"] * 2


def test_a_turn_is_for_batches_that_may_run_and_have_something_due(database: Database) -> None:
    rows = Rows(database)
    (later,) = rows.batch(batch_id="bat_4")
    rows.finish(rows.claimed(later), AWAY)
    for batch_id in ("bat_1", "bat_2"):
        rows.batch(batch_id=batch_id)
    rows.at_any_time(batches.change, BatchId("bat_1"), paused=True)
    assert turns_of(rows, 3) == ["bat_2"]
    rows.now += 2_000
    assert turn(rows) == ["bat_4"]


def test_a_batch_whose_limit_is_reached_holds_up_no_other(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2, concurrency=1, priority=1010)
    rows.batch(batch_id="bat_2")
    assert [each.claim.batch_id for each in rows.take(most=9)] == [BATCH]
    assert [each.claim.batch_id for each in rows.take(most=9)] == ["bat_2"]


# Owners


def uses(rows: Rows, owner_id: OwnerId, *, worker: str = "wrk_a", **more: int) -> None:
    """Say what an owner has of a worker."""
    share = {"slots": 0, "aged_slots": 0, "served_ms": 0, **more}
    rows.at_any_time(shares.write, WorkerId(worker), [Share(owner_id, **share)])


def next_owner(rows: Rows, **more: Any) -> str | None:
    worker_id = rows.enter("wrk_a")
    found = rows.do(turns.next_turn, worker_id, **{"slots": 4, **more})
    return None if found is None else found.owner_id


def owners(rows: Rows, *names: OwnerId, **more: Any) -> None:
    """Let each of these owners send a batch."""
    for number, name in enumerate(names):
        rows.batch(9, batch_id=f"bat_{name}_{number}", owner_id=name, **more)
        rows.now += 1


def test_who_has_the_fewest_slots_comes_first_then_who_was_served_least(
    database: Database,
) -> None:
    rows = Rows(database)
    owners(rows, ANNA, BERTA, CARLA)
    assert next_owner(rows) == ANNA, "nobody has anything: who sent first"
    uses(rows, ANNA, slots=1)
    assert next_owner(rows) == BERTA
    uses(rows, BERTA, served_ms=500)
    assert next_owner(rows) == CARLA
    uses(rows, CARLA, served_ms=600)
    assert next_owner(rows) == BERTA
    uses(rows, BERTA, worker="wrk_b", slots=1)
    assert next_owner(rows) == CARLA, "what an owner has of other workers counts too"


def test_a_newcomer_has_no_more_than_ten_seconds_a_slot_to_catch_up(database: Database) -> None:
    rows = Rows(database)
    owners(rows, ANNA, BERTA)
    uses(rows, ANNA, served_ms=1_000_000)
    assert next_owner(rows) == BERTA
    uses(rows, BERTA, served_ms=960_000)
    assert next_owner(rows, slots=4) == BERTA
    rows.batch(9, batch_id="bat_of_carla", owner_id=CARLA)
    assert next_owner(rows, slots=4) == BERTA, "Carla counts as if served as much, and sent later"
    uses(rows, BERTA, served_ms=1)
    assert next_owner(rows, slots=4) == CARLA


def test_a_higher_tier_goes_before_who_was_served_less(database: Database) -> None:
    rows = Rows(database)
    owners(rows, ANNA, priority=1050)
    owners(rows, BERTA, priority=190)
    uses(rows, BERTA, slots=3, served_ms=9_000)
    assert next_owner(rows) == BERTA


def test_a_rank_within_a_tier_is_for_ones_own_batches_alone(database: Database) -> None:
    rows = Rows(database)
    owners(rows, ANNA, priority=1090)
    owners(rows, BERTA, priority=1010)
    uses(rows, BERTA, slots=1)
    assert next_owner(rows) == ANNA


def test_only_who_has_no_slot_anywhere_is_asked_for_in_between(database: Database) -> None:
    rows = Rows(database)
    owners(rows, ANNA, BERTA)
    uses(rows, ANNA, slots=1, worker="wrk_b")
    asked = turns.Passed(only_unserved=True)
    assert next_owner(rows, passed=asked) == BERTA
    assert next_owner(rows, passed=replace(asked, owners=(BERTA,))) is None


def test_what_owners_had_of_a_worker_goes_with_it(database: Database) -> None:
    rows = Rows(database)
    owners(rows, ANNA, BERTA)
    rows.enter("wrk_b")
    uses(rows, ANNA, slots=1, worker="wrk_gone")
    uses(rows, BERTA, served_ms=1, worker="wrk_b")
    assert next_owner(rows) == BERTA
    assert rows.at_any_time(shares.forget_gone) == 1
    assert next_owner(rows) == ANNA


def test_slots_of_a_worker_whose_lease_is_over_count_as_free_and_what_it_served_stays(
    database: Database,
) -> None:
    rows = Rows(database)
    owners(rows, ANNA, BERTA)
    rows.enter("wrk_b")
    uses(rows, ANNA, slots=1, worker="wrk_gone")
    uses(rows, BERTA, served_ms=1, worker="wrk_b")
    assert rows.do(shares.free_gone) == 1
    assert next_owner(rows) == ANNA
    uses(rows, BERTA, slots=1, worker="wrk_b")
    assert rows.do(shares.free_gone) == 0


# Ageing


def test_a_batch_that_waited_for_a_minute_goes_before_a_higher_tier(database: Database) -> None:
    rows = Rows(database)
    owners(rows, ANNA, priority=1050)
    rows.now += turns.AGED_MS - 2
    owners(rows, BERTA, priority=110)
    assert next_owner(rows) == BERTA
    rows.now += 2
    assert next_owner(rows) == ANNA
    (claimed,) = rows.take(most=1)
    assert claimed.is_aged
    assert next_owner(rows) == BERTA, "it has had its turn"


def test_what_has_waited_too_long_gets_no_more_than_a_quarter_of_the_slots(
    database: Database,
) -> None:
    rows = Rows(database)
    owners(rows, ANNA, CARLA, priority=1050)
    rows.now += turns.AGED_MS + 1
    owners(rows, BERTA, priority=110)
    assert next_owner(rows, slots=8) == ANNA
    uses(rows, ANNA, slots=1, aged_slots=1)
    assert next_owner(rows, slots=8) == ANNA, "two of eight"
    uses(rows, CARLA, slots=1, aged_slots=1)
    assert next_owner(rows, slots=8) == BERTA
    assert next_owner(rows, slots=12) == ANNA


def test_among_batches_that_waited_too_long_the_longest_goes_first(database: Database) -> None:
    rows = Rows(database)
    owners(rows, ANNA, BERTA)
    rows.now += turns.AGED_MS + 1
    uses(rows, ANNA, slots=3, served_ms=99_000)
    assert next_owner(rows) == ANNA


def test_a_batch_that_is_resumed_or_sent_just_now_has_not_waited(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2, owner_id=OWNER, priority=1050)
    rows.at_any_time(batches.change, BATCH, paused=True)
    rows.now += 10 * turns.AGED_MS
    owners(rows, BERTA, priority=110)
    rows.do(batches.resume, BATCH)
    assert next_owner(rows) == BERTA
