"""The transactions of an item's way: queue, claim, finish, hand back, move.

Each is run whole by `Database.run`, may run again after a deadlock, and locks the batch row
before it touches items. A batch's counters change only here, beside the items they count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from batchmill.db import batches, failures, items, listing, turns, workers
from batchmill.db.connect import Connection
from batchmill.db.prepared import plus
from batchmill.db.types import NOW, Clock
from batchmill.errors.item import Budget
from batchmill.model import pipeline as pipelines
from batchmill.model import retry
from batchmill.model.batch import (
    Batch,
    BatchId,
    BatchStatus,
    Counts,
    OwnerId,
    final_status,
)
from batchmill.model.item import (
    Claim,
    Failure,
    Input,
    ItemId,
    ItemStatus,
    QueueMessage,
    Result,
    Spent,
    WorkerId,
)
from batchmill.service import webhook_outbox

PUT_OFF_WINDOWS = 4
"""Windows of items by which an owner with much left stands behind one with little."""
NO_CAPS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed item with all that its attempt needs; it is one of `total` of its batch."""

    claim: Claim
    input: Input
    position: int
    total: int
    owner_id: OwnerId
    tier: str
    pipeline: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completed:
    """The attempt's outputs are in storage."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt ended with a known error; `budget` is the retry budget it uses up.

    It is not tried again before `retry_after_s` is over, if what was away asks for that.
    """

    failure: Failure
    budget: Budget
    policy: retry.RetryPolicy
    retry_after_s: float = 0.0


Outcome = Completed | Failed


@dataclass(frozen=True, slots=True)
class FinishedItem:
    """What became of the item; `ended` is the batch's final status if this was its last item."""

    status: ItemStatus
    counts: Counts
    ended: BatchStatus | None = None


@dataclass(frozen=True, slots=True)
class QueuedItems:
    """Items that were queued just now; `more`: another batch of the owner may have its turn."""

    messages: tuple[QueueMessage, ...] = ()
    more: bool = False


def queue_items(
    conn: Connection,
    batch_id: BatchId,
    *,
    window: int,
    caps: Mapping[str, int] = NO_CAPS,
    now: Clock = NOW,
) -> QueuedItems:
    """Queue as many due items of a batch as its window and its owner's share have room for.

    `caps` limits the items in flight of a family, over all batches and owners.
    """
    batch = batches.lock(conn, batch_id)
    if batch is None or not batch.runnable:
        return QueuedItems()
    pending, queued, processing = turns.load_of_owner(conn, batch.owner_id)
    share = window - queued
    free = min(share, batch.window(window) - batch.counts.in_flight)
    if batch.family in caps:
        workers.go_alone(conn, cap_name(batch.family))
        free = min(free, caps[batch.family] - turns.in_flight_of_family(conn, batch.family))
    rows = turns.due(conn, batch_id, limit=free, now=now) if free > 0 else []
    if rows:
        turns.mark_queued(conn, [item_id for item_id, _, _ in rows], now=now)
    if rows or batch.counts.retrying:
        _count_queued(conn, batch, [status for _, status, _ in rows], now)
    # Who has little left goes before who has much, within bounds: nobody is put off for ever.
    first = queued + processing + min(pending - len(rows), PUT_OFF_WINDOWS * window)
    messages = (
        QueueMessage(item_id, number + 1, batch.priority, ahead)
        for ahead, (item_id, _, number) in enumerate(rows, start=first)
    )
    return QueuedItems(tuple(messages), more=len(rows) < share)


def cap_name(family: str) -> str:
    """Return the name under which those who take items of a capped family wait for each other."""
    return f"cap {family}"


def queue_next_turn(
    conn: Connection,
    owner_id: OwnerId,
    *,
    window: int,
    caps: Mapping[str, int] = NO_CAPS,
    now: Clock = NOW,
) -> QueuedItems:
    """Take items of the owner's batch that has waited longest for its turn."""
    full: list[str] = []
    while turn := turns.next_turn(conn, owner_id, window=window, without=full, now=now):
        batch_id, family = turn
        if family not in caps or turns.in_flight_of_family(conn, family) < caps[family]:
            return queue_items(conn, batch_id, window=window, caps=caps, now=now)
        full.append(family)
    return QueuedItems()


