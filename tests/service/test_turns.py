"""What is queued next, and whose turn it is: windows, shares, caps and priorities, as rows."""

from dataclasses import replace
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from batchmill.db import batches, turns
from batchmill.db.connect import Database
from batchmill.db.types import at, from_ms
from batchmill.model.batch import BatchId, OwnerId
from batchmill.model.item import Claim
from batchmill.service.scheduling import transitions
from support.rows import AWAY, BATCH, OWNER, Rows, both_at_once

# SQL is the subject: all databases


# Queueing


def test_what_is_due_is_queued_in_order_as_far_as_the_window_has_room(database: Database) -> None:
    rows = Rows(database)
    ids = rows.batch(5)
    taken = rows.take(window=3)
    assert [(each.item_id, each.dispatch_no, each.priority) for each in taken] == [
        (item_id, 1, 1050) for item_id in ids[:3]
    ]
    assert rows.item(ids[0])["queued_at"] == from_ms(rows.now)
    assert rows.counts() == {"pending": 2, "queued": 3}
    assert rows.take(window=3) == []
    assert rows.claim(ids[0]) is not None
    assert rows.take(window=3) == [], "a running item fills the window too"


def test_a_batch_keeps_its_own_window_below_that_of_its_owner(database: Database) -> None:
    rows = Rows(database)
    rows.batch(5, concurrency=2)
    assert len(rows.take(window=4)) == 2
    assert rows.take(window=4) == []


def test_batches_of_an_owner_share_what_may_be_queued_and_others_have_their_own(
    database: Database,
) -> None:
    rows = Rows(database)
    first, *_ = rows.batch(3)
    rows.batch(3, batch_id="bat_2")
    rows.batch(3, batch_id="bat_3", owner_id=OwnerId("berta"))
    assert len(rows.take(window=3)) == 3
    assert rows.take("bat_2", window=3) == []
    assert len(rows.take("bat_3", window=3)) == 3
    rows.claim(first)
    assert len(rows.take("bat_2", window=3)) == 1


def test_who_has_little_left_stands_before_who_has_much(database: Database) -> None:
    rows = Rows(database)
    rows.batch(2)
    rows.batch(50, batch_id="bat_2", owner_id=OwnerId("berta"))
    assert [each.ahead for each in rows.take(window=2)] == [0, 1]
    assert [each.ahead for each in rows.take("bat_2", window=2)] == [8, 9]


def test_a_retry_is_queued_in_its_millisecond_and_not_before_and_goes_first(
    database: Database,
) -> None:
    rows = Rows(database)
    ids = rows.batch(3)
    rows.finish(rows.claimed(ids[1]), AWAY)
    assert rows.batch_row()["retry_due_at"] == from_ms(rows.now + 2_000)
    for item_id in (ids[0], ids[2]):
        assert rows.claim(item_id) is not None
        rows.at_any_time(transitions.hand_back, Claim(item_id, BATCH, 1))
    rows.now += 1_999
    assert [each.item_id for each in rows.take(window=1)] == [ids[0]]
    rows.now += 1
    assert [(each.item_id, each.dispatch_no) for each in rows.take(window=2)] == [(ids[1], 2)]
    assert rows.item(ids[1])["status"] == "queued"
    assert rows.batch_row()["retry_due_at"] is None
    assert rows.counts() == {"pending": 1, "queued": 2}


def test_the_batch_knows_its_earliest_retry(database: Database) -> None:
    rows = Rows(database)
    one, two, three = rows.batch(3)
    rows.finish(rows.claimed(one), replace(AWAY, retry_after_s=30.0))
    assert rows.batch_row()["retry_due_at"] == from_ms(rows.now + 30_000)
    rows.finish(rows.claimed(two), replace(AWAY, retry_after_s=10.0))
    rows.finish(rows.claimed(three), replace(AWAY, retry_after_s=20.0))
    assert rows.batch_row()["retry_due_at"] == from_ms(rows.now + 10_000)
    rows.now += 10_000
    assert [each.item_id for each in rows.take()] == [two]
    assert rows.batch_row()["retry_due_at"] == from_ms(rows.now + 10_000)


# The cap of a family


CAPS = {"images": 2}


