"""Every statement about what lies in a store and belongs to no batch or upload that is known."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from batchmill.db import workers
from batchmill.db.schema import orphans
from batchmill.db.types import NOW, Clock

BATCHES = "batches"
UPLOADS = "uploads"
DIRECT_UPLOADS = "direct uploads"


@dataclass(frozen=True, slots=True)
class OrphanRow:
    """A folder or file, since when it has been known as one, and whether it may go."""

    kind: str
    name: str
    first_at: datetime
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Entered:
    """Of some orphans: how many are not confirmed, and which have waited long enough."""

    unconfirmed: int
    ripe: list[str]
    ripe_and_confirmed: list[str]


def enter(
    conn: Connection, kind: str, names: Collection[str], *, age_ms: int, now: Clock = NOW
) -> Entered:
    """Enter orphans that are seen for the first time, and note of all that they were seen."""
    workers.go_alone(conn, "orphans")  # several servers look after the uploads
    these = (orphans.c.kind == kind) & orphans.c.name.in_(names)
    conn.execute(update(orphans).where(these).values(last_at=now))
    known = set(conn.scalars(select(orphans.c.name).where(these)))
    if new := sorted(set(names) - known):
        rows = [{"kind": kind, "name": name} for name in new]
        conn.execute(orphans.insert().values(first_at=now, last_at=now, confirmed=False), rows)
    ripe = (orphans.c.first_at <= now - age_ms).label("ripe")
    found = conn.execute(select(orphans.c.name, orphans.c.confirmed, ripe).where(these)).all()
    return Entered(
        unconfirmed=sum(not confirmed for _, confirmed, _ in found),
        ripe=[name for name, _, is_ripe in found if is_ripe],
        ripe_and_confirmed=[name for name, confirmed, is_ripe in found if is_ripe and confirmed],
    )


def forget(conn: Connection, kind: str, names: Collection[str]) -> None:
    """Take out what is gone, or is known again."""
    conn.execute(orphans.delete().where(orphans.c.kind == kind, orphans.c.name.in_(names)))


def forget_unseen(conn: Connection, kind: str, *, age_ms: int, now: Clock = NOW) -> None:
    """Take out what has not been seen for so long: another process has removed it."""
    unseen = orphans.c.last_at < now - age_ms
    conn.execute(orphans.delete().where(orphans.c.kind == kind, unseen))


def count(conn: Connection, kind: str | None = None) -> int:
    """Count the orphans of a kind, or of all."""
    query = select(func.count()).select_from(orphans)
    return int(conn.scalar(query if kind is None else query.where(orphans.c.kind == kind)) or 0)


def oldest(conn: Connection, *, limit: int) -> Sequence[OrphanRow]:
    """Return those that have been known the longest."""
    columns = (orphans.c[name] for name in OrphanRow.__slots__)
    query = select(*columns).order_by(orphans.c.first_at, orphans.c.kind, orphans.c.name)
    return [OrphanRow(*row) for row in conn.execute(query.limit(limit))]


def confirm(conn: Connection) -> int:
    """Let everything that is entered go once it has waited; return how many that are new."""
    waiting = update(orphans).where(orphans.c.confirmed.is_(False))
    return conn.execute(waiting.values(confirmed=True)).rowcount
