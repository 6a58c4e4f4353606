"""Waits until no process is at work on a database whose schema is about to change."""

import time

import sqlalchemy as sa
from alembic import op

from batchmill.db.types import NOW
from batchmill.errors.outage import OldProcessesError


def wait_for_others() -> None:
    """Wait until the lease of every process has run out; none that is renewed does.

    No process of this version can be alive yet, so each is of an older one. On SQLite there is
    none: the process that migrates holds the data folder.

    Raises:
        OldProcessesError: a process of an older version is at work on this database.
    """
    if op.get_bind().dialect.name == "sqlite":
        return
    first = dict(_living())
    while living := dict(_living()):
        renewed = sorted(worker for worker, until in living.items() if until != first.get(worker))
        if renewed:
            raise OldProcessesError(renewed)
        time.sleep(0.5)


def _living() -> list[tuple[str, int]]:
    query = sa.text("SELECT id, lease_until FROM workers WHERE lease_until > :now")
    connection = op.get_bind()
    now = connection.scalar(sa.select(NOW))
    return [(row[0], row[1]) for row in connection.execute(query, {"now": now})]
