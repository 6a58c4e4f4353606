"""Whose turn it is: what an owner and a family have under way, which batch and items are next.

The hot path asks these after every few items, so their statements are built once.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Update,
    bindparam,
    func,
    literal,
    select,
    update,
)

from batchmill.db.schema import batches, items
from batchmill.db.types import NOW, Clock, one_of
from batchmill.model.batch import RUNNABLE, BatchId, OwnerId
from batchmill.model.item import WAITING, ItemId, ItemStatus

CLOCKS = 8
"""Most statements that are kept for clocks of tests."""


def next_turn(
    conn: Connection,
    owner_id: OwnerId,
    *,
    window: int,
    without: Sequence[str] = (),
    now: Clock = NOW,
) -> tuple[BatchId, str] | None:
    """Name the owner's batch whose turn it is: due items, room in its window, longest waiting.

    Returns its id and family.

    Batches of the families in `without` have to wait whatever room they have.
    """
    query = _next_turn(now)
    if without:
        query = query.where(batches.c.family.not_in(without))
    row = conn.execute(query, {"owner_id": owner_id, "window": window}).one_or_none()
    return None if row is None else (row.id, row.family)


def load_of_owner(conn: Connection, owner_id: OwnerId) -> tuple[int, int, int]:
    """Sum the owner's pending, queued and processing items over all batches that still run."""
    pending, queued, processing = conn.execute(_load_of_owner(), {"owner_id": owner_id}).one()
    return int(pending), int(queued), int(processing)


def in_flight_of_family(conn: Connection, family: str) -> int:
    """Sum the queued and processing items of a family over all batches that still run."""
    in_flight = func.sum(batches.c.n_queued + batches.c.n_processing)
    query = select(func.coalesce(in_flight, 0)).where(batches.c.family == family, _running())
    return int(conn.scalar(query) or 0)


def waiting_of_family(conn: Connection, family: str, *, tier: str) -> int:
    """Sum the waiting items of a family that callers of a tier have sent."""
    waiting = func.sum(batches.c.n_pending + batches.c.n_queued + batches.c.n_retrying)
    query = select(func.coalesce(waiting, 0)).where(
        batches.c.family == family, batches.c.tier == tier, _running()
    )
    return int(conn.scalar(query) or 0)


def due(
    conn: Connection, batch_id: BatchId, *, limit: int, now: Clock = NOW
) -> Sequence[tuple[ItemId, ItemStatus, int]]:
    """Return `(id, status, dispatch_no)` of what to queue next: due retries, then by position."""
    found: list[tuple[ItemId, ItemStatus, int]] = []
    for status in (ItemStatus.RETRYING, ItemStatus.PENDING):
        given = {"batch_id": batch_id, "status": status, "most": limit - len(found)}
        found += [(row[0], status, row[1]) for row in conn.execute(_due_items(now), given)]
        if len(found) >= limit:
            break
    return found


def mark_queued(conn: Connection, ids: Sequence[ItemId], *, now: Clock = NOW) -> int:
    """Move pending or retrying items to `queued` and give each a new dispatch number."""
    return conn.execute(_marking_queued(now), {"ids": ids}).rowcount


def owners_waiting(conn: Connection, *, now: Clock = NOW) -> Sequence[OwnerId]:
    """Name the owners who have items that dispatch could take now."""
    query = select(batches.c.owner_id).where(_runnable(), _due(now)).distinct()
    return list(conn.scalars(query))


@lru_cache(maxsize=CLOCKS)
def _next_turn(now: Clock) -> Select[Any]:
    in_flight = batches.c.n_queued + batches.c.n_processing
    room = in_flight < func.coalesce(batches.c.concurrency, bindparam("window"))
    return (
        select(batches.c.id, batches.c.family)
        .where(batches.c.owner_id == bindparam("owner_id"), _runnable(), _due(now), room)
        .order_by(batches.c.priority, batches.c.turn_at, batches.c.id)
        .limit(1)
    )


@lru_cache(maxsize=CLOCKS)
def _due_items(now: Clock) -> Select[Any]:
    return (
        select(items.c.id, items.c.dispatch_no)
        .where(items.c.batch_id == bindparam("batch_id"), items.c.status == bindparam("status"))
        .where(items.c.due_at <= now)
        .order_by(items.c.due_at, items.c.position)
        .limit(bindparam("most"))
    )


@lru_cache(maxsize=CLOCKS)
def _marking_queued(now: Clock) -> Update:
    ids = items.c.id.in_(bindparam("ids", expanding=True))
    return (
        update(items)
        .where(ids, one_of(items.c.status, WAITING))
        .values(
            status=ItemStatus.QUEUED,
            dispatch_no=items.c.dispatch_no + 1,
            queued_at=now,
            due_at=literal(0),
        )
    )


@cache
def _load_of_owner() -> Select[Any]:
    columns = (batches.c.n_pending, batches.c.n_queued, batches.c.n_processing)
    sums = (func.coalesce(func.sum(column), 0) for column in columns)
    return select(*sums).where(batches.c.owner_id == bindparam("owner_id"), _running())


def _due(now: Clock) -> ColumnElement[bool]:
    return (batches.c.n_pending > 0) | (
        (batches.c.n_retrying > 0) & (batches.c.retry_due_at <= now)
    )


def _running() -> ColumnElement[bool]:
    return one_of(batches.c.status, RUNNABLE)


def _runnable() -> ColumnElement[bool]:
    return _running() & batches.c.paused.is_(False)
