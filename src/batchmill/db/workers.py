"""Who is alive: processes with their leases, and the one that sweeps."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, func, select, update
from sqlalchemy.exc import IntegrityError

from batchmill.db.schema import items, leaders, pauses, workers
from batchmill.db.types import NOW, Clock, at
from batchmill.model.item import WorkerId


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A process that serves or works; `slots` is 0 for one that only serves or is short of memory.

    `pause_reason` is what the administrator said who paused this one.
    """

    id: WorkerId
    host: str
    pid: int
    slots: int
    draining: bool
    started_at: datetime
    lease_until: datetime
    stats: dict[str, Any]
    pause_reason: str | None

    @property
    def open_slots(self) -> int:
        """How many items it starts at once: none while it drains or is paused."""
        return 0 if self.draining or self.pause_reason is not None else self.slots

    @property
    def only_serves(self) -> bool:
        """Whether it never starts an item."""
        return not self.slots and "short_of" not in self.stats


def enter(  # noqa: PLR0913 - the columns of one row
    conn: Connection,
    worker_id: WorkerId,
    *,
    host: str,
    pid: int,
    slots: int,
    stats: dict[str, Any],
    lease_ms: int,
    now: Clock = NOW,
) -> None:
    """Enter a process under an id that no other had: it is alive for `lease_ms`."""
    row = {"id": worker_id, "host": host, "pid": pid, "started_at": now}
    lease = {"lease_until": now + lease_ms, "stats": stats, "slots": slots}
    conn.execute(workers.insert().values(**row, **lease))


def renew(
    conn: Connection,
    worker_id: WorkerId,
    *,
    slots: int,
    stats: dict[str, Any],
    lease_ms: int,
    now: Clock = NOW,
) -> bool:
    """Say that a process is alive for another `lease_ms`. False: its lease was over.

    A lease that has ended never lives again: others may have its items.
    """
    standing = update(workers).where(workers.c.id == worker_id, workers.c.lease_until > now)
    alive = {"lease_until": now + lease_ms, "stats": stats, "slots": slots}
    return conn.execute(standing.values(**alive)).rowcount == 1


def start_draining(conn: Connection, worker_id: WorkerId) -> None:
    """Say that a process takes no more items: its slots count no longer."""
    conn.execute(update(workers).where(workers.c.id == worker_id).values(draining=True))


def leave(conn: Connection, worker_id: WorkerId) -> None:
    """Take a process out at its orderly end."""
    conn.execute(workers.delete().where(workers.c.id == worker_id))


def alive(conn: Connection, *, now: Clock = NOW) -> Sequence[WorkerRow]:
    """Return the processes whose lease stands, oldest first."""
    named: dict[str, Any] = {**workers.c, "pause_reason": pauses.c.reason}
    columns = (named[name] for name in WorkerRow.__slots__)
    query = select(*columns).outerjoin_from(workers, pauses, pauses.c.name == workers.c.id)
    standing = query.where(workers.c.lease_until >= now).order_by(workers.c.started_at)
    return [WorkerRow(*row) for row in conn.execute(standing)]


def is_entered(conn: Connection, worker_id: WorkerId) -> bool:
    """Say whether a process has a row: it may be alive, or is not forgotten yet."""
    return conn.scalar(select(workers.c.id).where(workers.c.id == worker_id)) is not None


def known_slots(conn: Connection, *, now: Clock = NOW) -> tuple[int, int]:
    """Return the slots of all living workers that take items, and how many have any."""
    paused = exists().where(pauses.c.name == workers.c.id)
    taking = (workers.c.lease_until >= now, workers.c.draining.is_(False), workers.c.slots > 0)
    query = select(func.coalesce(func.sum(workers.c.slots), 0), func.count())
    query = query.where(*taking, ~paused)
    slots, number = conn.execute(query).one()
    return int(slots), int(number)


def gone(conn: Connection, *, now: Clock = NOW) -> Sequence[WorkerId]:
    """Name the workers that have items in hand although their lease is over, or they have left."""
    living = select(workers.c.id).where(workers.c.lease_until >= now)
    held = items.c.worker_id.is_not(None) & items.c.worker_id.not_in(living)
    return [
        WorkerId(each) for each in conn.scalars(select(items.c.worker_id).where(held).distinct())
    ]


def forget_dead(conn: Connection, *, now: Clock = NOW) -> int:
    """Remove processes whose lease ended and that have no items in hand; return how many."""
    idle = ~exists().where(items.c.worker_id == workers.c.id)
    return conn.execute(workers.delete().where(workers.c.lease_until < now, idle)).rowcount


def end_all(conn: Connection) -> None:
    """End every lease: for a start that knows that no other process is alive."""
    conn.execute(update(workers).values(lease_until=at(0)))


def lead(
    conn: Connection,
    name: str,
    holder: WorkerId,
    *,
    lease_ms: int,
    now: Clock = NOW,
) -> bool:
    """Take or keep the leadership `name` for `lease_ms`; True while it is held."""
    free = (leaders.c.holder == holder) | (leaders.c.lease_until < now)
    statement = update(leaders).where(leaders.c.name == name, free)
    return conn.execute(statement.values(holder=holder, lease_until=now + lease_ms)).rowcount == 1


def enter_leadership(conn: Connection, name: str) -> None:
    """Make the row that `lead` competes for, unless it is there or another is just making it."""
    if conn.scalar(select(leaders.c.name).where(leaders.c.name == name)) is None:
        with suppress(IntegrityError), conn.begin_nested():
            conn.execute(leaders.insert().values(name=name, holder="", lease_until=at(0)))


def go_alone(conn: Connection, name: str) -> None:
    """Let one transaction at a time go on from here under this name, until it ends.

    SQLite does so for every name.
    """
    locked = select(leaders.c.name).where(leaders.c.name == name).with_for_update()
    if conn.scalar(locked) is None:
        enter_leadership(conn, name)
        conn.execute(locked)


def resign(conn: Connection, name: str, holder: WorkerId) -> None:
    """Give a leadership up at once, so that another process need not wait for the lease."""
    statement = update(leaders).where(leaders.c.name == name, leaders.c.holder == holder)
    conn.execute(statement.values(lease_until=at(0)))
