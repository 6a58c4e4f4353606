"""Failures of a batch grouped by cause: one counter row for each code and normalised message."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, select, update

from batchmill.db import prepared
from batchmill.db.schema import failures, items
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import BatchId
from batchmill.model.item import Failure


@dataclass(frozen=True, slots=True)
class FailureCount:
    """One cause: how many items have it now, when it was first and last seen."""

    no: int
    code: str
    message: str
    retryable: bool
    count: int
    first_at: datetime
    last_at: datetime


def group_of(batch_id: BatchId, failure: Failure, name: str) -> tuple[int, str]:
    """Return the number and the message of the group that a failure of file `name` belongs to.

    The message is normalised: the file's own name and all digits are taken out, so that the
    same cause gives the same group for every file.
    """
    message = failure.message.replace(name, "…") if name else failure.message
    message = re.sub(r"\d+", "#", message)
    digest = hashlib.sha256("\0".join((batch_id, failure.code, message)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1, message[:1000]


@dataclass(frozen=True, slots=True)
class _Group:
    failure: Failure
    message: str
    items: int


class Tally:
    """Failures that are to be counted together, by the group that they belong to."""

    def __init__(self) -> None:
        self.groups: dict[int, _Group] = {}

    def add(self, batch_id: BatchId, failure: Failure, name: str) -> int:
        """Add the failure of file `name`; return the number of its group."""
        no, message = group_of(batch_id, failure, name)
        known = self.groups.get(no)
        self.groups[no] = _Group(failure, message, known.items + 1 if known else 1)
        return no


def count(conn: Connection, batch_id: BatchId, tally: Tally, *, now: Clock = NOW) -> None:
    """Count failures in their groups and create those that are new; always in the same order."""
    for no, group in sorted(tally.groups.items()):
        row = {
            "no": no,
            "batch_id": batch_id,
            "code": group.failure.code,
            "message": group.message,
            "retryable": group.failure.retryable,
            "count": group.items,
        }
        clocks = {"first_at": now, "last_at": now}
        prepared.add_up(conn, failures, row, summed=("count",), renewed=("last_at",), now=clocks)


def discount(conn: Connection, no: int, amount: int) -> None:
    """Take items that are tried again out of their group."""
    left = failures.c.count - amount
    statement = update(failures).where(failures.c.no == no)
    conn.execute(statement.values(count=case((left < 0, 0), else_=left)))


def of_batch(conn: Connection, batch_id: BatchId, *, limit: int = 100) -> Sequence[FailureCount]:
    """Return the groups of a batch that have items now, the largest first."""
    columns = (failures.c[name] for name in FailureCount.__slots__)
    query = (
        select(*columns)
        .where(failures.c.batch_id == batch_id, failures.c.count > 0)
        .order_by(failures.c.count.desc())
        .limit(limit)
    )
    return [FailureCount(*row) for row in conn.execute(query)]


def numbers(conn: Connection, batch_id: BatchId, code: str) -> Sequence[int]:
    """Name the groups of a batch that share an error's code."""
    query = select(failures.c.no).where(failures.c.batch_id == batch_id, failures.c.code == code)
    return list(conn.scalars(query))


def positions(conn: Connection, no: int, *, after: int, limit: int) -> Sequence[int]:
    """Return the positions behind `after` of a group's items, from its index alone."""
    query = select(items.c.position).where(items.c.failure_no == no, items.c.position > after)
    return list(conn.scalars(query.order_by(items.c.position).limit(limit)))


def delete_of_batch(conn: Connection, batch_id: BatchId) -> None:
    """Remove the groups of a batch that is being deleted."""
    conn.execute(failures.delete().where(failures.c.batch_id == batch_id))
