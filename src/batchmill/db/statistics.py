"""Every statement that sums over batches: how full the queue is, what was done, how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    case,
    func,
    literal,
    select,
    true,
)

from batchmill.db.counters import sums, with_sum
from batchmill.db.schema import batches, items
from batchmill.db.types import NOW, Clock, one_of
from batchmill.model.batch import RUNNABLE, BatchStatus, Counts, OwnerId
from batchmill.model.item import IN_FLIGHT, ItemStatus, WorkerId


def totals(conn: Connection, owner_id: OwnerId | None) -> Counts:
    """Sum the counters of all batches of an owner; None: of everybody."""
    return _counts(conn.execute(_counting().where(_of(owner_id))).one())


def by_family(conn: Connection, owner_id: OwnerId | None = None) -> Mapping[str, Counts]:
    """Sum the counters of all batches of an owner by family; None: of everybody."""
    query = _counting(batches.c.family).where(_of(owner_id)).group_by(batches.c.family)
    query = query.order_by(batches.c.family)
    return {row[0]: _counts(row[1:]) for row in conn.execute(query) if row[0]}


def batches_by_status(conn: Connection, family: str) -> Mapping[tuple[BatchStatus, bool], int]:
    """Count a family's batches by their status, and by whether a reason stands beside it."""
    has_reason = case((batches.c.pause_reason.is_(None), 0), else_=1).label("has_reason")
    query = (
        select(batches.c.status, has_reason, func.count())
        .where(batches.c.family == family)
        .group_by(batches.c.status, has_reason)
    )
    return {(BatchStatus(row[0]), bool(row[1])): row[2] for row in conn.execute(query)}


def mean_run_ms(conn: Connection, family: str) -> float | None:
    """Return how long an attempt of a family took in the mean; None before the first has ended."""
    names = ("run_ms", "n_completed", "n_failed", "n_skipped")
    counted = sums(*names)
    spent, *ended = (func.sum(with_sum(name, counted)) for name in names)
    together = batches.outerjoin(counted, counted.c.batch_id == batches.c.id)
    query = select(spent, sum(ended, literal(0))).select_from(together)
    spent_ms, number = conn.execute(query.where(batches.c.family == family)).one()
    return float(spent_ms) / float(number) if number else None


def ended_since(conn: Connection, family: str, since: datetime) -> Mapping[ItemStatus, int]:
    """Count a family's items by status that ended at `since` or later."""
    recent = batches.c.ended_at.is_(None) | (batches.c.ended_at >= since)
    query = (
        select(items.c.status, func.count())
        .join(batches, batches.c.id == items.c.batch_id)
        .where(batches.c.family == family, recent, items.c.ended_at >= since)
        .group_by(items.c.status)
    )
    return {ItemStatus(status): number for status, number in conn.execute(query)}


@dataclass(frozen=True, slots=True)
class LaneCount:
    """The batches of one family, tier and priority that have not ended.

    `oldest_at` is when the oldest batch was sent that still has items to start.
    """

    family: str
    tier: str
    priority: int
    batches: int
    oldest_at: datetime | None
    counts: Counts


def lanes(conn: Connection, owner_id: OwnerId | None) -> Sequence[LaneCount]:
    """Sum the batches of an owner that have not ended, who runs first first; None: of all."""
    counted = sums(*_COUNTERS)
    starting = (with_sum(name, counted) for name in ("n_pending", "n_queued", "n_retrying"))
    oldest = func.min(case((sum(starting, literal(0)) > 0, batches.c.created_at)))
    group = (batches.c.family, batches.c.tier, batches.c.priority)
    query = (
        _counting(*group, func.count(), oldest, counted=counted)
        .where(batches.c.status.in_(sorted(RUNNABLE)), _of(owner_id))
        .group_by(*group)
        .order_by(batches.c.priority, batches.c.family, batches.c.tier)
    )
    return [
        LaneCount(family, tier, priority, number, oldest_at, _counts(tuple(sums)))
        for family, tier, priority, number, oldest_at, *sums in conn.execute(query)
    ]


def count_ended(
    conn: Connection, owner_id: OwnerId | None, *, window_ms: int, now: Clock = NOW
) -> int:
    """Count the items of an owner that ended within the last `window_ms`."""
    recent = batches.c.ended_at.is_(None) | (batches.c.ended_at >= now - window_ms)
    query = (
        select(func.count())
        .select_from(items)
        .join(batches, batches.c.id == items.c.batch_id)
        .where(recent, _of(owner_id), items.c.ended_at >= now - window_ms)
    )
    return int(conn.scalar(query) or 0)


def sent_within(
    conn: Connection, owner_id: OwnerId | None, *, window_ms: int, now: Clock = NOW
) -> Counts:
    """Sum the counters of an owner's batches that were sent within the last `window_ms`."""
    query = _counting().where(batches.c.created_at >= now - window_ms, _of(owner_id))
    return _counts(conn.execute(query).one())


def running_of_workers(conn: Connection) -> Mapping[WorkerId, int]:
    """Count the items that each worker has in hand."""
    query = (
        select(items.c.worker_id, func.count())
        .where(items.c.worker_id.is_not(None), one_of(items.c.status, IN_FLIGHT))
        .group_by(items.c.worker_id)
    )
    return {WorkerId(worker_id): number for worker_id, number in conn.execute(query)}


def _of(owner_id: OwnerId | None) -> ColumnElement[bool]:
    return true() if owner_id is None else batches.c.owner_id == owner_id


_COUNTERS = tuple(f"n_{status}" for status in ItemStatus)


def _counting(*group: ColumnElement[Any], counted: Subquery | None = None) -> Select[Any]:
    """Select sums of all counters of batches, behind the columns of a group."""
    counted = sums(*_COUNTERS) if counted is None else counted
    totals = (func.coalesce(func.sum(with_sum(name, counted)), 0) for name in _COUNTERS)
    together = batches.outerjoin(counted, counted.c.batch_id == batches.c.id)
    return select(*group, *totals).select_from(together)


def _counts(row: Row[Any] | tuple[Any, ...]) -> Counts:
    return Counts(*(int(value) for value in row))