def _count_queued(conn: Connection, batch: Batch, statuses: list[ItemStatus], now: Clock) -> None:
    retried = statuses.count(ItemStatus.RETRYING)
    deltas = {
        ItemStatus.RETRYING: -retried,
        ItemStatus.PENDING: retried - len(statuses),
        ItemStatus.QUEUED: len(statuses),
    }
    # The turn moves on even when nothing was due, so that no batch is asked twice in a row.
    values: dict[str, Any] = {"turn_at": now}
    if batch.counts.retrying:
        values["retry_due_at"] = items.earliest_due(conn, batch.id)
    batches.count(conn, batch.id, deltas, **values)


def claim(
    conn: Connection,
    item_id: ItemId,
    *,
    worker_id: WorkerId,
    lease_ms: int,
    now: Clock = NOW,
) -> Claimed | None:
    """Take a queued item for one attempt; None when there is nothing to do.

    A lost, late or repeated delivery finds the item running, ended, paused or gone.
    """
    item = listing.get(conn, item_id)
    if item is None or item.status is not ItemStatus.QUEUED:
        return None
    batch = batches.lock(conn, item.batch_id)
    if batch is None or not batch.runnable:
        return None
    won = items.claim(
        conn, item_id, seen=item.attempt, worker_id=worker_id, lease_ms=lease_ms, now=now
    )
    if not won:
        return None
    started: dict[str, Any] = {"status": BatchStatus.PROCESSING}
    if batch.started_at is None:
        started["started_at"] = now
    if batch.run_started_at is None:
        started["run_started_at"] = now
    move_one(conn, batch.id, ItemStatus.QUEUED, ItemStatus.PROCESSING, **started)
    held = Claim(item_id, batch.id, item.attempt + 1, item.spent)
    pipeline = pipelines.with_options(batch.pipeline, item.options)
    return Claimed(
        claim=held,
        input=item.input,
        position=item.position,
        total=batch.counts.total,
        owner_id=batch.owner_id,
        tier=batch.tier,
        pipeline=pipeline,
    )


def finish(
    conn: Connection,
    claimed: Claimed,
    outcome: Outcome,
    *,
    run_ms: int,
    retention_ms: int,
    now: Clock = NOW,
) -> FinishedItem | None:
    """Record what became of an attempt, exactly once. None: the claim is stale, drop the work."""
    batch = batches.lock(conn, claimed.claim.batch_id)
    if batch is None:
        return None
    match outcome:
        case Completed(result):
            status, values = _complete(conn, claimed, result, run_ms=run_ms, now=now)
        case Failed():
            status, values = _fail(conn, batch, claimed, outcome, run_ms=run_ms, now=now)
    if status is None:
        return None
    values |= batches.pace(batch, run_ms=run_ms, now=now)
    deltas = {ItemStatus.PROCESSING: -1, status: 1}
    ended = finish_values(batch, deltas, retention_ms=retention_ms, now=now)
    batches.count(conn, batch.id, deltas, **{**_halted(batch, deltas), **values, **ended})
    if ended:
        webhook_outbox.announce(conn, batch.id)
    return FinishedItem(status, counts_after(batch.counts, deltas), ended.get("status"))


def hand_back(conn: Connection, held: Claim) -> bool:
    """Return an item unfinished, as at shutdown: no attempt is counted. False: it was stale."""
    if batches.lock(conn, held.batch_id) is None or not items.hand_back(conn, held):
        return False
    move_one(conn, held.batch_id, ItemStatus.PROCESSING, ItemStatus.PENDING)
    return True


def rescue(conn: Connection, batch_id: BatchId, *, limit: int, now: Clock = NOW) -> int:
    """Return items whose worker went silent to pending; the sweep calls it for each batch."""
    if batches.lock(conn, batch_id) is None:
        return 0
    ids = items.expired(conn, batch_id, limit=limit, now=now)
    rescued = items.rescue(conn, ids, now=now) if ids else 0
    if rescued:
        deltas = {ItemStatus.PROCESSING: -rescued, ItemStatus.PENDING: rescued}
        batches.count(conn, batch_id, deltas)
    return rescued


