"""What each owner has of each worker: slots in use, and slot time. By it they take turns."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, select, update

from batchmill.db import prepared
from batchmill.db.schema import shares, workers
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import OwnerId
from batchmill.model.item import WorkerId


@dataclass(frozen=True, slots=True)
class Share:
    """What an owner has of one worker now, and the slot time it got since the last word.

    `aged_slots` of the `slots` work for batches that had waited too long.
    """

    owner_id: OwnerId
    slots: int
    aged_slots: int
    served_ms: int


def write(conn: Connection, worker_id: WorkerId, changed: Iterable[Share]) -> None:
    """Write what has changed for a worker, which alone writes its rows."""
    for share in changed:
        row = {"worker_id": worker_id, **asdict(share)}
        prepared.add_up(conn, shares, row, summed=("served_ms",), renewed=("slots", "aged_slots"))


def free_gone(conn: Connection, *, now: Clock = NOW) -> int:
    """Count the slots of workers as free whose lease is over; return how many rows changed."""
    living = select(workers.c.id).where(workers.c.lease_until >= now)
    dead = shares.c.worker_id.not_in(living) & (shares.c.slots > 0)
    return conn.execute(update(shares).where(dead).values(slots=0, aged_slots=0)).rowcount


def forget_gone(conn: Connection) -> int:
    """Remove the shares of workers that have left; return how many."""
    gone = shares.c.worker_id.not_in(select(workers.c.id))
    return conn.execute(shares.delete().where(gone)).rowcount
