"""Webhooks with their notices, uploads that go on, a queue that is paused, inputs without bytes."""

import sqlalchemy as sa
from alembic import op

from batchmill.db.types import Instant, text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply the change."""
    op.add_column("batches", sa.Column("webhook_id", text(40), nullable=True))
    op.add_column("items", sa.Column("input_absent", text(200), nullable=True))
    _retype_uses(sa.Integer(), sa.BigInteger())
    _create_webhooks()
    op.create_table(
        "pauses",
        sa.Column("name", text(40), nullable=False),
        sa.Column("reason", text(200), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", text(40), nullable=False),
        sa.Column("owner_id", text(40), nullable=False),
        sa.Column("name", text(1024), nullable=False),
        sa.Column("metadata", text(4000), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("uploads_by_expiry", "uploads", ["expires_at"], unique=False)
    op.create_index("uploads_by_owner", "uploads", ["owner_id"], unique=False)


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", text(40), nullable=False),
        sa.Column("owner_id", text(40), nullable=False),
        sa.Column("url", text(2_000), nullable=False),
        sa.Column("secret", text(100), nullable=False),
        sa.Column("every_batch", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhooks_by_owner", "webhooks", ["owner_id", "id"], unique=False)
    op.create_table(
        "notices",
        sa.Column("id", text(40), nullable=False),
        sa.Column("webhook_id", text(40), nullable=False),
        sa.Column("batch_id", text(40), nullable=False),
        sa.Column("status", text(12), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("answered", sa.Integer(), nullable=True),
        sa.Column("error", text(200), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("notices_by_age", "notices", ["created_at"], unique=False)
    op.create_index("notices_by_due", "notices", ["status", "due_at", "webhook_id"], unique=False)
    op.create_index("notices_by_webhook", "notices", ["webhook_id", "id"], unique=False)


def _retype_uses(before: sa.Integer, after: sa.Integer) -> None:
    """Change how much `used` holds; SQLite makes the table anew for that."""
    with op.batch_alter_table("rate_windows") as table:
        table.alter_column("used", type_=after, existing_type=before, existing_nullable=False)
