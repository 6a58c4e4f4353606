"""Every statement that reads or writes items.

Each function is one statement, takes the connection first and never commits. State changes are
compare-and-set: the WHERE clause holds the status (and the attempt) that the caller believes
in, and the row count says whether it was right. The caller holds the batch row's lock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    func,
    literal,
    or_,
    select,
    update,
)

from batchmill.db import bulk, prepared
from batchmill.db.prepared import plus
from batchmill.db.schema import items
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import BatchId
from batchmill.model.item import (
    ArchiveEntry,
    Claim,
    Failure,
    ItemId,
    ItemStatus,
    NewItem,
    Result,
    Spent,
    WorkerId,
)


def insert(
    conn: Connection, batch_id: BatchId, new: Iterable[NewItem], *, first_position: int
) -> None:
    """Add pending items at consecutive positions."""
    rows = [
        {
            "id": each.id,
            "batch_id": batch_id,
            "position": position,
            "status": "pending",
            "name": each.input.name,
            "custom_id": each.custom_id,
            "options": each.options,
            "input_key": each.input.key,
            "input_bytes": each.input.bytes,
            "input_sha256": each.input.sha256,
            "input_type": each.input.media_type,
            "entry": _entry(each.input.entry),
            "input_absent": each.input.absent,
        }
        for position, each in enumerate(new, start=first_position)
    ]
    bulk.insert(conn, items, rows)


def claim(
    conn: Connection,
    item_id: ItemId,
    *,
    seen: int,
    worker_id: WorkerId,
    lease_ms: int,
    now: Clock = NOW,
) -> bool:
    """Take a queued item for one attempt; False: somebody was faster, or it moved on."""
    same = {"id": item_id, "status": ItemStatus.QUEUED, "attempt": seen}
    values = {
        "status": ItemStatus.PROCESSING,
        "attempt": seen + 1,
        "lease_until": plus(now, lease_ms),
        "worker_id": worker_id,
        "started_at": now,
        "progress": 0.0,
    }
    return prepared.change(conn, items, same, values) == 1


def renew(conn: Connection, claims: Sequence[Claim], *, lease_ms: int, now: Clock = NOW) -> None:
    """Prolong the leases of claims that still hold; `held` tells which do."""
    statement = update(items).where(_any_held(claims)).values(lease_until=now + lease_ms)
    conn.execute(statement)


def held(conn: Connection, claims: Sequence[Claim]) -> set[ItemId]:
    """Return the items whose claim still stands: not cancelled, not taken over."""
    return set(conn.scalars(select(items.c.id).where(_any_held(claims))))


def report_progress(conn: Connection, claim: Claim, fraction: float) -> bool:
    """Store how far the running attempt is, 0…1."""
    return _change_held(conn, claim, progress=fraction)


def finish(
    conn: Connection, claim: Claim, result: Result, *, run_ms: int, now: Clock = NOW
) -> bool:
    """Record the one result of an item. False: the claim is stale, drop the outputs."""
    status = ItemStatus.SKIPPED if result.skipped else ItemStatus.COMPLETED
    return _finish(
        conn,
        claim,
        now,
        status=status,
        skip_reason=result.skipped,
        outputs=[asdict(output) for output in result.outputs],
        data=result.data or None,
        warnings=list(result.warnings) or None,
        step_ms=result.step_ms or None,
        progress=1.0,
        run_ms=run_ms,
        **_NO_ERROR,
    )


def fail(  # noqa: PLR0913 - each is a column of one statement
    conn: Connection,
    claim: Claim,
    failure: Failure,
    *,
    status: ItemStatus,
    spent: Spent,
    failure_no: int,
    run_ms: int,
    now: Clock = NOW,
) -> bool:
    """End an item as failed or quarantined. False: the claim is stale."""
    return _finish(
        conn,
        claim,
        now,
        status=status,
        failure_no=failure_no,
        run_ms=run_ms,
        **_error_values(failure),
        **asdict(spent),
    )


def retry_later(
    conn: Connection,
    claim: Claim,
    failure: Failure,
    *,
    spent: Spent,
    wait_ms: int,
    now: Clock = NOW,
) -> bool:
    """Let an item wait for `wait_ms` before its next attempt. False: the claim is stale."""
    return _change_held(
        conn,
        claim,
        status=ItemStatus.RETRYING,
        due_at=plus(now, wait_ms),
        progress=0.0,
        **_RELEASED,
        **_error_values(failure),
        **asdict(spent),
    )


def hand_back(conn: Connection, claim: Claim) -> bool:
    """Return a claimed item unfinished, as at shutdown; no budget changes."""
    return _change_held(conn, claim, **_HANDED_BACK)


def expired(
    conn: Connection, batch_id: BatchId, *, limit: int, now: Clock = NOW
) -> Sequence[ItemId]:
    """Name processing items of a batch whose worker went silent."""
    query = (
        select(items.c.id)
        .where(
            items.c.batch_id == batch_id,
            items.c.status == ItemStatus.PROCESSING,
            items.c.lease_until < now,
        )
        .limit(limit)
    )
    return list(conn.scalars(query))


def rescue(conn: Connection, ids: Sequence[ItemId], *, now: Clock = NOW) -> int:
    """Return items with an expired lease to pending; a renewed one is left alone."""
    statement = (
        update(items)
        .where(
            items.c.id.in_(ids),
            items.c.status == ItemStatus.PROCESSING,
            items.c.lease_until < now,
        )
        .values(**_HANDED_BACK)
    )
    return conn.execute(statement).rowcount


def expire_leases(conn: Connection, batch_id: BatchId) -> int:
    """End every lease of a batch at once: for a start-up that knows no other worker lives."""
    statement = (
        update(items)
        .where(items.c.batch_id == batch_id, items.c.status == ItemStatus.PROCESSING)
        .values(lease_until=literal(0))
    )
    return conn.execute(statement).rowcount


def in_status(
    conn: Connection, batch_id: BatchId, statuses: Sequence[ItemStatus], *, limit: int
) -> Sequence[tuple[ItemId, ItemStatus]]:
    """Return `(id, status)` of the next items to change in a chunk."""
    query = (
        select(items.c.id, items.c.status)
        .where(items.c.batch_id == batch_id, items.c.status.in_(statuses))
        .limit(limit)
    )
    return [(row[0], ItemStatus(row[1])) for row in conn.execute(query)]


def cancel(conn: Connection, ids: Sequence[ItemId], *, seen: ItemStatus, now: Clock = NOW) -> int:
    """Cancel items that are still in the status seen; a running one loses its claim."""
    return _move(conn, ids, seen, status=ItemStatus.CANCELLED, ended_at=now, **_RELEASED)


def withdraw(conn: Connection, ids: Sequence[ItemId]) -> int:
    """Return queued items to pending, as a pause does."""
    return _move(conn, ids, ItemStatus.QUEUED, status=ItemStatus.PENDING, due_at=literal(0))


def failed_ids(
    conn: Connection,
    batch_id: BatchId,
    statuses: Sequence[ItemStatus],
    *,
    limit: int,
    failure_no: int | None = None,
    ids: Sequence[ItemId] | None = None,
) -> Sequence[tuple[ItemId, ItemStatus, int | None]]:
    """Return `(id, status, failure_no)` of the next ended items that a retry takes up."""
    query = (
        select(items.c.id, items.c.status, items.c.failure_no)
        .where(items.c.batch_id == batch_id, items.c.status.in_(statuses))
        .limit(limit)
    )
    if failure_no is not None:
        query = query.where(items.c.failure_no == failure_no)
    if ids is not None:
        query = query.where(items.c.id.in_(ids))
    return [(row[0], ItemStatus(row[1]), row[2]) for row in conn.execute(query)]


def reset(conn: Connection, ids: Sequence[ItemId], *, seen: ItemStatus) -> int:
    """Make ended items pending again with fresh budgets; `attempt` keeps rising."""
    fresh = {"errors": 0, "crashes": 0, "timeouts": 0, "failure_no": None, "ended_at": None}
    values = {**_NO_ERROR, **fresh, **_RELEASED}
    return _move(conn, ids, seen, status=ItemStatus.PENDING, due_at=literal(0), **values)


def waiting_deliveries(
    conn: Connection, batch_id: BatchId, *, older_ms: int, limit: int, now: Clock = NOW
) -> Sequence[tuple[ItemId, int]]:
    """Return `(id, dispatch_no)` of items that have been queued for longer than `older_ms`."""
    query = (
        select(items.c.id, items.c.dispatch_no)
        .where(
            items.c.batch_id == batch_id,
            items.c.status == ItemStatus.QUEUED,
            items.c.queued_at <= now - older_ms,
        )
        .limit(limit)
    )
    return [(row[0], row[1]) for row in conn.execute(query)]


def earliest_due(conn: Connection, batch_id: BatchId) -> datetime | None:
    """Return when the next retrying item is due; None where there is none."""
    query = select(func.min(items.c.due_at)).where(
        items.c.batch_id == batch_id, items.c.status == ItemStatus.RETRYING
    )
    found: datetime | None = conn.scalar(query)
    return found


def delete_chunk(conn: Connection, batch_id: BatchId, *, limit: int) -> int:
    """Remove up to `limit` items of a batch that is being deleted; return how many."""
    query = select(items.c.id).where(items.c.batch_id == batch_id).limit(limit)
    ids = list(conn.scalars(query))
    if ids:
        conn.execute(items.delete().where(items.c.id.in_(ids)))
    return len(ids)


def _entry(entry: ArchiveEntry | None) -> dict[str, int] | None:
    """Return an entry's fields; `asdict`, which copies them deeply, takes longer than COPY."""
    if entry is None:
        return None
    return {name: getattr(entry, name) for name in ArchiveEntry.__slots__}


