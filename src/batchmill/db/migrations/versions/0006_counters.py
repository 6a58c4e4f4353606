"""Workers count in rows of their own, which are summed with the batch's."""

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
    if not sa.inspect(op.get_bind()).has_table("counters"):
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


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
