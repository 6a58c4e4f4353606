"""Every statement about what an administrator has stopped for a while."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from batchmill.db.schema import pauses
from batchmill.db.types import NOW, Clock

QUEUE = "queue"
"""The name under which all work is paused."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why something is paused, and since when."""

    reason: str
    since: datetime


def standing(conn: Connection, name: str) -> Pause | None:
    """Return the pause of this name; None: there is none."""
    query = select(pauses.c.reason, pauses.c.since).where(pauses.c.name == name)
    row = conn.execute(query).one_or_none()
    return None if row is None else Pause(*row)


def begin(conn: Connection, name: str, reason: str, *, now: Clock = NOW) -> None:
    """Pause something; what is paused already only gets another reason."""
    known = update(pauses).where(pauses.c.name == name)
    if not conn.execute(known.values(reason=reason)).rowcount:
        conn.execute(pauses.insert().values(name=name, reason=reason, since=now))


def end(conn: Connection, name: str) -> bool:
    """Let it go on. False: it was not paused."""
    return conn.execute(pauses.delete().where(pauses.c.name == name)).rowcount == 1
