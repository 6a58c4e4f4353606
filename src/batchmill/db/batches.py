"""Every statement that reads or writes batches.

The functions take the connection first and never commit. Who writes a batch's row calls `lock`
first, and before anything else: the batch row is always locked before its items.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    update,
)

from batchmill.db import prepared
from batchmill.db.counters import SUMMED, sums, with_sum
from batchmill.db.prepared import Formula, plus
from batchmill.db.schema import batches, counters
from batchmill.db.types import NOW, Clock, at, one_of, to_ms
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
OUTAGE_OVER: Final = {"outage_since": None, "outage_until": None}
"""The columns of a batch of which nothing is away."""
PROBE_MS, MOST_PROBE_MS, PROBES = 5_000, 300_000, 4
"""While something is away the next try waits as long as a quarter of the outage so far."""
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
        "end_work": order.end_work,
        "result_token": order.result_token,
        "webhook_id": order.webhook_id,
    }


def lock(conn: Connection, batch_id: BatchId) -> Batch | None:
    """Hold a batch's row until the transaction ends, and read the batch.

    What workers have counted is read by a statement of its own: that of the lock may be older than
    what it had to wait for.
    """
    row = conn.execute(_locking(), {"batch_id": batch_id}).one_or_none()
    if row is None:
        return None
    number, *counted = conn.execute(_counted(), {"batch_id": batch_id}).one()
    own = row[len(_PLAIN) :]
    together = (*row[: len(_PLAIN)], *(a + (b or 0) for a, b in zip(own, counted, strict=True)))
    return replace(_batch(together), is_counted_apart=number > 0)


def lock_new(conn: Connection, batch_id: BatchId) -> Batch | None:
    """Hold a batch's row and read that alone: what a late worker has counted is left out."""
    row = conn.execute(_locking(), {"batch_id": batch_id}).one_or_none()
    return None if row is None else _batch(row)


@cache
def _locking() -> Select[Any]:
    """Return the statement of `lock`, made once."""
    columns = (batches.c[name] for name in (*_PLAIN, *SUMMED))
    query: Select[Any] = select(*columns).where(batches.c.id == bindparam("batch_id"))
    return query.with_for_update()


@cache
def _counted() -> Select[Any]:
    columns: list[ColumnElement[Any]] = [func.count()]
    columns += [func.sum(counters.c[name]) for name in SUMMED]
    return select(*columns).where(counters.c.batch_id == bindparam("batch_id"))


def get(conn: Connection, batch_id: BatchId, *, owner_id: OwnerId | None) -> Batch | None:
    """Read a batch; somebody else's, or one being removed, is as absent as none.

    `owner_id` None sees all owners'.
    """
    batch = get_any(conn, batch_id)
    if batch is None or batch.status is BatchStatus.EXPIRED:
        return None
    return batch if owner_id in (None, batch.owner_id) else None


def get_any(conn: Connection, batch_id: BatchId) -> Batch | None:
    """Read a batch of any owner."""
    row = conn.execute(_getting(), {"batch_id": batch_id}).one_or_none()
    return None if row is None else _batch(row)


@cache
def _getting() -> Select[Any]:
    """Return the statement of `get_any`, which runs for every chunk: made once."""
    wanted: ColumnElement[str] = bindparam("batch_id")
    query: Select[Any] = _select(counters.c.batch_id == wanted).where(batches.c.id == wanted)
    return query


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
    """Return batches newest first (ids sort by time), those before `before`.

    No forsaken draft, and none that is being removed.
    `skip` is for a dialect whose pages are numbered; it gets slower with every page.
    """
    forsaken = (batches.c.status == BatchStatus.UPLOADING) & (batches.c.upload_until == at(0))
    gone = forsaken | (batches.c.status == BatchStatus.EXPIRED)
    query = _select().where(~gone).order_by(batches.c.id.desc()).limit(limit).offset(skip)
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
    """Return the revision of each of the watched batches; one that is gone or going is left out."""
    counted = sums("revision", among=counters.c.batch_id.in_(ids))
    query = (
        select(batches.c.id, with_sum("revision", counted))
        .select_from(batches.outerjoin(counted, counted.c.batch_id == batches.c.id))
        .where(batches.c.id.in_(ids), batches.c.status != BatchStatus.EXPIRED)
    )
    return {BatchId(row[0]): int(row[1]) for row in conn.execute(query)}


def several(conn: Connection, ids: Sequence[BatchId]) -> Sequence[Batch]:
    """Read batches by id, whoever owns them; none that is being removed."""
    there = batches.c.id.in_(ids) & (batches.c.status != BatchStatus.EXPIRED)
    query = _select(counters.c.batch_id.in_(ids)).where(there)
    return [_batch(row) for row in conn.execute(query)]


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


def start_removing(conn: Connection, batch_id: BatchId) -> bool:
    """Hide a batch from all callers: nothing of it is claimed any more; the sweep removes it.

    False: that had begun already.
    """
    unless = batches.c.status != BatchStatus.EXPIRED
    over = {"status": BatchStatus.EXPIRED, "open": False, "paused": False, **OUTAGE_OVER}
    return change(conn, batch_id, unless, **over)


def start_cancelling(conn: Connection, batch_id: BatchId, *, reason: str | None = None) -> bool:
    """Mark a batch that has not ended: from now on no item of it can be claimed.

    `reason` says why the server stops it; without one, a person does.
    """
    unended = sorted(set(BatchStatus) - ENDED - {BatchStatus.CANCELLING})
    allowed = batches.c.status.in_(unended)
    over = {"status": BatchStatus.CANCELLING, "open": False, **OUTAGE_OVER, "pause_reason": reason}
    return change(conn, batch_id, allowed, **over)


