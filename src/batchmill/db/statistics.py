"""Every statement that sums over batches: how full the queue is, what was done, how fast."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from batchmill.db.schema import batches, items
from batchmill.model.batch import BatchStatus, Counts
from batchmill.model.item import ItemStatus


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


def _sums() -> list[ColumnElement[Any]]:
    return [func.coalesce(func.sum(batches.c[f"n_{status}"]), 0) for status in ItemStatus]


def _counts(row: Row[Any] | tuple[Any, ...]) -> Counts:
    return Counts(*(int(value) for value in row))
