"""A claim that was taken over changes nothing, whatever its worker still does."""

import pytest

from batchmill.db import items
from batchmill.db.connect import Database
from batchmill.service.scheduling import transitions
from support.rows import AWAY, CRASHED, DONE, LEASE_MS, SLOW, UNREADABLE, Rows

pytestmark = pytest.mark.all_databases

OUTCOMES = {"done": DONE, "unreadable": UNREADABLE, "away": AWAY, "crashed": CRASHED, "slow": SLOW}


def taken_over(rows: Rows) -> tuple[transitions.Claimed, transitions.Claimed]:
    """Worker A falls silent, its item is rescued, and worker B claims it."""
    (item_id,) = rows.batch()
    a = rows.claimed(item_id, "wrk_a")
    rows.now += LEASE_MS + 1
    assert rows.rescue() == 1
    return a, rows.claimed(item_id, "wrk_b")


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_a_worker_whose_item_was_taken_over_settles_nothing_and_its_successor_does(
    database: Database, outcome: transitions.Outcome
) -> None:
    rows = Rows(database)
    a, b = taken_over(rows)
    before = rows.item(a.claim.item_id), rows.batch_row()
    assert rows.finish(a, outcome) is None
    assert (rows.item(a.claim.item_id), rows.batch_row()) == before
    assert before[0]["worker_id"] == "wrk_b"
    assert rows.finish(b) is not None
    assert rows.counts() == {"completed": 1}
    assert rows.item(b.claim.item_id)["attempt"] == 2


def test_a_worker_whose_item_was_taken_over_neither_hands_it_back_nor_begins_it(
    database: Database,
) -> None:
    rows = Rows(database)
    a, _ = taken_over(rows)
    before = rows.item(a.claim.item_id)
    assert not rows.hand_back(a)
    assert not rows.begin(a)
    assert not rows.do(items.report_progress, {a.claim: 0.9})
    assert rows.at_any_time(items.hold, [a.claim]) == {}
    assert rows.item(a.claim.item_id) == before
    assert rows.counts() == {"queued": 1}


def test_files_of_an_attempt_are_nobodys_once_no_finish_of_it_can_count(
    database: Database,
) -> None:
    rows = Rows(database)
    first, second, third, fourth, fifth = rows.batch(5)
    ids = (first, second, third, fourth, fifth)
    done, again, back, running, failed = (rows.claimed(each) for each in ids)
    rows.finish(done)
    rows.finish(failed, UNREADABLE)
    rows.hand_back(again)
    rows.claimed(second)
    rows.hand_back(back)
    claims = [each.claim for each in (done, again, back, running, failed)]
    assert rows.at_any_time(items.superseded, claims) == {second, third, fifth}
