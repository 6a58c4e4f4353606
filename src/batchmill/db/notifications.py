"""PostgreSQL's own notifications: who listens on the channel hears of each batch with work."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, func, select

from batchmill.model.batch import BatchId

CHANNEL: Final = "batchmill"


def notify(conn: Connection, batch_ids: Sequence[BatchId]) -> None:
    """Say that batches have work; heard once the transaction is committed."""
    for batch_id in batch_ids:
        conn.execute(select(func.pg_notify(CHANNEL, batch_id)))
