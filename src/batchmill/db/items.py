"""Every statement that reads or writes items.

Each function is one statement, takes the connection first and never commits. State changes are
compare-and-set: the WHERE clause holds the status or the attempt that the caller believes in, and
the row count says whether it was right. The caller has locked the items with `hold` or `lock`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Update,
    bindparam,
    func,
    literal,
    null,
    select,
)

from batchmill.db import bulk
from batchmill.db.bulk import Derived, Part
from batchmill.db.by_id import UpdateById
from batchmill.db.schema import batches, items
from batchmill.db.types import NOW, Clock, one_of
from batchmill.model.batch import BatchId, BatchStatus
from batchmill.model.item import (
    IN_FLIGHT,
    UNSUCCESSFUL,
    WAITING,
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

CANCELLING: Final = str(BatchStatus.CANCELLING)
CLOCKS: Final = 8
"""Most statements that are kept for clocks of tests."""


def insert(
    conn: Connection, batch_id: BatchId, new: Iterable[NewItem], *, first_position: int
) -> None:
    """Add items at consecutive positions: pending, or skipped and with that at their end."""
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = [
        {
            "id": each.id,
            "batch_id": batch_id,
            "position": position,
            "status": "skipped" if each.skipped else "pending",
            "skip_reason": each.skipped and str(each.skipped),
            "outputs": [] if each.skipped else None,
            "ended_at": now if each.skipped else None,
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


def take(conn: Connection, ids: Sequence[ItemId], *, worker_id: WorkerId, now: Clock = NOW) -> int:
    """Claim waiting items for one attempt each: they are queued with this worker."""
    return conn.execute(_taking(now), {"ids": list(ids), "worker": worker_id}).rowcount


@lru_cache(maxsize=CLOCKS)
def _taking(now: Clock) -> Update:
    waiting = one_of(items.c.status, WAITING)
    return (
        UpdateById(items)
        .where(items.c.id.in_(bindparam("ids", expanding=True)), waiting)
        .values(
            status=literal(str(ItemStatus.QUEUED)),
            attempt=items.c.attempt + 1,
            worker_id=bindparam("worker"),
            queued_at=now,
            started_at=null(),
            due_at=literal(0),
            progress=literal(0.0),
        )
    )


def hold(conn: Connection, claims: Sequence[Claim]) -> Mapping[ItemId, ItemStatus]:
    """Lock and return the items whose claim still stands: not cancelled, not taken over.

    Of several attempts of one item only the newest can.
    """
    attempts = {
        claim.item_id: claim.attempt for claim in sorted(claims, key=lambda claim: claim.attempt)
    }
    rows = conn.execute(_holding(), {"ids": sorted(attempts)})
    return {
        ItemId(item_id): ItemStatus(status)
        for item_id, attempt, status in rows
        if attempts[item_id] == attempt and status in IN_FLIGHT
    }


def lock(conn: Connection, ids: Collection[ItemId]) -> Mapping[ItemId, ItemStatus]:
    """Lock items and return their status as it is now."""
    rows = conn.execute(_holding(), {"ids": sorted(ids)})
    return {ItemId(item_id): ItemStatus(status) for item_id, _, status in rows}


@cache
def _holding() -> Select[Any]:
    """Return the statement that locks items, always in the order of their ids: no deadlock."""
    return (
        select(items.c.id, items.c.attempt, items.c.status)
        .with_hint(items, "FORCE INDEX (PRIMARY)", "mysql")
        .where(items.c.id.in_(bindparam("ids", expanding=True)))
        .order_by(items.c.id)
        .with_for_update()
    )


def superseded(conn: Connection, claims: Sequence[Claim]) -> set[ItemId]:
    """Return the items whose files of these attempts no row will ever name.

    They are gone, cancelled, handed back, or claimed again. All others may be recorded: the answer
    to a finish can get lost.
    """
    query = select(items.c.id, items.c.attempt, items.c.status).where(
        items.c.id.in_([claim.item_id for claim in claims])
    )
    rows = {row[0]: (row[1], row[2]) for row in conn.execute(query)}
    gone = {claim.item_id for claim in claims if claim.item_id not in rows}
    return gone | {
        claim.item_id
        for claim in claims
        if claim.item_id in rows
        and (rows[claim.item_id][0] > claim.attempt or rows[claim.item_id][1] in _WITHOUT_RESULT)
    }


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A claim as the database has it. `waits`: its batch is paused or stops: it must not begin."""

    claim: Claim
    waits: bool


