"""Every statement that reads or writes batches.

Each function is one statement, takes the connection first and never commits. Whoever changes
items of a batch calls `lock` first: the batch row is always locked before its items.
"""

from collections.abc import Collection, Mapping, Sequence
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
    case,
    func,
    select,
    update,
)

from batchmill.db import prepared
from batchmill.db.prepared import Formula, plus
from batchmill.db.schema import batches
from batchmill.db.types import NOW, Clock, at, to_ms
from batchmill.model.batch import (
    ENDED,
    RUNNABLE,
    Batch,
    BatchDraft,
    BatchId,
    BatchStatus,
    Counts,
    OwnerId,
)
from batchmill.model.item import ItemStatus

Number = int | ColumnElement[int]

COUNTED = tuple(ItemStatus)
STANDSTILL_MS = 60_000
STANDSTILL_ITEMS = 20
"""A gap longer than a minute, and than these items take, says nothing about the pace."""


def insert(
    conn: Connection,
    batch_id: BatchId,
    order: BatchDraft,
    *,
    owner_id: OwnerId,
    upload_ms: int,
    now: Clock = NOW,
) -> None:
    """Create a batch in status `uploading` that expires unless `accept` follows in time."""
    conn.execute(
        batches.insert().values(
            id=batch_id,
            owner_id=owner_id,
            status=BatchStatus.UPLOADING,
            created_at=now,
            upload_until=now + upload_ms,
            **order_values(order),
        )
    )


def order_values(order: BatchDraft) -> dict[str, Any]:
    """Return the columns that a request decides."""
    return {
        "open": order.keep_open,
        "name": order.name,
        "pipeline": order.pipeline,
        "pipeline_name": order.pipeline_name,
        "family": order.family,
        "tier": order.tier,
        "priority": order.priority,
        "concurrency": order.concurrency,
        "halt_after_pct": order.halt_after_pct,
        "time_limit_s": order.time_limit_s,
        "metadata": order.metadata,
        "tag": order.tag,
        "result_token": order.result_token,
        "webhook_id": order.webhook_id,
    }


def lock(conn: Connection, batch_id: BatchId) -> Batch | None:
    """Read a batch and hold its row until the transaction ends."""
    row = conn.execute(_locking(), {"batch_id": batch_id}).one_or_none()
    return None if row is None else _batch(row)


@cache
def _locking() -> Select[Any]:
    """Return the statement of `lock`, which runs three times an item: made once."""
    query: Select[Any] = _select().where(batches.c.id == bindparam("batch_id"))
    return query.with_for_update()


