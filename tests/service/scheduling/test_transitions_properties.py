"""Whatever is lost, repeated, delayed or killed, each item ends once and the counters are right.

The machine drives the very transactions that the product runs, on a real SQLite database, as
workers that misbehave in every way that the architecture allows.
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
from batchmill.db import batches, counters, items, listing, workers
from batchmill.db.connect import Database
from batchmill.db.types import at
from batchmill.model.batch import Batch, BatchDraft, BatchId, BatchStatus, OwnerId
from batchmill.model.item import (
    FINAL,
    IN_FLIGHT,
    AttemptKey,
    Failure,
    Input,
    ItemId,
    ItemStatus,
    NewItem,
    Result,
    WorkerId,
)
from batchmill.model.retry import RetryPolicy
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import (
    Asking,
    Claimed,
    Completed,
    EndedAttempt,
    Failed,
)
from support.ring import ALL
from support.rows import claim_in_one, count_by_status

T = TypeVar("T")
OWNER = OwnerId("somebody")
SIZES = {"bat_one_by_one": (4, 1), "bat_without_limit": (5, None)}
LEASE_MS = 12_000
POLICY = RetryPolicy(errors=2, crashes=1, timeouts=1)
WEEK_MS = 7 * 86_400_000
OUTCOMES: list[transitions.Outcome] = [
    Completed(Result()),
    Failed(Failure("unreadable_file", "bad"), "errors", POLICY),
    Failed(Failure("outage", "away", retryable=True), "errors", POLICY),
    Failed(Failure("child_crashed", "died", retryable=True), "crashes", POLICY),
    Failed(Failure("attempt_timeout", "slow", retryable=True), "timeouts", POLICY),
]


class Deliveries(RuleBasedStateMachine):
    """Two batches of one owner, a sequential one and one without a limit, and a few workers."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.do(databases.empty)
        self.now = 1_800_000_000_000
        self.running: list[Claimed] = []
        self.zombies: list[Claimed] = []
        self.final: dict[str, tuple[ItemStatus, int]] = {}
        self.attempts: dict[str, int] = {}
        self.lives = 0
        self.lives_until = 0
        self.lease_until: dict[AttemptKey, int] = {}

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
        self.a_worker_starts_anew()

    @rule()
    def a_worker_starts_anew(self) -> None:
        """The next claims are those of another worker; the earlier one goes on beside it."""
        self.lives += 1
        self.lives_until = self.now + LEASE_MS
        self.worker_id = WorkerId(f"wrk_{self.lives}")
        lease: dict[str, Any] = {"slots": 2, "stats": {}, "lease_ms": LEASE_MS}
        self.do(workers.enter, self.worker_id, host="h", pid=1, now=at(self.now), **lease)

    @rule(most=st.integers(1, 4))
    def a_worker_claims(self, most: int) -> None:
        self._claim(most)

    def _claim(self, most: int) -> list[Claimed]:
        asking = Asking(self.worker_id, slots=2, most=lambda _: most)
        claimed = list(self.do(claim_in_one, asking, now=at(self.now)))
        assert len(claimed) <= most
        for each in claimed:
            item_id, attempt = each.claim.item_id, each.claim.attempt
            assert attempt > self.attempts.get(item_id, 0), "an attempt number came twice"
            assert all(each.claim.item_id != other.claim.item_id for other in self.running)
            self.attempts[item_id] = attempt
            self.lease_until[each.claim.key] = self.lives_until
        self.running += claimed
        return claimed

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def the_answer_to_a_claim_is_lost(self, data: st.DataObject) -> None:
        """Nobody works on it, and its worker, which lives, finds it among its own."""
        claimed = data.draw(st.sampled_from(self.running))
        self.running.remove(claimed)
        self.zombies.append(claimed)
        held = claimed.claim
        self.do(transitions.hand_back, held.batch_id, [held], by=data.draw(self.author))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_begin_is_noted(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.running + self.zombies)).claim
        by = data.draw(self.author)
        self.do(transitions.begin, held.batch_id, {held: 1_500}, by=by, now=at(self.now))

    @property
    def author(self) -> st.SearchStrategy[WorkerId | None]:
        """Who counts what has moved: a worker in its own row, or the batch's row does."""
        return st.sampled_from([None, self.worker_id])

    @rule()
    def the_sweep_runs(self) -> None:
        for worker_id in self.do(workers.gone, now=at(self.now)):
            for row in self.do(items.of_worker, worker_id):
                held = row.claim
                self.do(
                    transitions.rescue,
                    held.batch_id,
                    worker_id,
                    [held],
                    retention_ms=WEEK_MS,
                    is_blamed=False,
                    now=at(self.now),
                )

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_silent_worker_is_replaced(self, data: st.DataObject) -> None:
        """Its lease ends, its items are rescued, and another claims them: what the fence is for."""
        self.time_passes(seconds=13)
        self.the_sweep_runs()
        self.a_worker_starts_anew()
        self._claim(data.draw(st.integers(1, 4)))

    @rule(seconds=st.sampled_from([1, 5, 13, 700]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * 1000
        lost = [each for each in self.running if self.lease_until[each.claim.key] <= self.now]
        self.zombies += lost
        self.running = [each for each in self.running if each not in lost]

    @precondition(lambda self: self.running or self.zombies)
    @rule(data=st.data())
    def workers_finish(self, data: st.DataObject) -> None:
        """Some attempts of one batch, living ones and zombies, end in one transaction."""
        known = self.running + self.zombies
        batch_id = data.draw(st.sampled_from(sorted({each.claim.batch_id for each in known})))
        own = [each for each in known if each.claim.batch_id == batch_id]
        chosen = data.draw(st.lists(st.sampled_from(range(len(own))), min_size=1, unique=True))
        outcomes = [data.draw(st.sampled_from(OUTCOMES)) for _ in chosen]
        ended = [
            EndedAttempt(own[number], outcome, 5)
            for number, outcome in zip(chosen, outcomes, strict=True)
        ]
        # One worker never holds an item under two attempts.
        ended = list({each.claimed.claim.item_id: each for each in ended}.values())
        ending = [each.claimed for each in ended]
        has_more = any(each not in ending for each in own if each in self.running)
        self._finish(batch_id, ended, by=data.draw(self.author) if has_more else None)

    def _finish(
        self, batch_id: BatchId, ended: list[EndedAttempt], by: WorkerId | None = None
    ) -> None:
        how: dict[str, Any] = {"retention_ms": WEEK_MS, "by": by, "now": at(self.now)}
        found = self.do(transitions.finish, batch_id, ended, **how)
        for each, done in zip(ended, found, strict=True):
            if each.claimed in self.running:
                self.running.remove(each.claimed)
            if done is not None:
                self._finished(each, done.status)

    def _finished(self, ended: EndedAttempt, status: ItemStatus) -> None:
        held = ended.claimed.claim
        assert held.attempt == self.attempts[held.item_id], "a stale worker finished an item"
        assert held.item_id not in self.final, "an item ended twice"
        row = self.do(listing.get, held.item_id)
        assert row is not None
        used = (row.spent.errors, row.spent.crashes, row.spent.timeouts)
        assert sum(used) == sum(astuple(held.spent)) + isinstance(ended.outcome, Failed)
        if status in FINAL:
            self.final[held.item_id] = (status, held.attempt)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_worker_hands_back(self, data: st.DataObject) -> None:
        claimed = data.draw(st.sampled_from(self.running))
        self.running.remove(claimed)
        held, by = claimed.claim, data.draw(self.author)
        assert self.do(transitions.hand_back, held.batch_id, [held], by=by) == 1

    @rule()
    def what_gone_workers_counted_is_folded_in(self) -> None:
        self.do(workers.forget_dead, now=at(self.now))
        for batch_id, gone in self.do(counters.left_behind).items():
            self.do(counters.fold, batch_id, only=gone)

    @invariant()
    def counters_equal_the_rows(self) -> None:
        for batch_id in SIZES:
            batch = self.do(batches.get, BatchId(batch_id), owner_id=OWNER)
            if batch is None or batch.status is BatchStatus.UPLOADING:
                continue
            from_rows = self.do(count_by_status, batch_id)
            for status in ItemStatus:
                assert getattr(batch.counts, status) == from_rows.get(status, 0), status
            if batch.concurrency is not None:
                assert batch.counts.in_flight <= batch.concurrency
            assert batch.status.ended == (batch.counts.unfinished == 0)

    @invariant()
    def who_works_holds_the_claim(self) -> None:
        for claimed in self.running:
            held = self.do(listing.get, claimed.claim.item_id)
            assert held is not None
            assert held.status in IN_FLIGHT
            assert (held.attempt, held.spent) == (claimed.claim.attempt, claimed.claim.spent)

    @invariant()
    def final_items_never_change(self) -> None:
        if not self.final:
            return
        for batch_id in SIZES:
            for item in self.do(listing.page, BatchId(batch_id), limit=100):
                if item.id in self.final:
                    assert (item.status, item.attempt) == self.final[item.id]

    def teardown(self) -> None:
        """From any state, a worker that works and a sweep bring every item to its end."""
        for _ in range(60):
            self.now += 700_000
            self.zombies += self.running
            self.running = []
            self.the_sweep_runs()
            self.a_worker_starts_anew()
            while claimed := self._claim(4):
                ended = [EndedAttempt(each, Completed(Result()), 1) for each in claimed]
                self._finish(claimed[0].claim.batch_id, ended)
            if all(batch.status.ended for batch in self._batches()):
                return
        raise AssertionError(self._batches())

    def _batches(self) -> list[Batch]:
        found = [self.do(batches.get, BatchId(each), owner_id=OWNER) for each in SIZES]
        return [batch for batch in found if batch is not None]


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
