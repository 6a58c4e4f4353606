"""Batches and items as rows, moved by the transactions that the services run.

The clock is an argument of each of them, so a story says when something happens and never waits.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, select

from batchmill.db import batches, items, schema
from batchmill.db.connect import Database
from batchmill.db.types import at
from batchmill.model.batch import BatchDraft, BatchId, BatchStatus, OwnerId
from batchmill.model.item import (
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
from batchmill.service.scheduling.transitions import (
    Claimed,
    Completed,
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
        self.at_any_time(batches.start, own, status=BatchStatus.QUEUED)
        return ids

    def take(
        self,
        batch_id: str = BATCH,
        *,
        window: int = 100,
        caps: Mapping[str, int] = transitions.NO_CAPS,
    ) -> list[QueueMessage]:
        """Queue what is due of a batch."""
        taken = self.do(transitions.queue_items, BatchId(batch_id), window=window, caps=caps)
        return list(taken.messages)

    def claim(self, item_id: ItemId, worker: str = "wrk_a") -> Claimed | None:
        """Claim an item."""
        return self.do(transitions.claim, item_id, worker_id=WorkerId(worker), lease_ms=LEASE_MS)

    def claimed(self, item_id: ItemId, worker: str = "wrk_a") -> Claimed:
        """Queue and claim an item that is due."""
        self.take(self.item(item_id)["batch_id"])
        claimed = self.claim(item_id, worker)
        assert claimed is not None
        return claimed

    def finish(
        self, claimed: Claimed, outcome: Outcome = DONE, run_ms: int = 5
    ) -> FinishedItem | None:
        """Finish an attempt."""
        return self.do(transitions.finish, claimed, outcome, run_ms=run_ms, retention_ms=WEEK_MS)

    def rescue(self, batch_id: str = BATCH, limit: int = 100) -> int:
        """Return to pending what has an expired lease."""
        return self.do(transitions.rescue, BatchId(batch_id), limit=limit)

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Read the row of an item."""
        return self._row(schema.items, item_id)

    def batch_row(self, batch_id: str = BATCH) -> dict[str, Any]:
        """Read the row of a batch."""
        return self._row(schema.batches, batch_id)

    def counts(self, batch_id: str = BATCH) -> dict[str, int]:
        """Return how many items are in each status, once the counters say the same."""
        row = self.batch_row(batch_id)
        counted = {str(each): row[f"n_{each}"] for each in ItemStatus if row[f"n_{each}"]}
        from_rows = self.at_any_time(count_by_status, BatchId(batch_id))
        assert counted == {str(status): number for status, number in from_rows.items()}
        return counted

    def _row(self, table: Table, row_id: str) -> dict[str, Any]:
        query = select(table).where(table.c.id == row_id)
        with self.database.engine.connect() as conn:
            return dict(conn.execute(query).mappings().one())


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