def get(conn: Connection, batch_id: BatchId, *, owner_id: OwnerId | None) -> Batch | None:
    """Read a batch; somebody else's is as absent as none. `owner_id` None sees all."""
    query = _select().where(batches.c.id == batch_id)
    if owner_id is not None:
        query = query.where(batches.c.owner_id == owner_id)
    row = conn.execute(query).one_or_none()
    return None if row is None else _batch(row)


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Which batches a list shows; every field narrows."""

    status: BatchStatus | None = None
    tag: str | None = None
    created_after: datetime | None = None
    family: str | None = None
    among: tuple[BatchStatus, ...] = ()


def page(
    conn: Connection,
    owner_id: OwnerId | None,
    *,
    limit: int,
    before: BatchId | None = None,
    skip: int = 0,
    only: BatchFilter = BatchFilter(),
) -> Sequence[Batch]:
    """Return batches newest first (ids sort by time), those before `before`; no forsaken draft.

    `skip` is for a dialect whose pages are numbered; it gets slower with every page.
    """
    forsaken = (batches.c.status == BatchStatus.UPLOADING) & (batches.c.upload_until == at(0))
    query = _select().where(~forsaken).order_by(batches.c.id.desc()).limit(limit).offset(skip)
    same = {"owner_id": owner_id, "status": only.status, "tag": only.tag, "family": only.family}
    query = query.filter_by(**{name: value for name, value in same.items() if value is not None})
    if before is not None:
        query = query.where(batches.c.id < before)
    if only.among:
        query = query.where(batches.c.status.in_(only.among))
    if only.created_after is not None:
        query = query.where(batches.c.created_at > only.created_after)
    return [_batch(row) for row in conn.execute(query)]


def revisions(conn: Connection, ids: Sequence[BatchId]) -> Mapping[BatchId, int]:
    """Return the revision of each of the watched batches; one that is gone is left out."""
    query = select(batches.c.id, batches.c.revision).where(batches.c.id.in_(ids))
    return {BatchId(row[0]): row[1] for row in conn.execute(query)}


def several(conn: Connection, ids: Sequence[BatchId]) -> Sequence[Batch]:
    """Read batches by id, whoever owns them."""
    return [_batch(row) for row in conn.execute(_select().where(batches.c.id.in_(ids)))]


def positions(conn: Connection, ids: Sequence[BatchId]) -> Mapping[BatchId, int]:
    """Return the places, from 1, of those that wait for their first item; paused ones have none."""
    other = batches.alias()
    same_rank = and_(other.c.priority == batches.c.priority, other.c.id <= batches.c.id)
    ahead = and_(
        other.c.status == BatchStatus.QUEUED,
        other.c.paused.is_(False),
        (other.c.priority < batches.c.priority) | same_rank,
    )
    query = (
        select(batches.c.id, func.count())
        .join(other, ahead)
        .where(batches.c.id.in_(ids), batches.c.status == BatchStatus.QUEUED)
        .where(batches.c.paused.is_(False))
        .group_by(batches.c.id)
    )
    return {BatchId(row[0]): row[1] for row in conn.execute(query)}


def change(
    conn: Connection,
    /,
    batch_id: BatchId,
    *where: ColumnElement[bool],
    **values: Any,  # noqa: ANN401
) -> bool:
    """Set columns of a batch if `where` still holds; every change raises its revision."""
    found = {
        name: value.expression() if isinstance(value, Formula) else value
        for name, value in values.items()
    }
    statement = update(batches).where(batches.c.id == batch_id, *where)
    statement = statement.values(revision=batches.c.revision + 1, **found)
    return conn.execute(statement).rowcount == 1


def start(conn: Connection, batch_id: BatchId, /, **values: Any) -> bool:  # noqa: ANN401
    """Turn a draft into a batch. False: the draft is gone."""
    return change(conn, batch_id, batches.c.status == BatchStatus.UPLOADING, **values)


def forsake(conn: Connection, batch_id: BatchId) -> bool:
    """Give a draft up: the sweep may remove it from now on. False: it is no draft any more."""
    draft = batches.c.status == BatchStatus.UPLOADING
    return change(conn, batch_id, draft, upload_until=at(0))


def start_cancelling(conn: Connection, batch_id: BatchId, *, reason: str | None = None) -> bool:
    """Mark a batch that has not ended: from now on no item of it can be claimed."""
    unended = sorted(set(BatchStatus) - ENDED - {BatchStatus.CANCELLING})
    allowed = batches.c.status.in_(unended)
    why = {} if reason is None else {"pause_reason": reason}
    return change(conn, batch_id, allowed, status=BatchStatus.CANCELLING, open=False, **why)


def resume(conn: Connection, batch_id: BatchId, *, now: Clock = NOW) -> bool:
    """Let a batch go on; the pause does not count as busy time."""
    settled = case((batches.c.run_started_at.is_(None), None), else_=now)
    return change(conn, batch_id, paused=False, pause_reason=None, settled_at=settled, turn_at=now)


def count(
    conn: Connection,
    batch_id: BatchId,
    deltas: Mapping[ItemStatus, int],
    **values: Any,  # noqa: ANN401
) -> None:
    """Move items between the counters of a batch: `{QUEUED: -1, PROCESSING: +1}`."""
    moved = {f"n_{status}": add(f"n_{status}", delta) for status, delta in deltas.items() if delta}
    changed = {"revision": add("revision", 1), **moved, **values}
    prepared.change(conn, batches, {"id": batch_id}, changed)


def add(column: str, amount: int) -> Formula:
    """Return the value that adds to a counter column, for `change` and `count`."""
    return plus(batches.c[column], amount)


def pace(batch: Batch, *, run_ms: Sequence[int], now: Clock = NOW) -> dict[str, Any]:
    """Return the columns that add attempts to what the batch knows about its pace.

    `batch` is locked. A standstill, as while the server was off, does not count as busy time.
    """
    settled = {
        "run_ms": add("run_ms", sum(run_ms)),
        "run_s2": plus(batches.c.run_s2, sum((each / 1000) ** 2 for each in run_ms)),
        "settled_at": now,
    }
    since = batch.settled_at or batch.run_started_at
    if since is None:
        return settled
    done = max(1, batch.counts.finished - batch.run_base)
    standstill = max(STANDSTILL_MS, STANDSTILL_ITEMS * batch.busy_ms // done)
    busy_ms = Formula(_busy_ms, (batches.c.busy_ms, now), (to_ms(since), standstill))
    return settled | {"busy_ms": busy_ms}


def earliest_retry(now: Clock, wait_ms: int) -> Formula:
    """Return the value that lowers `retry_due_at` to `now + wait_ms` where that is earlier."""
    return Formula(_earlier, (batches.c.retry_due_at, now), (wait_ms,))


def overdue(conn: Connection, *, now: Clock = NOW) -> Sequence[BatchId]:
    """Name running batches whose own time limit is over."""
    due_at = batches.c.run_started_at + batches.c.time_limit_s * 1000
    query = select(batches.c.id).where(
        batches.c.status == BatchStatus.PROCESSING, batches.c.time_limit_s > 0, due_at < now
    )
    return list(conn.scalars(query))


def with_status(conn: Connection, *statuses: BatchStatus) -> Sequence[Batch]:
    """Return all batches in these statuses, oldest first."""
    query = _select().where(batches.c.status.in_(statuses)).order_by(batches.c.id)
    return [_batch(row) for row in conn.execute(query)]


def abandoned(conn: Connection, *, now: Clock = NOW) -> Sequence[BatchId]:
    """Name batches whose upload stopped without an end."""
    query = select(batches.c.id).where(
        batches.c.status == BatchStatus.UPLOADING, batches.c.upload_until < now
    )
    return list(conn.scalars(query))


def waits_no_more(*, now: Clock = NOW) -> ColumnElement[bool]:
    """Return the condition that an open batch has waited for its next files long enough."""
    return batches.c.open & (batches.c.upload_until < now)


def left_open(conn: Connection) -> Sequence[BatchId]:
    """Name batches that nobody closed, and to which nothing was added for long."""
    query = select(batches.c.id).where(batches.c.status.in_(sorted(RUNNABLE)), waits_no_more())
    return list(conn.scalars(query))


def outdated(conn: Connection, *, limit: int, now: Clock = NOW) -> Sequence[BatchId]:
    """Name ended batches whose retention time is over."""
    query = select(batches.c.id).where(batches.c.expires_at < now).limit(limit)
    return list(conn.scalars(query))


def existing(conn: Connection, ids: Collection[str]) -> set[BatchId]:
    """Return those of `ids` that there are: storage folders of others are orphans."""
    return set(conn.scalars(select(batches.c.id).where(batches.c.id.in_(ids))))


def delete(conn: Connection, batch_id: BatchId) -> bool:
    """Remove the row of a batch whose items are gone already."""
    return conn.execute(batches.delete().where(batches.c.id == batch_id)).rowcount == 1


def _busy_ms(
    busy_ms: ColumnElement[int], now: Clock, since_ms: Number, standstill_ms: Number
) -> ColumnElement[int]:
    passed = now - since_ms
    return busy_ms + case((passed > standstill_ms, 0), else_=passed)


def _earlier(known: ColumnElement[int], now: Clock, wait_ms: Number) -> ColumnElement[int]:
    due_at = now + wait_ms
    known = func.coalesce(known, due_at)
    return case((known <= due_at, known), else_=due_at)


def _select() -> Any:  # noqa: ANN401 - a Select of every column
    return select(*(batches.c[name] for name in _COLUMNS))


# fmt: off
_PLAIN = (
    "id", "owner_id", "status", "pipeline", "pipeline_name", "family", "tier", "priority",
    "created_at", "paused", "pause_reason", "open", "name", "concurrency", "halt_after_pct",
    "metadata", "tag", "started_at", "ended_at", "expires_at", "revision", "run_no",
    "run_base", "run_started_at", "bytes_in", "bytes_done", "bytes_out", "bytes_saved",
    "run_ms", "run_s2", "busy_ms", "settled_at", "result_token", "webhook_id",
)
# fmt: on
_COLUMNS = (*_PLAIN, *(f"n_{status}" for status in COUNTED))


def _batch(row: Row[Any]) -> Batch:
    plain = dict(zip(_PLAIN, row, strict=False))
    plain["status"] = BatchStatus(plain["status"])
    return Batch(counts=Counts(*row[len(_PLAIN) :]), **plain)
