"""Views by the names of the reference documents."""

from alembic import op

from batchmill.db import views

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply the change."""
    views.create(op.get_bind())
