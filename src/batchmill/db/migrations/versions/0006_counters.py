"""Workers count in rows of their own; batches say what is away, and have end work."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from batchmill.db import views
from batchmill.db.migrations.others import wait_for_others
from batchmill.db.types import Instant, text

revision = "0006"
down_revision = "0005"

_COUNTED = (
    "revision",
    "n_pending",
    "n_queued",
    "n_processing",
    "n_retrying",
    "n_completed",
    "n_failed",
    "n_skipped",
    "n_cancelled",
    "n_quarantined",
    "bytes_done",
    "bytes_out",
    "bytes_saved",
    "run_ms",
)


def upgrade() -> None:
    """Apply the change, or the rest of it: MariaDB keeps what a broken-off try had done.

    Raises:
        OldProcessesError: a process of an older version is at work on this database.
    """
    wait_for_others()
    found = sa.inspect(op.get_bind())
    columns = {column["name"] for column in found.get_columns("batches")}
    for column in _of_batches():
        if column.name not in columns:
            op.add_column("batches", column)
    if "rescued" not in {column["name"] for column in found.get_columns("items")}:
        op.add_column(
            "items", sa.Column("rescued", sa.Integer(), server_default="0", nullable=False)
        )
    if not found.has_table("counters"):
        op.create_table(
            "counters",
            sa.Column("batch_id", text(40), nullable=False),
            sa.Column("worker_id", text(40), nullable=False),
            sa.Column("turn_at", Instant(), server_default="0", nullable=False),
            *(_counter(name) for name in _COUNTED),
            sa.Column("run_s2", sa.Float(), server_default="0", nullable=False),
            sa.PrimaryKeyConstraint("batch_id", "worker_id"),
        )
    views.renew(op.get_bind())


def _of_batches() -> Iterator[sa.Column[Any]]:
    yield sa.Column("outage_since", Instant(), nullable=True)
    yield sa.Column("outage_until", Instant(), nullable=True)
    yield sa.Column("end_work", sa.Boolean(), server_default="0", nullable=False)
    yield sa.Column("end_worker_id", text(40), nullable=True)
    yield sa.Column("end_attempt", sa.Integer(), server_default="0", nullable=False)
    yield sa.Column("end_errors", sa.Integer(), server_default="0", nullable=False)
    yield sa.Column("end_due_at", Instant(), server_default="0", nullable=False)


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
