"""Every statement that only reads items: single ones, and pages that stay fast at a million.

Pages are keyset pages: each starts after the last row of the one before, by an index.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
)

from batchmill.db.schema import batches, items
from batchmill.model.batch import BatchId, OwnerId
from batchmill.model.item import (
    ArchiveEntry,
    Failure,
    Input,
    Item,
    ItemId,
    ItemStatus,
    Output,
    Result,
    SkipReason,
    Spent,
)

LAST = "\U0010ffff"
"""Sorts after every character: the end of a prefix range."""


def get(conn: Connection, item_id: ItemId) -> Item | None:
    """Read one item."""
    row = conn.execute(_by_id(), {"item_id": item_id}).one_or_none()
    return None if row is None else _item(row)


def by_custom_id(
    conn: Connection, custom_ids: Collection[str], *, family: str, owner_id: OwnerId | None
) -> Sequence[Item]:
    """Return the items of a family that an owner gave these ids and sent bytes for, newest last.

    No index helps: it reads all items of the family's batches.
    """
    query = (
        _select()
        .join(batches, batches.c.id == items.c.batch_id)
        .where(batches.c.family == family, items.c.custom_id.in_(sorted(custom_ids)))
        .where(items.c.input_key != "", _of(owner_id))
        .order_by(items.c.id)
    )
    return [_item(row) for row in conn.execute(query)]


def _of(owner_id: OwnerId | None) -> ColumnElement[bool]:
    return true() if owner_id is None else batches.c.owner_id == owner_id


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items a page or a report shows; every field narrows."""

    status: ItemStatus | None = None
    failure_nos: tuple[int, ...] | None = None
    name_prefix: str | None = None


def page(
    conn: Connection,
    batch_id: BatchId,
    *,
    limit: int,
    after: tuple[str, int] | None = None,
    only: ItemFilter = ItemFilter(),
) -> Sequence[Item]:
    """Return items by position, or by name and position under a name prefix (keyset pages).

    `after` is the `(name, position)` of the last item of the page before.
    """
    query = _narrowed(_select().where(items.c.batch_id == batch_id), only).limit(limit)
    if only.name_prefix is not None:
        query = query.order_by(items.c.name, items.c.position)
        if after is not None:
            later_name = items.c.name > after[0]
            query = query.where(
                or_(later_name, and_(items.c.name == after[0], items.c.position > after[1])),
                items.c.name >= after[0],
            )
    else:
        query = query.order_by(items.c.position)
        if after is not None:
            query = query.where(items.c.position > after[1])
    return [_item(row) for row in conn.execute(query)]


def running(conn: Connection, batch_id: BatchId, *, limit: int) -> Sequence[Item]:
    """Return items that are processing now: the live part of a page."""
    query = _select().where(items.c.batch_id == batch_id, items.c.status == ItemStatus.PROCESSING)
    return [_item(row) for row in conn.execute(query.order_by(items.c.position).limit(limit))]


def at_positions(conn: Connection, batch_id: BatchId, positions: Sequence[int]) -> Sequence[Item]:
    """Return the items of a batch that lie at these positions, in order."""
    query = _select().where(items.c.batch_id == batch_id, items.c.position.in_(positions))
    return [_item(row) for row in conn.execute(query.order_by(items.c.position))]


def outputs_page(
    conn: Connection, batch_id: BatchId, *, after: int, limit: int
) -> Sequence[tuple[int, Sequence[Output]]]:
    """Return `(position, outputs)` of the items behind position `after` that have a result."""
    query = (
        select(items.c.position, items.c.outputs)
        .where(items.c.batch_id == batch_id, items.c.position > after)
        .where(items.c.status.in_([ItemStatus.COMPLETED, ItemStatus.SKIPPED]))
        .order_by(items.c.position)
        .limit(limit)
    )
    return [
        (position, [Output(**output) for output in outputs or ()])
        for position, outputs in conn.execute(query)
    ]


