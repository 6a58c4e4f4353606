"""Dispatch: the only place from which items become queued."""

from batchmill.db import turns
from batchmill.model.batch import BatchId, OwnerId
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import transitions

TURNS = 100
"""Most batches of one owner that one call lets take their turn."""


async def dispatch(server: ServerContext, batch_id: BatchId) -> int:
    """Queue what fits into the window of one batch; return how many items."""
    if server.vitals.holding:
        return 0
    queued = await server.database.run(
        transitions.queue_items, batch_id, window=server.window, caps=server.caps
    )
    await server.notify(queued.messages)
    return len(queued.messages)


async def dispatch_owner(server: ServerContext, owner_id: OwnerId) -> int:
    """Let the owner's batches take turns until their share is full; return how many items."""
    if server.vitals.holding:
        return 0
    total = 0
    for _ in range(TURNS):
        queued = await server.database.run(
            transitions.queue_next_turn, owner_id, window=server.window, caps=server.caps
        )
        await server.notify(queued.messages)
        total += len(queued.messages)
        if not queued.more:
            break
    return total


async def dispatch_waiting(server: ServerContext) -> None:
    """Dispatch what is due and fits: retries, and what a kill after a finish left waiting."""
    for owner_id in await server.database.read(turns.owners_waiting):
        await dispatch_owner(server, owner_id)
