"""Whatever is lost, repeated, delayed or killed, each item ends once and the counters are right.

The machine drives the very transactions that the product runs, on a real SQLite database, as
an engine and workers that misbehave in every way that the architecture allows.
"""

import tempfile
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import databases
from batchmill.db import batches, items, listing, turns
from batchmill.db.connect import Database
from batchmill.db.types import at
from batchmill.model.batch import Batch, BatchDraft, BatchId, BatchStatus, OwnerId
from batchmill.model.item import (
    FINAL,
    Failure,
    Input,
    ItemId,
    ItemStatus,
    NewItem,
    QueueMessage,
    Result,
    WorkerId,
)
from batchmill.model.retry import RetryPolicy
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import Claimed, Completed, Failed
from support.ring import ALL
from support.rows import count_by_status

T = TypeVar("T")
OWNER = OwnerId("somebody")
SIZES = {"bat_one_by_one": (4, 1), "bat_open_window": (5, None)}
WINDOW = 3
LEASE_MS = 12_000
POLICY = RetryPolicy(errors=2, crashes=1, timeouts=1)
WEEK_MS = 7 * 86_400_000


class Deliveries(RuleBasedStateMachine):
    """Two batches of one owner: a sequential one and one with the default window."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.do(databases.empty)
        self.now = 1_800_000_000_000
        self.rung: list[QueueMessage] = []
        self.running: list[Claimed] = []
        self.zombies: list[Claimed] = []
        self.final: dict[str, tuple[ItemStatus, int]] = {}
        self.attempts: dict[str, int] = {}

    def do(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        with self.database.engine.begin() as conn:
            return function(conn, *args, **kwargs)

    @initialize()
    def accept(self) -> None:
        for batch_id, (number, concurrency) in SIZES.items():
            order = BatchDraft(
                pipeline={"steps": [{"use": "resize"}]},
                pipeline_name="p",
                family="images",
                tier="free",
                priority=1050,
                concurrency=concurrency,
            )
            self.do(batches.insert, batch_id, order, owner_id=OWNER, upload_ms=1, now=at(self.now))
            new = [
                NewItem(ItemId(f"itm_{batch_id}_{n}"), Input(f"k/{n}", f"{n}.jpg", 10))
                for n in range(number)
            ]
            self.do(items.insert, batch_id, new, first_position=0)
            self.do(batches.count, batch_id, {ItemStatus.PENDING: number})
            self.do(batches.start, batch_id, status=BatchStatus.QUEUED, open=False)

    def dispatch_a_turn(self) -> None:
        taken = self.do(transitions.queue_next_turn, OWNER, window=WINDOW, now=at(self.now))
        self.rung += taken.messages

    @rule(batch_id=st.sampled_from(sorted(SIZES)))
    def dispatch_a_batch(self, batch_id: str) -> None:
        taken = self.do(transitions.queue_items, BatchId(batch_id), window=WINDOW, now=at(self.now))
        self.rung += taken.messages

    @precondition(lambda self: self.rung)
    @rule(data=st.data(), repeat=st.booleans())
    def deliver(self, data: st.DataObject, *, repeat: bool) -> None:
        wanted = data.draw(st.sampled_from(self.rung))
        if not repeat:
            self.rung.remove(wanted)
        self._claim(wanted)

    def _claim(self, wanted: QueueMessage) -> None:
        claimed = self.do(
            transitions.claim,
            wanted.item_id,
            worker_id=WorkerId("wrk"),
            lease_ms=LEASE_MS,
            now=at(self.now),
        )
        if claimed is None:
            return
        attempt = claimed.claim.attempt
        assert attempt > self.attempts.get(wanted.item_id, 0), "an attempt number came twice"
        self.attempts[wanted.item_id] = attempt
        self.running.append(claimed)

    @precondition(lambda self: self.rung)
    @rule(data=st.data())
    def the_engine_loses_a_delivery(self, data: st.DataObject) -> None:
        self.rung.remove(data.draw(st.sampled_from(self.rung)))

    @rule()
    def the_sweep_runs(self) -> None:
        self.the_sweep_rescues()
        self.dispatch_a_turn()
        self.dispatch_a_turn()
        self.the_sweep_rings_again()

    def the_sweep_rings_again(self) -> None:
        for batch_id in SIZES:
            rows = self.do(
                items.waiting_deliveries, batch_id, older_ms=0, limit=100, now=at(self.now)
            )
            known = {message.item_id for message in self.rung}
            self.rung += [QueueMessage(i, n, 1050) for i, n in rows if i not in known]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_worker_goes_silent(self, data: st.DataObject) -> None:
        claimed = data.draw(st.sampled_from(self.running))
        self.running.remove(claimed)
        self.zombies.append(claimed)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_silent_worker_is_replaced(self, data: st.DataObject) -> None:
        """Its lease ends, its item is rescued, and another claims it: what the fence is for."""
        claimed = data.draw(st.sampled_from(self.running))
        self.time_passes(seconds=13)
        self.the_sweep_runs()
        for wanted in [each for each in self.rung if each.item_id == claimed.claim.item_id]:
            self.rung.remove(wanted)
            self._claim(wanted)

    @rule(seconds=st.sampled_from([1, 5, 13, 700]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * 1000
        if seconds * 1000 > LEASE_MS:
            self.zombies += self.running
            self.running = []

    def the_sweep_rescues(self) -> None:
        for batch_id in SIZES:
            self.do(transitions.rescue, BatchId(batch_id), limit=100, now=at(self.now))

    @precondition(lambda self: self.running or self.zombies)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(
            [
                Completed(Result()),
                Failed(Failure("unreadable_file", "bad"), "errors", POLICY),
                Failed(Failure("outage", "away", retryable=True), "errors", POLICY),
                Failed(Failure("child_crashed", "died", retryable=True), "crashes", POLICY),
                Failed(Failure("attempt_timeout", "slow", retryable=True), "timeouts", POLICY),
            ]
        ),
    )
    def a_worker_settles(self, data: st.DataObject, outcome: transitions.Outcome) -> None:
        claimed = data.draw(st.sampled_from(self.running + self.zombies))
        settled = self.do(
            transitions.finish,
            claimed,
            outcome,
            run_ms=5,
            retention_ms=WEEK_MS,
            now=at(self.now),
        )
        if claimed in self.running:
            self.running.remove(claimed)
        item_id, attempt = claimed.claim.item_id, claimed.claim.attempt
        if settled is None:
            return
        assert attempt == self.attempts[item_id], "a stale worker settled an item"
        assert item_id not in self.final, "an item ended twice"
        row = self.do(listing.get, item_id)
        assert row is not None
        used = (row.spent.errors, row.spent.crashes, row.spent.timeouts)
        assert sum(used) == sum(astuple(claimed.claim.spent)) + isinstance(outcome, Failed)
        if settled.status in FINAL:
            self.final[item_id] = (settled.status, attempt)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_worker_shuts_down(self, data: st.DataObject) -> None:
        claimed = data.draw(st.sampled_from(self.running))
        self.running.remove(claimed)
        self.do(transitions.hand_back, claimed.claim)

    @invariant()
    def counters_equal_the_rows(self) -> None:
        for batch_id in SIZES:
            batch = self.do(batches.get, BatchId(batch_id), owner_id=OWNER)
            if batch is None or batch.status is BatchStatus.UPLOADING:
                continue
            from_rows = self.do(count_by_status, batch_id)
            for status in ItemStatus:
                assert getattr(batch.counts, status) == from_rows.get(status, 0), status
            assert batch.counts.in_flight <= (batch.concurrency or WINDOW)
            assert batch.status.ended == (batch.counts.unfinished == 0)

    @invariant()
    def who_works_holds_the_claim(self) -> None:
        for claimed in self.running:
            held = self.do(listing.get, claimed.claim.item_id)
            assert held is not None
            assert (held.status, held.attempt) == (ItemStatus.PROCESSING, claimed.claim.attempt)
            assert held.spent == claimed.claim.spent

    @invariant()
    def final_items_never_change(self) -> None:
        if not self.final:
            return
        for batch_id in SIZES:
            for item in self.do(listing.page, BatchId(batch_id), limit=100):
                if item.id in self.final:
                    assert (item.status, item.attempt) == self.final[item.id]

    @invariant()
    def the_owner_has_no_more_than_a_share_queued(self) -> None:
        assert self.do(turns.load_of_owner, OWNER)[1] <= WINDOW

    def teardown(self) -> None:
        """From any state, an engine that works and a sweep bring every item to its end."""
        for _ in range(60):
            self.now += 700_000
            self.zombies += self.running
            self.running = []
            self.the_sweep_runs()
            for wanted in list(self.rung):
                self.rung.remove(wanted)
                self._work(wanted)
            if all(batch.status.ended for batch in self._batches()):
                return
        raise AssertionError(self._batches())

    def _batches(self) -> list[Batch]:
        found = [self.do(batches.get, BatchId(each), owner_id=OWNER) for each in SIZES]
        return [batch for batch in found if batch is not None]

    def _work(self, wanted: QueueMessage) -> None:
        claimed = self.do(
            transitions.claim,
            wanted.item_id,
            worker_id=WorkerId("wrk"),
            lease_ms=LEASE_MS,
            now=at(self.now),
        )
        if claimed is None:
            return
        self.attempts[wanted.item_id] = claimed.claim.attempt
        settled = self.do(
            transitions.finish,
            claimed,
            Completed(Result()),
            run_ms=1,
            retention_ms=WEEK_MS,
            now=at(self.now),
        )
        assert settled is not None
        assert wanted.item_id not in self.final
        self.final[wanted.item_id] = (settled.status, claimed.claim.attempt)


# Hypothesis makes the base class when it is asked for.
class TestDeliveries(Deliveries.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(
        max_examples=400 if ALL else 20,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        database = databases.new_database("sqlite", folder)
        Deliveries.database = cls.enterClassContext(database)
