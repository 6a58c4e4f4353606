"""Every statement about whose the stores are: the installation and the stores it has marked."""

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from batchmill.db.schema import installation, stores
from batchmill.db.types import NOW, Clock

_ONLY = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an installation is, and how far it has come: an older backup has a lower generation."""

    installation: str
    generation: int


@dataclass(frozen=True, slots=True)
class Known:
    """The installation, None in a new database, and the stores that it has marked."""

    identity: Identity | None
    marked: frozenset[str]


def read(conn: Connection) -> Known:
    """Return what the database knows about its installation."""
    return Known(_identity(conn), frozenset(conn.scalars(select(stores.c.name))))


def begin(conn: Connection, new_id: str, *, now: Clock = NOW) -> None:
    """Enter the installation under an id, unless it has one."""
    if _identity(conn) is None:
        row = {"no": _ONLY, "id": new_id, "generation": 1, "raised_at": now}
        with suppress(IntegrityError), conn.begin_nested():  # another process is just as new
            conn.execute(installation.insert().values(**row))


def raise_generation(
    conn: Connection, *, above: int = 0, older_ms: int = 0, now: Clock = NOW
) -> bool:
    """Raise the generation above what it is and above `above`, if `older_ms` have passed."""
    known = _identity(conn)
    if known is None:
        return False
    due = (installation.c.generation == known.generation) & (
        installation.c.raised_at <= now - older_ms
    )
    raised = {"generation": max(known.generation, above) + 1, "raised_at": now}
    return conn.execute(update(installation).where(due).values(**raised)).rowcount == 1


def remember(conn: Connection, name: str, *, now: Clock = NOW) -> None:
    """Note that a store is marked; again changes nothing."""
    if conn.scalar(select(stores.c.name).where(stores.c.name == name)) is None:
        with suppress(IntegrityError), conn.begin_nested():
            conn.execute(stores.insert().values(name=name, marked_at=now))


def _identity(conn: Connection) -> Identity | None:
    row = conn.execute(select(installation.c.id, installation.c.generation)).one_or_none()
    return None if row is None else Identity(*row)