def move_one(
    conn: Connection,
    batch_id: BatchId,
    source: ItemStatus,
    target: ItemStatus,
    **values: Any,  # noqa: ANN401
) -> None:
    """Count one item from one status to another."""
    batches.count(conn, batch_id, {source: -1, target: 1}, **values)


def counts_after(counts: Counts, deltas: Mapping[ItemStatus, int]) -> Counts:
    """Return the counters as they are once `deltas` are written."""
    moved = {str(status): getattr(counts, status) + delta for status, delta in deltas.items()}
    return replace(counts, **moved)


def finish_values(
    batch: Batch, deltas: Mapping[ItemStatus, int], *, retention_ms: int, now: Clock = NOW
) -> dict[str, Any]:
    """Return the columns that end a batch when `deltas` leave it nothing to do, else none."""
    counts = counts_after(batch.counts, deltas)
    if counts.unfinished or batch.open or batch.status.ended:
        return {}
    status = final_status(counts, cancelled=batch.status is BatchStatus.CANCELLING)
    kept = plus(now, retention_ms)
    return {"status": status, "ended_at": now, "expires_at": kept, "paused": False}


def _complete(
    conn: Connection, claimed: Claimed, result: Result, *, run_ms: int, now: Clock
) -> tuple[ItemStatus | None, dict[str, Any]]:
    if not items.finish(conn, claimed.claim, result, run_ms=run_ms, now=now):
        return None, {}
    status = ItemStatus.SKIPPED if result.skipped else ItemStatus.COMPLETED
    bytes_out = sum(output.bytes for output in result.outputs)
    # What is told about a file, or cut out of it, is no copy of it that saves bytes.
    is_copy = bool(result.outputs) and not result.data
    bytes_saved = claimed.input.bytes - bytes_out if is_copy else 0
    return status, {
        "bytes_done": batches.add("bytes_done", claimed.input.bytes),
        "bytes_out": batches.add("bytes_out", bytes_out),
        "bytes_saved": batches.add("bytes_saved", bytes_saved),
    }


def _fail(
    conn: Connection, batch: Batch, claimed: Claimed, failed: Failed, *, run_ms: int, now: Clock
) -> tuple[ItemStatus | None, dict[str, Any]]:
    held, failure = claimed.claim, failed.failure
    used = getattr(held.spent, failed.budget) + 1
    spent: Spent = replace(held.spent, **{failed.budget: used})
    status = retry.verdict(spent, failed.budget, failed.policy, retryable=failure.retryable)
    if status is ItemStatus.RETRYING:
        wait_s = max(failed.retry_after_s, retry.backoff_s(used))
        wait_ms = round(wait_s * 1000)
        if not items.retry_later(conn, held, failure, spent=spent, wait_ms=wait_ms, now=now):
            return None, {}
        return status, {"retry_due_at": batches.earliest_retry(now, wait_ms)}
    no, message = failures.group_of(batch.id, failure, claimed.input.name)
    kept = items.fail(
        conn, held, failure, status=status, spent=spent, failure_no=no, run_ms=run_ms, now=now
    )
    if not kept:
        return None, {}
    failures.count_one(conn, no, batch_id=batch.id, failure=failure, message=message, now=now)
    return status, {"bytes_done": batches.add("bytes_done", claimed.input.bytes)}


def _halted(batch: Batch, deltas: Mapping[ItemStatus, int]) -> dict[str, Any]:
    """Stop a batch of which more failed than its sender allows; running items may still end."""
    counts = counts_after(batch.counts, deltas)
    if batch.halt_after_pct is None or not counts.unsuccessful:
        return {}
    if counts.unsuccessful * 100 <= batch.halt_after_pct * counts.total:
        return {}
    reason = f"stopped: more than {batch.halt_after_pct:g} % of the files failed"
    return {"status": BatchStatus.CANCELLING, "pause_reason": reason}
