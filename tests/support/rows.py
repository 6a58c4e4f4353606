"""Batches and items as rows, moved by the transactions that the services run.

The clock is an argument of each of them, so a story says when something happens and never waits.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, select, update

from batchmill.db import batches, items, schema, workers
from batchmill.db.connect import Database
from batchmill.db.turns import Passed
from batchmill.db.types import NOW, Clock, at
from batchmill.model.batch import Batch, BatchDraft, BatchId, BatchStatus, OwnerId
from batchmill.model.item import (
    Claim,
    Failure,
    Input,
    ItemId,
    ItemStatus,
    NewItem,
    Result,
    WorkerId,
)
from batchmill.model.retry import RetryPolicy
from batchmill.service.scheduling import claims, transitions
from batchmill.service.scheduling.transitions import (
    Asking,
    Claimed,
    Completed,
    EndedAttempt,
    Failed,
    FinishedItem,
    Outcome,
)

T = TypeVar("T")
OWNER = OwnerId("anna")
BATCH = BatchId("bat_1")
LEASE_MS = 12_000
WEEK_MS = 7 * 86_400_000
FILE_BYTES = 10
FAR = 10**13
FORGET = schema.workers.delete()
OF_WORKER = schema.workers.c.id
POLICY = RetryPolicy(errors=2, crashes=1, timeouts=1)
DONE = Completed(Result())
UNREADABLE = Failed(Failure("unreadable_file", "The picture ends early."), "errors", POLICY)
AWAY = Failed(Failure("outage", "It is away.", retryable=True), "errors", POLICY)
CRASHED = Failed(Failure("child_crashed", "It died.", retryable=True), "crashes", POLICY)
SLOW = Failed(Failure("attempt_timeout", "It was slow.", retryable=True), "timeouts", POLICY)


class Rows:
    """A database and the time that every transaction is told, in milliseconds."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = 1_800_000_000_000

    def do(self, function: Callable[..., T], *args: Any, **more: Any) -> T:
        """Run a transaction at the time of the story."""
        return self.at_any_time(function, *args, now=at(self.now), **more)

    def at_any_time(self, function: Callable[..., T], *args: Any, **more: Any) -> T:
        """Run a transaction that asks for no time."""
        with self.database.engine.begin() as conn:
            return function(conn, *args, **more)

    def batch(
        self, number: int = 1, *, batch_id: str = BATCH, owner_id: OwnerId = OWNER, **order: Any
    ) -> list[ItemId]:
        """Submit a batch of pending items and return their ids."""
        usual = {
            "pipeline": {"steps": [{"use": "resize"}]},
            "pipeline_name": "p",
            "family": "images",
            "tier": "free",
            "priority": 1050,
        }
        asked = BatchDraft(**{**usual, **order})
        own = BatchId(batch_id)
        self.do(batches.insert, own, asked, owner_id=owner_id, upload_ms=60_000)
        ids = [ItemId(f"itm_{batch_id}_{n}") for n in range(number)]
        new = [NewItem(each, Input(f"k/{n}", f"{n}.jpg", FILE_BYTES)) for n, each in enumerate(ids)]
        if new:
            self.at_any_time(items.insert, own, new, first_position=0)
            self.at_any_time(batches.count, own, {ItemStatus.PENDING: number})
        self.at_any_time(batches.start, own, status=BatchStatus.QUEUED, turn_at=at(self.now))
        return ids

    def enter(self, worker: str = "wrk_a", lease_ms: int = LEASE_MS) -> WorkerId:
        """Give a worker a lease from now on, or renew the one that it has."""
        worker_id = WorkerId(worker)
        lease: dict[str, Any] = {"slots": 2, "stats": {}, "lease_ms": lease_ms}
        if not self.do(workers.renew, worker_id, **lease):
            self.at_any_time(lambda conn: conn.execute(FORGET.where(OF_WORKER.in_([worker]))))
            self.do(workers.enter, worker_id, host="h", pid=1, **lease)
        return worker_id

    def take(
        self,
        worker: str = "wrk_a",
        *,
        most: int = 100,
        caps: Mapping[str, int] | None = None,
        has_suspect: bool = False,
        **passed: Any,
    ) -> list[Claimed]:
        """Claim what is due of the batch whose turn it is."""
        asking = Asking(
            worker_id=self.enter(worker),
            slots=2,
            most=lambda _: most,
            caps=caps or {},
            passed=Passed(**passed),
            has_suspect=has_suspect,
        )
        return list(self.do(claim_in_one, asking))

    def claimed(self, item_id: ItemId, worker: str = "wrk_a") -> Claimed:
        """Claim one item that is due, and nothing beside it."""
        with_it = self.item(item_id)["batch_id"]
        held_back = update(schema.items).where(
            schema.items.c.id != item_id, schema.items.c.status.in_(["pending", "retrying"])
        )
        others = update(schema.batches).where(schema.batches.c.id.not_in([with_it]))
        self.at_any_time(
            lambda conn: conn.execute(held_back.values(due_at=schema.items.c.due_at + at(FAR)))
        )
        self.at_any_time(lambda conn: conn.execute(others.values(paused=True)))
        try:
            (claimed,) = self.take(worker)
        finally:
            self.at_any_time(lambda conn: conn.execute(others.values(paused=False)))
            let_go = update(schema.items).where(schema.items.c.due_at >= at(FAR))
            let_go = let_go.values(due_at=schema.items.c.due_at - at(FAR))
            self.at_any_time(lambda conn: conn.execute(let_go))
        assert claimed.claim.item_id == item_id
        return claimed

    def begin(self, claimed: Claimed, age_ms: int = 0, *, by: str | None = None) -> int:
        """Note that an attempt has begun; `by` a worker that counts for itself."""
        held = claimed.claim
        return self.do(transitions.begin, held.batch_id, {held: age_ms}, by=_worker(by))

    def finish(
        self, claimed: Claimed, outcome: Outcome = DONE, run_ms: int = 5, *, by: str | None = None
    ) -> FinishedItem | None:
        """Finish an attempt."""
        (done,) = self.finish_all([EndedAttempt(claimed, outcome, run_ms)], by=by)
        return done

    def finish_all(
        self, ended: Sequence[EndedAttempt], *, by: str | None = None
    ) -> Sequence[FinishedItem | None]:
        """Finish attempts of one batch together."""
        batch_id = ended[0].claimed.claim.batch_id
        how: dict[str, Any] = {"retention_ms": WEEK_MS, "by": _worker(by)}
        return self.do(transitions.finish, batch_id, ended, **how)

    def hand_back(self, claimed: Claimed, *, by: str | None = None) -> int:
        """Give a claimed item back unfinished."""
        held = claimed.claim
        return self.at_any_time(transitions.hand_back, held.batch_id, [held], by=_worker(by))

    def rescue(self, *, is_blamed: bool = True) -> int:
        """Return to pending what workers had whose lease is over; return how many items."""
        how: dict[str, Any] = {"retention_ms": WEEK_MS, "is_blamed": is_blamed}
        rescued = 0
        for worker_id in self.do(workers.gone):
            by_batch: dict[BatchId, list[Claim]] = {}
            for row in self.at_any_time(items.of_worker, worker_id):
                by_batch.setdefault(row.claim.batch_id, []).append(row.claim)
            for batch_id, lost in by_batch.items():
                rescued += self.do(transitions.rescue, batch_id, worker_id, lost, **how).items
        return rescued

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Read the row of an item."""
        return self._row(schema.items, item_id)

    def batch_row(self, batch_id: str = BATCH) -> dict[str, Any]:
        """Read the row of a batch."""
        return self._row(schema.batches, batch_id)

    def batch_as_read(self, batch_id: str = BATCH) -> Batch:
        """Read a batch as all do: its row and what workers have counted."""
        batch = self.at_any_time(batches.get_any, BatchId(batch_id))
        assert batch is not None
        return batch

    def counts(self, batch_id: str = BATCH) -> dict[str, int]:
        """Return how many items are in each status, once the counters say the same."""
        counts = self.batch_as_read(batch_id).counts
        found = {str(each): getattr(counts, each) for each in ItemStatus}
        counted = {name: number for name, number in found.items() if number}
        from_rows = self.at_any_time(count_by_status, BatchId(batch_id))
        assert counted == {str(status): number for status, number in from_rows.items()}
        return counted

    def _row(self, table: Table, row_id: str) -> dict[str, Any]:
        query = select(table).where(table.c.id == row_id)
        with self.database.engine.connect() as conn:
            return dict(conn.execute(query).mappings().one())


def claim_in_one(conn: Connection, asking: Asking, *, now: Clock = NOW) -> Sequence[Claimed]:
    """Claim in one transaction, where a worker asks again in another one."""
    answer = claims.claim(conn, asking, now=now)
    while answer.passed is not None:
        asking = replace(asking, passed=answer.passed, usage=())
        answer = claims.claim(conn, asking, now=now)
    return answer.claimed


def _worker(name: str | None) -> WorkerId | None:
    return None if name is None else WorkerId(name)


def both_at_once(
    database: Database, one: Callable[[Connection], T], other: Callable[[Connection], T]
) -> list[T]:
    """Run two transactions that both hold what they have done until the other has, too, if it can.

    Where one has to wait for the other, it does so in the database; then the first goes on.
    """
    met = threading.Barrier(2)

    def held(conn: Connection, function: Callable[[Connection], T]) -> T:
        result = function(conn)
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait(1)
        return result

    async def story() -> list[T]:
        return list(await asyncio.gather(database.run(held, one), database.run(held, other)))

    return asyncio.run(story())


def count_by_status(conn: Connection, batch_id: BatchId) -> dict[ItemStatus, int]:
    """Count the rows themselves: what the batch's counters must equal."""
    status = schema.items.c.status
    query = select(status, func.count()).where(schema.items.c.batch_id == batch_id).group_by(status)
    return {ItemStatus(each): number for each, number in conn.execute(query)}