_NO_ERROR: dict[str, Any] = {
    "error_code": None,
    "error_message": None,
    "error_step": None,
    "error_retryable": None,
}
_RELEASED: dict[str, Any] = {"lease_until": None, "worker_id": None}
_HANDED_BACK: dict[str, Any] = {
    "status": ItemStatus.PENDING,
    "due_at": literal(0),
    "progress": 0.0,
    **_RELEASED,
}


def _finish(conn: Connection, claim: Claim, now: ColumnElement[int], **values: Any) -> bool:  # noqa: ANN401
    return _change_held(conn, claim, ended_at=now, **_RELEASED, **values)


def _change_held(conn: Connection, claim: Claim, **values: Any) -> bool:  # noqa: ANN401
    """Change an item whose claim still stands."""
    held = {"id": claim.item_id, "attempt": claim.attempt, "status": ItemStatus.PROCESSING}
    return prepared.change(conn, items, held, values) == 1


def _move(conn: Connection, ids: Sequence[ItemId], seen: ItemStatus, **values: Any) -> int:  # noqa: ANN401
    statement = update(items).where(items.c.id.in_(ids), items.c.status == seen).values(**values)
    return conn.execute(statement).rowcount


def _held(claim: Claim) -> ColumnElement[bool]:
    return and_(
        items.c.id == claim.item_id,
        items.c.attempt == claim.attempt,
        items.c.status == ItemStatus.PROCESSING,
    )


def _any_held(claims: Sequence[Claim]) -> ColumnElement[bool]:
    return or_(*(_held(claim) for claim in claims))


def _error_values(failure: Failure) -> dict[str, Any]:
    return {
        "error_code": failure.code,
        "error_message": failure.message[:1000],
        "error_step": failure.step,
        "error_retryable": failure.retryable,
    }