def test_a_family_has_no_more_in_flight_than_its_cap_over_all_batches_and_owners(
    database: Database,
) -> None:
    rows = Rows(database)
    (first,) = rows.batch()
    rows.batch(3, batch_id="bat_2", owner_id=OwnerId("berta"))
    rows.batch(3, batch_id="bat_3", family="document-jobs")
    assert len(rows.take(caps=CAPS)) == 1
    claimed = rows.claim(first)
    assert claimed is not None
    assert len(rows.take("bat_2", caps=CAPS)) == 1
    assert rows.take("bat_2", caps=CAPS) == []
    assert len(rows.take("bat_3", caps=CAPS)) == 3, "another family is not capped"
    rows.finish(claimed)
    assert len(rows.take("bat_2", caps=CAPS)) == 1


def test_two_owners_who_are_served_at_once_do_not_pass_the_cap_together(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(3)
    rows.batch(3, batch_id="bat_2", owner_id=OwnerId("berta"))

    def take(conn: Connection, batch_id: str) -> int:
        taken = transitions.queue_items(
            conn, BatchId(batch_id), window=9, caps=CAPS, now=at(rows.now)
        )
        return len(taken.messages)

    taken = both_at_once(database, lambda conn: take(conn, BATCH), lambda conn: take(conn, "bat_2"))
    assert sorted(taken) == [0, 2]


# Turns and priorities


def turn(rows: Rows, owner_id: OwnerId = OWNER, **more: Any) -> list[str]:
    """Let a batch of the owner have its turn for one item; return which it was."""
    queued = rows.do(transitions.queue_next_turn, owner_id, **{"window": 1, **more}).messages
    for each in queued:
        claimed = rows.claim(each.item_id)
        assert claimed is not None
        rows.finish(claimed)
    rows.now += 1
    return [rows.item(each.item_id)["batch_id"] for each in queued]


def test_batches_of_one_priority_take_turns(database: Database) -> None:
    rows = Rows(database)
    for batch_id in ("bat_1", "bat_2", "bat_3"):
        rows.batch(2, batch_id=batch_id)
        rows.now += 1
    assert (
        list(chain.from_iterable(turn(rows) for _ in range(6))) == ["bat_1", "bat_2", "bat_3"] * 2
    )
    assert turn(rows) == []


def test_a_batch_of_higher_priority_has_every_turn_of_its_owner_until_it_is_done(
    database: Database,
) -> None:
    rows = Rows(database)
    for batch_id, priority in (("bat_1", 1090), ("bat_2", 1010), ("bat_3", 1050)):
        rows.batch(2, batch_id=batch_id, priority=priority)
    expected = ["bat_2"] * 2 + ["bat_3"] * 2 + ["bat_1"] * 2
    assert list(chain.from_iterable(turn(rows) for _ in range(6))) == expected


def test_a_turn_is_for_batches_of_the_owner_that_may_run_and_have_something_due(
    database: Database,
) -> None:
    rows = Rows(database)
    rows.batch(batch_id="bat_1")
    rows.batch(batch_id="bat_2")
    rows.batch(batch_id="bat_3", owner_id=OwnerId("berta"))
    (later,) = rows.batch(batch_id="bat_4")
    rows.finish(rows.claimed(later), AWAY)
    rows.at_any_time(batches.change, BatchId("bat_1"), paused=True)
    assert list(chain.from_iterable(turn(rows) for _ in range(3))) == ["bat_2"]
    rows.now += 2_000
    assert turn(rows) == ["bat_4"]


def test_a_batch_whose_window_is_full_holds_up_no_other(database: Database) -> None:
    rows = Rows(database)
    first, *_ = rows.batch(2, concurrency=1, priority=1010)
    rows.batch(batch_id="bat_2")
    rows.take(window=9)
    assert rows.claim(first) is not None
    assert turn(rows, window=9) == ["bat_2"]


def test_a_turn_passes_over_a_family_that_is_full(database: Database) -> None:
    rows = Rows(database)
    rows.batch(3, priority=1010)
    rows.batch(batch_id="bat_2", family="document-jobs")
    caps = {"images": 1}
    assert len(rows.take(caps=caps)) == 1
    assert turn(rows, window=9, caps=caps) == ["bat_2"]


def test_owners_wait_while_something_of_theirs_is_due(database: Database) -> None:
    rows = Rows(database)
    names = [OwnerId(name) for name in ("anna", "berta", "carla", "dora")]
    ids = {name: rows.batch(batch_id=f"bat_{name}", owner_id=name)[0] for name in names}
    rows.finish(rows.claimed(ids[names[1]]), AWAY)
    rows.at_any_time(batches.change, BatchId("bat_carla"), paused=True)
    rows.take("bat_dora")
    assert set(rows.do(turns.owners_waiting)) == {"anna"}
    rows.now += 2_000
    assert set(rows.do(turns.owners_waiting)) == {"anna", "berta"}
