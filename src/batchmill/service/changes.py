"""What has changed in batches that are watched: revisions, and the items that moved."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from batchmill.db import batches, listing
from batchmill.db.connect import Connection
from batchmill.model.batch import Batch, BatchId
from batchmill.model.item import Item
from batchmill.service import queries
from batchmill.service.context import ServerContext


async def several(server: ServerContext, ids: Sequence[BatchId]) -> Sequence[Batch]:
    """Read batches as people see them; those that are gone are left out."""
    found = await server.database.read(batches.several, ids)
    if server.vitals.standstill is None:
        return found
    return [queries.stands(server, batch) for batch in found]


async def revisions(server: ServerContext, ids: Sequence[BatchId]) -> Mapping[BatchId, int]:
    """Read the revisions of batches, in one query."""
    return await server.database.read(batches.revisions, ids)


async def moved_items(
    server: ServerContext, batch_id: BatchId, since: datetime, *, limit: int, running: int
) -> tuple[Sequence[Item], Sequence[Item]]:
    """Read up to `limit` items that ended since an instant, and up to `running` that run.

    Far behind, it goes on from what ended last.
    """
    return await server.database.read(_moved, batch_id, since, limit=limit, running=running)


async def last_ended_at(server: ServerContext, batch_id: BatchId) -> datetime | None:
    """Read when an item of a batch ended last."""
    return await server.database.read(listing.last_ended_at, batch_id)


def _moved(
    conn: Connection, batch_id: BatchId, since: datetime, *, limit: int, running: int
) -> tuple[Sequence[Item], Sequence[Item]]:
    ended = listing.ended_since(conn, batch_id, since, limit=limit)
    if len(ended) == limit:
        last = listing.last_ended_at(conn, batch_id) or since
        ended = [*ended, *listing.ended_since(conn, batch_id, last, limit=1)]
    return ended, listing.running(conn, batch_id, limit=running)
