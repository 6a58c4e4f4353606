"""What each worker has counted of each batch: rows that it alone writes, so that none waits.

A batch's numbers are those of its own row and the sums of these. They are folded into its row when
it ends, begins another run, or its worker is gone.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Subquery,
    case,
    func,
    select,
    type_coerce,
)

from batchmill.db import prepared
from batchmill.db.prepared import Formula, plus
from batchmill.db.schema import batches, counters, workers
from batchmill.db.types import NOW, Clock, to_ms
from batchmill.model.batch import BatchId
from batchmill.model.item import ItemStatus, WorkerId

SUMMED: Final = (
    "revision",
    *(f"n_{status}" for status in ItemStatus),
    *("bytes_done", "bytes_out", "bytes_saved", "run_ms", "run_s2"),
)
"""Columns whose values add up with those of the batch's row."""


def add(
    conn: Connection,
    batch_id: BatchId,
    worker_id: WorkerId,
    deltas: Mapping[ItemStatus, int],
    **sums: float,
) -> None:
    """Count what a worker's transaction has moved; `sums` are other columns and what they grow by.

    Belongs behind the statements that change items and before those that change failures: this
    order has no deadlock.
    """
    moved = {f"n_{status}": delta for status, delta in deltas.items() if delta}
    row = {"revision": 1, **moved, **sums}
    _add(conn, {"batch_id": batch_id, "worker_id": worker_id}, row, now=None)


def take_turn(
    conn: Connection,
    batch_id: BatchId,
    worker_id: WorkerId,
    deltas: Mapping[ItemStatus, int],
    *,
    now: Clock = NOW,
) -> None:
    """Count what a worker has claimed, and that the batch had its turn now."""
    moved = {f"n_{status}": delta for status, delta in deltas.items() if delta}
    _add(conn, {"batch_id": batch_id, "worker_id": worker_id}, {"revision": 1, **moved}, now=now)


def _add(
    conn: Connection, key: Mapping[str, str], row: Mapping[str, float], *, now: Clock | None
) -> None:
    turn = {} if now is None else {"turn_at": now}
    renewed = tuple(turn)
    prepared.add_up(conn, counters, {**key, **row}, summed=tuple(row), renewed=renewed, now=turn)


def sums(*names: str, among: ColumnElement[bool] | None = None) -> Subquery:
    """Return a table of batches with sums of counters, for an outer join; `turn_at` is the last.

    `among` narrows it to batches by `counters.c.batch_id`. Most batches have no row in it.
    """
    columns = [
        (func.max if name == "turn_at" else func.sum)(counters.c[name]).label(name)
        for name in names
    ]
    query = select(counters.c.batch_id, *columns).group_by(counters.c.batch_id)
    return (query if among is None else query.where(among)).subquery("counted")


def with_sum(name: str, counted: Subquery) -> ColumnElement[Any]:
    """Return a column of a batch together with what workers have counted."""
    return batches.c[name] + func.coalesce(counted.c[name], 0)


def fold(conn: Connection, batch_id: BatchId, *, only: Collection[WorkerId] = ()) -> None:
    """Move what workers have counted, or `only` these, into the row of a batch that is locked."""
    chosen = counters.c.batch_id == batch_id
    if only:
        chosen &= counters.c.worker_id.in_(only)
    named = (counters.c[name] for name in ("worker_id", "turn_at", *SUMMED))
    query = select(*named).where(chosen).order_by(counters.c.worker_id).with_for_update()
    rows = conn.execute(query).all()
    if not rows:
        return
    # One by one, by the whole key: for a list of them MariaDB scans the table, and so waits for
    # rows of other batches while it holds this one's.
    for row in rows:
        mine = (counters.c.batch_id == batch_id) & (counters.c.worker_id == row.worker_id)
        conn.execute(counters.delete().where(mine))
    totals = {name: sum(getattr(row, name) for row in rows) for name in SUMMED}
    grown = {name: plus(batches.c[name], total) for name, total in totals.items() if total}
    last_ms = max(to_ms(row.turn_at) for row in rows)
    grown["turn_at"] = Formula(_later, (batches.c.turn_at,), (last_ms,))
    prepared.change(conn, batches, {"id": batch_id}, grown)


def _later(known: ColumnElement[Any], other_ms: ColumnElement[int]) -> ColumnElement[Any]:
    known_ms = type_coerce(known, BigInteger)
    return case((known_ms < other_ms, other_ms), else_=known_ms)


def left_behind(conn: Connection) -> Mapping[BatchId, Collection[WorkerId]]:
    """Name the workers that are gone and have counted something that is not folded in yet."""
    gone = counters.c.worker_id.not_in(select(workers.c.id))
    found: dict[BatchId, list[WorkerId]] = {}
    query = select(counters.c.batch_id, counters.c.worker_id).where(gone)
    for batch_id, worker_id in conn.execute(query):
        found.setdefault(BatchId(batch_id), []).append(WorkerId(worker_id))
    return found


def delete_of_batch(conn: Connection, batch_id: BatchId) -> None:
    """Remove what was counted of a batch that is being deleted."""
    conn.execute(counters.delete().where(counters.c.batch_id == batch_id))