def resume(conn: Connection, batch_id: BatchId, *, now: Clock = NOW) -> bool:
    """Let a batch go on; the pause does not count as busy time."""
    settled = case((batches.c.run_started_at.is_(None), None), else_=now)
    over = {"paused": False, "pause_reason": None, **OUTAGE_OVER}
    return change(conn, batch_id, settled_at=settled, turn_at=now, **over)


def count(
    conn: Connection,
    batch_id: BatchId,
    deltas: Mapping[ItemStatus, int],
    **values: Any,  # noqa: ANN401
) -> None:
    """Move items between the counters of a batch that is locked: `{QUEUED: -1, PROCESSING: +1}`."""
    moved = {f"n_{status}": add(f"n_{status}", delta) for status, delta in deltas.items() if delta}
    changed = {"revision": add("revision", 1), **moved, **values}
    prepared.change(conn, batches, {"id": batch_id}, changed)


def next_probe(batch: Batch, *, wait_ms: int = 0, now: Clock = NOW) -> dict[str, Any]:
    """Return the columns that put off the next try of what is away, by `wait_ms` at least.

    `batch` is locked. With the outage the pause grows: each try may cost something.
    """
    since = now if batch.outage_since is None else literal(to_ms(batch.outage_since), BigInteger)
    wait = (now - since) / PROBES
    least = max(PROBE_MS, wait_ms)
    wait = case(
        (wait < least, least), (wait > MOST_PROBE_MS, max(least, MOST_PROBE_MS)), else_=wait
    )
    return {"outage_until": now + cast(wait, BigInteger)}


def outage_of(
    conn: Connection, batch_id: BatchId, *, longest_ms: int, now: Clock = NOW
) -> tuple[bool, bool]:
    """Say of a batch that is locked whether its outage is waited for, and may be over.

    It is waited for `longest_ms`; where nothing is away it is waited for, and may be over.
    """
    since, until = batches.c.outage_since, batches.c.outage_until
    waits = since.is_(None) | (since >= now - longest_ms)
    may_be_over = until.is_(None) | (until <= now)
    query = select(case((waits, 1), else_=0), case((may_be_over, 1), else_=0))
    row = conn.execute(query.where(batches.c.id == batch_id)).one()
    return bool(row[0]), bool(row[1])


def add(column: str, amount: float) -> Formula:
    """Return the value that adds to a counter column, for `change` and `count`."""
    return plus(batches.c[column], amount)


def pace(batch: Batch, *, now: Clock = NOW) -> dict[str, Any]:
    """Return the columns that say that a batch, which is locked, was worked on until now.

    A standstill, as while the server was off, does not count as busy time.
    """
    since = batch.settled_at or batch.run_started_at
    if since is None:
        return {"settled_at": now}
    done = max(1, batch.counts.finished - batch.run_base)
    standstill = max(STANDSTILL_MS, STANDSTILL_ITEMS * batch.busy_ms // done)
    busy_ms = Formula(_busy_ms, (batches.c.busy_ms, now), (to_ms(since), standstill))
    return {"settled_at": now, "busy_ms": busy_ms}


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


def without_work(conn: Connection) -> Sequence[BatchId]:
    """Name closed batches that run although nothing of them is left to do."""
    names = ("n_pending", "n_queued", "n_processing", "n_retrying")
    counted = sums(*names)
    unfinished = sum((with_sum(name, counted) for name in names), literal(0))
    query = (
        select(batches.c.id)
        .select_from(batches.outerjoin(counted, counted.c.batch_id == batches.c.id))
        .where(one_of(batches.c.status, RUNNABLE), batches.c.open.is_(False))
        .where(unfinished == 0)
    )
    return list(conn.scalars(query))


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


def _select(among: ColumnElement[bool] | None = None) -> Any:  # noqa: ANN401 - a Select
    """Select batches with what workers have counted; `among` narrows the counters first."""
    counted = sums(*SUMMED, among=among)
    plain = (batches.c[name] for name in _PLAIN)
    added = (with_sum(name, counted).label(name) for name in SUMMED)
    together = batches.outerjoin(counted, counted.c.batch_id == batches.c.id)
    return select(*plain, *added).select_from(together)


# fmt: off
_PLAIN = (
    "id", "owner_id", "status", "pipeline", "pipeline_name", "family", "tier", "priority",
    "created_at", "paused", "pause_reason", "open", "name", "concurrency", "halt_after_pct",
    "metadata", "tag", "started_at", "ended_at", "expires_at", "run_no", "run_base",
    "run_started_at", "bytes_in", "busy_ms", "settled_at", "outage_since", "end_work",
    "result_token", "webhook_id",
)
# fmt: on


def _batch(row: Row[Any] | tuple[Any, ...]) -> Batch:
    plain: dict[str, Any] = dict(zip(_PLAIN, row, strict=False))
    plain["status"] = BatchStatus(plain["status"])
    added = dict(zip(SUMMED, row[len(_PLAIN) :], strict=True))
    run_s2 = float(added.pop("run_s2"))
    # PostgreSQL and MariaDB sum whole numbers to decimals.
    numbers: dict[str, Any] = {name: int(value) for name, value in added.items()}
    counts = Counts(*(numbers.pop(f"n_{status}") for status in COUNTED))
    return Batch(counts=counts, run_s2=run_s2, **plain, **numbers)
