"""Every statement about end work: what is left to do for a batch whose items have all ended."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, select

from batchmill.db import batches as batch_rows
from batchmill.db.schema import batches, workers
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import Batch, BatchId, BatchStatus
from batchmill.model.item import WorkerId


@dataclass(frozen=True, slots=True)
class EndClaim:
    """The end work of a batch, claimed by a worker for one attempt; `errors` came before."""

    batch: Batch
    worker_id: WorkerId
    attempt: int
    errors: int


def claim(conn: Connection, worker_id: WorkerId, *, now: Clock = NOW) -> EndClaim | None:
    """Claim the end work that has waited longest; None: there is none, or the lease is over.

    The worker has none at work: what is its own is left from a try that a lost answer broke off.
    """
    living = exists().where(workers.c.id == worker_id, workers.c.lease_until > now)
    free = _free_for(worker_id)
    due = (free, batches.c.end_due_at <= now, living)
    query = select(batches.c.id).where(*due).order_by(batches.c.end_due_at, batches.c.id).limit(1)
    batch_id = conn.scalar(query)
    batch = None if batch_id is None else batch_rows.lock(conn, BatchId(batch_id))
    if batch is None:
        return None
    taken = {"end_worker_id": worker_id, "end_attempt": batches.c.end_attempt + 1}
    if not batch_rows.change(conn, batch.id, free, **taken):
        return None  # another worker was faster
    query = select(batches.c.end_attempt, batches.c.end_errors).where(batches.c.id == batch.id)
    attempt, errors = conn.execute(query).one()
    return EndClaim(batch, worker_id, attempt, errors)


def is_held(conn: Connection, held: EndClaim) -> bool:
    """Say whether a claim still stands: the batch not cancelled, the work not taken over."""
    query = select(batches.c.id).where(batches.c.id == held.batch.id, *_fence(held))
    return conn.scalar(query) is not None


def change(conn: Connection, /, held: EndClaim, **values: Any) -> bool:  # noqa: ANN401 - columns
    """Set columns of the batch, and give the claim up; False: it was stale, nothing changed."""
    return batch_rows.change(conn, held.batch.id, *_fence(held), end_worker_id=None, **values)


def free_gone(conn: Connection, *, now: Clock = NOW) -> int:
    """Give up the claims of workers whose lease is over, or who have left; return how many.

    Each counts as an error: the work may be what ended them.
    """
    living = select(workers.c.id).where(workers.c.lease_until >= now)
    held = (batches.c.status == BatchStatus.FINALIZING) & batches.c.end_worker_id.is_not(None)
    lost = held & batches.c.end_worker_id.not_in(living)
    found = conn.scalars(select(batches.c.id).where(lost)).all()
    given_up = {"end_worker_id": None, "end_errors": batches.c.end_errors + 1}
    return sum(batch_rows.change(conn, each, lost, **given_up) for each in sorted(found))


def _free_for(worker_id: WorkerId) -> ColumnElement[bool]:
    unclaimed = batches.c.end_worker_id.is_(None) | (batches.c.end_worker_id == worker_id)
    return (batches.c.status == BatchStatus.FINALIZING) & unclaimed


def _fence(held: EndClaim) -> tuple[ColumnElement[bool], ...]:
    return (
        batches.c.status == BatchStatus.FINALIZING,
        batches.c.end_worker_id == held.worker_id,
        batches.c.end_attempt == held.attempt,
    )
