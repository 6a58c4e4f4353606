"""How a batch ends, stops or goes on to its end work: what a transaction finds once it has counted.

The batch's row is locked throughout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchmill import logs
from batchmill.db import batches, counters, ends
from batchmill.db.connect import Connection
from batchmill.db.ends import EndClaim
from batchmill.db.prepared import plus
from batchmill.db.types import NOW, Clock
from batchmill.logs import Event
from batchmill.model.batch import RUNNABLE, Batch, BatchId, BatchStatus, Counts, final_status
from batchmill.model.item import ItemStatus
from batchmill.service import webhook_outbox


@dataclass(frozen=True, slots=True)
class BatchEnd:
    """How a batch ended; `reason` says why it was stopped, or what its end work ran into."""

    batch_id: BatchId
    status: BatchStatus
    counts: Counts
    reason: str | None = None


def tell(end: BatchEnd | None) -> None:
    """Log how a batch ended, if it did; its transaction must be over."""
    if end is None:
        return
    counts = end.counts
    logs.info(
        Event.BATCH_ENDED,
        batch=end.batch_id,
        status=end.status,
        files=counts.total,
        succeeded=counts.completed + counts.skipped,
        failed=counts.unsuccessful,
        cancelled=counts.cancelled,
        **({"reason": end.reason} if end.reason else {}),
    )


def finish_values(
    batch: Batch, deltas: Mapping[ItemStatus, int], *, retention_ms: int, now: Clock = NOW
) -> dict[str, Any]:
    """Return the columns that end a batch when `deltas` leave it nothing to do, else none.

    One with end work goes on to that.
    """
    counts = counts_after(batch.counts, deltas)
    is_over = batch.status.ended or batch.status is BatchStatus.FINALIZING
    if counts.unfinished or batch.open or is_over:
        return {}
    if batch.end_work and batch.status is not BatchStatus.CANCELLING:
        due = {"end_due_at": now, "end_worker_id": None, "end_errors": 0}
        return {"status": BatchStatus.FINALIZING, "paused": False, **due, **_no_outage(batch)}
    return _end_values(batch, counts, retention_ms=retention_ms, now=now)


def _end_values(batch: Batch, counts: Counts, *, retention_ms: int, now: Clock) -> dict[str, Any]:
    status = final_status(counts, cancelled=batch.status is BatchStatus.CANCELLING)
    kept = plus(now, retention_ms)
    over = {"status": status, "ended_at": now, "expires_at": kept, "paused": False}
    return {**over, **_no_outage(batch)}


def _no_outage(batch: Batch) -> dict[str, Any]:
    return {} if batch.outage_since is None else {**batches.OUTAGE_OVER, "pause_reason": None}


def conclude(
    conn: Connection, batch: Batch, over: Mapping[str, Any], deltas: Mapping[ItemStatus, int]
) -> BatchEnd | None:
    """Do what belongs to the end of a batch, where `finish_values` found it and it is written."""
    if not over:
        return None
    if batch.is_counted_apart:
        counters.fold(conn, batch.id)
    if not over["status"].ended:
        return None
    webhook_outbox.announce(conn, batch.id)
    stopped = batch.pause_reason if over["status"] is BatchStatus.CANCELLED else None
    counts = counts_after(batch.counts, deltas)
    return BatchEnd(batch.id, over["status"], counts, over.get("pause_reason") or stopped)


def end(
    conn: Connection,
    held: EndClaim,
    *,
    retention_ms: int,
    note: str | None = None,
    now: Clock = NOW,
) -> BatchEnd | None:
    """End a batch whose end work is done, or was given up as `note` says; None: a stale claim."""
    batch = batches.lock(conn, held.batch.id)
    if batch is None or batch.counts.unfinished:
        return None
    over = _end_values(batch, batch.counts, retention_ms=retention_ms, now=now)
    if note is not None:
        over["pause_reason"] = note[:200]
    if not ends.change(conn, held, **over):
        return None
    return conclude(conn, batch, over, {})


def end_finished(conn: Connection, batch_id: BatchId, *, retention_ms: int) -> BatchEnd | None:
    """End a batch that has nothing left to do; every finish does so, and this is its backstop."""
    batch = batches.lock(conn, batch_id)
    if batch is None or batch.status not in RUNNABLE or not batch.counts.total:
        return None
    over = finish_values(batch, {}, retention_ms=retention_ms)
    if over:
        batches.change(conn, batch_id, **over)
    return conclude(conn, batch, over, {})


def settle(conn: Connection, batch_id: BatchId, *, now: Clock = NOW) -> None:
    """Note that a batch was worked on until now, as a finish that ends a chunk does."""
    batch = batches.lock(conn, batch_id)
    if batch is not None and not batch.status.ended:
        batches.change(conn, batch_id, **batches.pace(batch, now=now))


def halted(batch: Batch, deltas: Mapping[ItemStatus, int]) -> dict[str, Any]:
    """Stop a batch of which more failed than its sender allows; running items may still end."""
    counts = counts_after(batch.counts, deltas)
    if batch.halt_after_pct is None or batch.status.ended or not counts.unsuccessful:
        return {}
    if counts.unsuccessful * 100 <= batch.halt_after_pct * counts.total:
        return {}
    reason = f"stopped: more than {batch.halt_after_pct:g} % of the files failed"
    return {"status": BatchStatus.CANCELLING, "pause_reason": reason, **batches.OUTAGE_OVER}


def counts_after(counts: Counts, deltas: Mapping[ItemStatus, int]) -> Counts:
    """Return the counters as they are once `deltas` are written."""
    moved = {str(status): getattr(counts, status) + delta for status, delta in deltas.items()}
    return replace(counts, **moved)
