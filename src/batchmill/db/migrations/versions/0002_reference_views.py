"""Views by the names of the reference documents: 0006 makes them, which needs newer tables."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change nothing: a database that had this step has the views, and 0006 renews them."""