def of_worker(conn: Connection, worker_id: WorkerId, *, limit: int = -1) -> Sequence[HeldRow]:
    """Return what a worker has claimed and not ended, by id."""
    query = (
        select(items.c.id, items.c.batch_id, items.c.attempt, batches.c.paused, batches.c.status)
        .join(batches, batches.c.id == items.c.batch_id)
        .where(items.c.worker_id == worker_id, _in_flight())
        .order_by(items.c.id)
    )
    if limit >= 0:
        query = query.limit(limit)
    return [
        HeldRow(Claim(ItemId(row[0]), BatchId(row[1]), row[2]), row[3] or row[4] == CANCELLING)
        for row in conn.execute(query)
    ]


def begin(conn: Connection, ages_ms: Mapping[Claim, int], *, now: Clock = NOW) -> int:
    """Note that attempts have begun, each so long ago; the caller knows that they are held."""
    rows = [
        {
            "id": claim.item_id,
            "attempt": claim.attempt,
            "status": str(ItemStatus.PROCESSING),
            "age_ms": age_ms,
        }
        for claim, age_ms in ages_ms.items()
    ]
    derived = (("started_at", _began_at),)
    return bulk.change(conn, items, rows, same=_FENCE, now=now, derived=derived)


def report_progress(conn: Connection, fractions: Mapping[Claim, float], *, now: Clock = NOW) -> int:
    """Store how far running attempts are, 0…1; those whose claim is lost stay as they are."""
    hold(conn, list(fractions))
    rows = [
        {
            "id": claim.item_id,
            "attempt": claim.attempt,
            "status": str(ItemStatus.PROCESSING),
            "progress": fraction,
        }
        for claim, fraction in fractions.items()
    ]
    return bulk.change(conn, items, rows, same=(*_FENCE, "status"), now=now)


@dataclass(frozen=True, slots=True)
class Ending:
    """What an attempt leaves behind. `run_ms` is how long it took."""

    claim: Claim
    run_ms: int
    result: Result


@dataclass(frozen=True, slots=True)
class Failing:
    """How an attempt failed; the item ends in `status`, or waits `wait_ms` for its retry."""

    claim: Claim
    run_ms: int
    failure: Failure
    status: ItemStatus
    spent: Spent
    failure_no: int | None = None
    wait_ms: int = 0


def finish(conn: Connection, endings: Sequence[Ending], *, now: Clock = NOW) -> int:
    """Record the one result of items; the caller knows that they are held."""
    rows = [
        {
            **_fenced(each.claim),
            "status": str(ItemStatus.SKIPPED if each.result.skipped else ItemStatus.COMPLETED),
            "skip_reason": each.result.skipped and str(each.result.skipped),
            "outputs": [output.to_json() for output in each.result.outputs],
            "data": each.result.data or None,
            "warnings": list(each.result.warnings) or None,
            "step_ms": each.result.step_ms or None,
            "run_ms": each.run_ms,
        }
        for each in endings
    ]
    return bulk.change(conn, items, rows, same=_FENCE, now=now, derived=_FINISHED)


def fail(conn: Connection, failings: Sequence[Failing], *, now: Clock = NOW) -> int:
    """End items as failed or quarantined; the caller knows that they are held."""
    rows = [{**_failed(each), "failure_no": each.failure_no} for each in failings]
    return bulk.change(conn, items, rows, same=_FENCE, now=now, derived=_GIVEN_UP)


def retry_later(conn: Connection, failings: Sequence[Failing], *, now: Clock = NOW) -> int:
    """Let items wait before their next attempt; the caller knows that they are held."""
    rows = [{**_failed(each), "wait_ms": each.wait_ms} for each in failings]
    return bulk.change(conn, items, rows, same=_FENCE, now=now, derived=_PUT_OFF)


def hand_back(
    conn: Connection, ids: Sequence[ItemId], *, rescued: bool = False, lost: bool = False
) -> int:
    """Return claimed items to pending; the caller knows whose they are. No budget changes.

    `rescued`: their worker has gone, and may have left files behind; `lost`: they may be the cause.
    """
    more: dict[str, Any] = {"rescued": items.c.rescued + 1} if rescued else {}
    more |= {"lost": items.c.lost + 1} if lost else {}
    statement = UpdateById(items).where(items.c.id.in_(ids), _in_flight())
    return conn.execute(statement.values(**_HANDED_BACK, **more)).rowcount


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


def running(conn: Connection, batch_id: BatchId, *, now: Clock = NOW) -> Mapping[ItemId, int]:
    """Return what is being worked on of a batch, and for how many milliseconds."""
    query = select(items.c.id, now - items.c.started_at).where(
        items.c.batch_id == batch_id, items.c.status == ItemStatus.PROCESSING
    )
    return {row[0]: int(row[1]) for row in conn.execute(query)}


