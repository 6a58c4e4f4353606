"""Whose the stores are, and what lies in them that no batch or upload is known to own."""

import sqlalchemy as sa
from alembic import op

from batchmill.db.types import Instant, text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "installation",
        sa.Column("no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", text(40), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("raised_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
    )
    op.create_table(
        "stores",
        sa.Column("name", text(40), nullable=False),
        sa.Column("marked_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "orphans",
        sa.Column("kind", text(24), nullable=False),
        sa.Column("name", text(40), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
