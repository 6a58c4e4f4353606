"""Every statement that sums over batches: how full the queue is, what was done, how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, select, true

from batchmill.db.schema import batches, items
from batchmill.db.types import NOW, Clock, one_of
from batchmill.model.batch import RUNNABLE, BatchStatus, Counts, OwnerId
from batchmill.model.item import IN_FLIGHT, ItemStatus, WorkerId


def totals(conn: Connection, owner_id: OwnerId | None) -> Counts:
    """Sum the counters of all batches of an owner; None: of everybody."""
    return _counts(conn.execute(select(*_sums()).where(_of(owner_id))).one())


def by_family(conn: Connection) -> Mapping[str, Counts]:
    """Sum the counters of all batches, by family."""
    query = select(batches.c.family, *_sums()).group_by(batches.c.family)
    return {row[0]: _counts(row[1:]) for row in conn.execute(query) if row[0]}


def batches_by_status(conn: Connection, family: str) -> Mapping[BatchStatus, int]:
    """Count a family's batches by their status."""
    query = (
        select(batches.c.status, func.count())
        .where(batches.c.family == family)
        .group_by(batches.c.status)
    )
    return {BatchStatus(status): number for status, number in conn.execute(query)}


def mean_run_ms(conn: Connection, family: str) -> float | None:
    """Return how long an attempt of a family took in the mean; None before the first has ended."""
    ended = batches.c.n_completed + batches.c.n_failed + batches.c.n_skipped
    query = select(func.sum(batches.c.run_ms), func.sum(ended)).where(batches.c.family == family)
    spent_ms, number = conn.execute(query).one()
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
    starting = batches.c.n_pending + batches.c.n_queued + batches.c.n_retrying > 0
    group = (batches.c.family, batches.c.tier, batches.c.priority)
    query = (
        select(*group, func.count(), func.min(case((starting, batches.c.created_at))), *_sums())
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
    query = select(*_sums()).where(batches.c.created_at >= now - window_ms, _of(owner_id))
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


def _sums() -> list[ColumnElement[Any]]:
    return [func.coalesce(func.sum(batches.c[f"n_{status}"]), 0) for status in ItemStatus]


def _counts(row: Row[Any] | tuple[Any, ...]) -> Counts:
    return Counts(*(int(value) for value in row))