def ended_since(
    conn: Connection, batch_id: BatchId, since: datetime, *, limit: int
) -> Sequence[Item]:
    """Return the items that ended at `since` or later, in the order in which they did."""
    query = _select().where(items.c.batch_id == batch_id, items.c.ended_at >= since)
    return [_item(row) for row in conn.execute(query.order_by(items.c.ended_at).limit(limit))]


def last_ended_at(conn: Connection, batch_id: BatchId) -> datetime | None:
    """Return when an item of a batch ended last."""
    query = select(func.max(items.c.ended_at)).where(items.c.batch_id == batch_id)
    found: datetime | None = conn.scalar(query)
    return found


def of_failure(conn: Connection, failure_no: int, *, limit: int) -> Sequence[Item]:
    """Return the first items of a failure group."""
    query = _select().where(items.c.failure_no == failure_no)
    return [_item(row) for row in conn.execute(query.order_by(items.c.position).limit(limit))]


def _narrowed(query: Select[Any], only: ItemFilter) -> Select[Any]:
    if only.status is not None:
        query = query.where(items.c.status == only.status)
        if only.status is not ItemStatus.RETRYING:
            # All but retrying items have due_at 0: saying so lets the index give the order.
            query = query.where(items.c.due_at == literal(0))
    if only.failure_nos is not None:
        query = query.where(items.c.failure_no.in_(only.failure_nos))
    if only.name_prefix is not None:
        prefix = only.name_prefix
        query = query.where(items.c.name >= prefix, items.c.name < prefix + LAST)
    return query


@cache
def _by_id() -> Select[Any]:
    """Return the statement of `get`, which runs once an item: made once."""
    return _select().where(items.c.id == bindparam("item_id"))


def _select() -> Select[Any]:
    return select(*(items.c[name] for name in _COLUMNS))


# fmt: off
_COLUMNS = (
    "id", "batch_id", "position", "status", "name", "custom_id", "attempt", "begun",
    "errors", "crashes", "timeouts", "due_at", "input_key", "input_bytes", "input_sha256",
    "input_type", "input_absent", "entry", "options", "progress", "error_code",
    "error_message", "error_step", "error_retryable",
    "skip_reason", "outputs", "data", "warnings", "step_ms", "queued_at", "started_at",
    "ended_at", "run_ms",
)
# fmt: on


def _item(row: Row[Any]) -> Item:
    status = ItemStatus(row.status)
    return Item(
        id=ItemId(row.id),
        batch_id=BatchId(row.batch_id),
        position=row.position,
        status=status,
        input=input_of(row),
        attempt=row.attempt,
        begun=row.begun,
        spent=Spent(row.errors, row.crashes, row.timeouts),
        custom_id=row.custom_id,
        options=row.options,
        progress=row.progress,
        error=_failure(row),
        result=_result(row) if row.outputs is not None else None,
        due_at=row.due_at if status is ItemStatus.RETRYING else None,
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        run_ms=row.run_ms,
    )


def input_of(row: Row[Any]) -> Input:
    """Return where the bytes of a row's item lie."""
    return Input(
        key=row.input_key,
        name=row.name,
        bytes=row.input_bytes,
        sha256=row.input_sha256,
        media_type=row.input_type,
        entry=ArchiveEntry(**row.entry) if row.entry else None,
        absent=row.input_absent,
    )


def _failure(row: Row[Any]) -> Failure | None:
    if row.error_code is None:
        return None
    return Failure(row.error_code, row.error_message, bool(row.error_retryable), row.error_step)


def _result(row: Row[Any]) -> Result:
    return Result(
        outputs=tuple(Output(**output) for output in row.outputs),
        data=row.data or {},
        warnings=tuple(row.warnings or ()),
        skipped=SkipReason(row.skip_reason) if row.skip_reason else None,
        step_ms=row.step_ms or {},
    )
