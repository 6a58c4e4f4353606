"""Workers claim items in chunks: shares of owners, attempts that began, and items by worker."""

import sqlalchemy as sa
from alembic import op

from batchmill.db.migrations.others import wait_for_others
from batchmill.db.types import text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply the change, or the rest of it: MariaDB keeps what a broken-off try had done.

    Raises:
        OldProcessesError: a process of an older version is at work on this database.
    """
    wait_for_others()
    found = sa.inspect(op.get_bind())
    columns = {column["name"] for column in found.get_columns("items")}
    for name in {"begun", "lost"} - columns:
        op.add_column("items", _count(name))
    op.execute("UPDATE items SET begun = attempt")
    if "items_by_worker" not in _indexes(found, "items"):
        op.create_index(
            "items_by_worker",
            "items",
            ["worker_id"],
            postgresql_where=sa.text("worker_id IS NOT NULL"),
            sqlite_where=sa.text("worker_id IS NOT NULL"),
        )
    if not found.has_table("shares"):
        op.create_table(
            "shares",
            sa.Column("owner_id", text(40), nullable=False),
            sa.Column("worker_id", text(40), nullable=False),
            sa.Column("slots", sa.Integer(), nullable=False),
            sa.Column("aged_slots", sa.Integer(), nullable=False),
            sa.Column("served_ms", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("owner_id", "worker_id"),
        )
    if not found.has_table("shares") or "shares_by_worker" not in _indexes(found, "shares"):
        op.create_index("shares_by_worker", "shares", ["worker_id"])
    # What an engine was told of has no worker yet: it waits again.
    op.execute("UPDATE items SET status = 'pending', due_at = 0 WHERE status = 'queued'")
    op.execute("UPDATE batches SET n_pending = n_pending + n_queued, n_queued = 0")


def _indexes(found: sa.Inspector, table: str) -> set[str | None]:
    return {index["name"] for index in found.get_indexes(table)}


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)