def cancel(conn: Connection, ids: Sequence[ItemId], *, seen: ItemStatus, now: Clock = NOW) -> int:
    """Cancel items that are still in the status seen; a running one loses its claim."""
    return _move(conn, ids, seen, status=ItemStatus.CANCELLED, ended_at=now, **_RELEASED)


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
    """Make ended items pending again with fresh budgets; `attempt` and `begun` keep rising."""
    spent = {"errors": 0, "crashes": 0, "timeouts": 0, "lost": 0}
    fresh = {**spent, "failure_no": None, "ended_at": None}
    values = {**_NO_ERROR, **fresh, **_RELEASED}
    return _move(conn, ids, seen, status=ItemStatus.PENDING, due_at=literal(0), **values)


def delete_chunk(conn: Connection, batch_id: BatchId, *, limit: int) -> int:
    """Remove up to `limit` items of a batch that is being deleted; return how many."""
    query = select(items.c.id).where(items.c.batch_id == batch_id).limit(limit)
    ids = sorted(conn.scalars(query))
    # One by one, by the key: for a long list MariaDB may scan the table, and so wait for others.
    if ids:
        mine = items.delete().where(items.c.id == bindparam("item_id"))
        conn.execute(mine, [{"item_id": item_id} for item_id in ids])
    return len(ids)


def _entry(entry: ArchiveEntry | None) -> dict[str, int] | None:
    """Return an entry's fields; `asdict`, which copies them deeply, takes longer than COPY."""
    if entry is None:
        return None
    return {name: getattr(entry, name) for name in ArchiveEntry.__slots__}


_WITHOUT_RESULT = frozenset({ItemStatus.CANCELLED, ItemStatus.PENDING}) | UNSUCCESSFUL
"""What an item is in whose row names no file of its newest attempt."""
_FENCE = ("id", "attempt")
"""What an attempt must still be for its finish to count."""
_NO_ERROR: dict[str, Any] = {
    "error_code": None,
    "error_message": None,
    "error_step": None,
    "error_retryable": None,
}
_RELEASED: dict[str, Any] = {"worker_id": None}
_HANDED_BACK: dict[str, Any] = {
    "status": ItemStatus.PENDING,
    "due_at": literal(0),
    "progress": 0.0,
    "started_at": None,
    **_RELEASED,
}


def _in_flight() -> ColumnElement[bool]:
    return one_of(items.c.status, IN_FLIGHT)


def _move(conn: Connection, ids: Sequence[ItemId], seen: ItemStatus, **values: Any) -> int:  # noqa: ANN401
    statement = (
        UpdateById(items).where(items.c.id.in_(ids), items.c.status == seen).values(**values)
    )
    return conn.execute(statement).rowcount


def _fenced(claim: Claim) -> dict[str, Any]:
    return {"id": claim.item_id, "attempt": claim.attempt}


def _failed(each: Failing) -> dict[str, Any]:
    return {
        **_fenced(each.claim),
        "status": str(each.status),
        "error_code": each.failure.code,
        "error_message": each.failure.message[:1000],
        "error_step": each.failure.step,
        "error_retryable": each.failure.retryable,
        "run_ms": each.run_ms,
        **asdict(each.spent),
    }


def _nothing(_part: Part, _now: Clock) -> ColumnElement[Any]:
    return null()


def _began_at(part: Part, now: Clock) -> ColumnElement[Any]:
    return now - part("age_ms")


def _ended_at(_part: Part, now: Clock) -> ColumnElement[Any]:
    return now


def _started_at(part: Part, now: Clock) -> ColumnElement[Any]:
    """Return when an attempt began that was too short for its begin to be noted."""
    return func.coalesce(items.c.started_at, now - part("run_ms"))


def _one_more(_part: Part, _now: Clock) -> ColumnElement[Any]:
    return items.c.begun + 1


def _due_at(part: Part, now: Clock) -> ColumnElement[Any]:
    return now + part("wait_ms")


def _all(_part: Part, _now: Clock) -> ColumnElement[Any]:
    return literal(1.0)


def _none(_part: Part, _now: Clock) -> ColumnElement[Any]:
    return literal(0.0)


_RELEASE: tuple[Derived, ...] = (
    ("worker_id", _nothing),
    ("begun", _one_more),
    ("started_at", _started_at),
)
_GIVEN_UP: tuple[Derived, ...] = (*_RELEASE, ("ended_at", _ended_at))
_FINISHED: tuple[Derived, ...] = (
    *_GIVEN_UP,
    ("progress", _all),
    *((name, _nothing) for name in _NO_ERROR),
)
_PUT_OFF: tuple[Derived, ...] = (*_RELEASE, ("due_at", _due_at), ("progress", _none))
