"""Every statement about what an administrator has stopped for a while.

A worker is paused under its id.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, select, update
from sqlalchemy.exc import IntegrityError

from batchmill.db import orphans
from batchmill.db.schema import pauses, workers
from batchmill.db.types import NOW, Clock
from batchmill.model.item import WorkerId

QUEUE = "queue"
"""The name under which all work is paused."""

CLEANUPS = {
    kind: f"clean-up of {kind}"
    for kind in (orphans.BATCHES, orphans.UPLOADS, orphans.DIRECT_UPLOADS)
}
"""The names under which removing orphans of each kind is paused."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why something is paused, and since when."""

    reason: str
    since: datetime


def sentence(reason: str) -> str:
    """Say to people that the queue is paused, and why."""
    return f"The queue is paused: {reason}"


def standing(conn: Connection, name: str) -> Pause | None:
    """Return the pause of this name; None: there is none."""
    query = select(pauses.c.reason, pauses.c.since).where(pauses.c.name == name)
    row = conn.execute(query).one_or_none()
    return None if row is None else Pause(*row)


def of_cleanup(conn: Connection) -> Pause | None:
    """Return the oldest pause of any clean-up; None: all go on."""
    query = select(pauses.c.reason, pauses.c.since).where(pauses.c.name.in_(CLEANUPS.values()))
    row = conn.execute(query.order_by(pauses.c.since).limit(1)).one_or_none()
    return None if row is None else Pause(*row)


def begin(conn: Connection, name: str, reason: str, *, now: Clock = NOW) -> bool:
    """Pause something. False: it is paused already, and only gets another reason."""
    known = update(pauses).where(pauses.c.name == name)
    if conn.execute(known.values(reason=reason)).rowcount:
        return False
    with suppress(IntegrityError), conn.begin_nested():  # another process pauses it as well
        conn.execute(pauses.insert().values(name=name, reason=reason, since=now))
        return True
    return False


def end(conn: Connection, name: str) -> bool:
    """Let it go on. False: it was not paused."""
    return conn.execute(pauses.delete().where(pauses.c.name == name)).rowcount == 1


def carry_over(conn: Connection, before: WorkerId, after: WorkerId) -> bool:
    """Let the pause of a worker hold under its new id. False: it was not paused."""
    known = update(pauses).where(pauses.c.name == before)
    return conn.execute(known.values(name=after)).rowcount == 1


def forget_gone(conn: Connection) -> int:
    """Remove the pauses of workers that have left or were forgotten; return how many."""
    of_worker = pauses.c.name.not_in([QUEUE, *CLEANUPS.values()])
    entered = exists().where(workers.c.id == pauses.c.name)
    return conn.execute(pauses.delete().where(of_worker, ~entered)).rowcount
