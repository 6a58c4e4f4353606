"""Numbers about the whole server: what waits, who works, what was done and what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from batchmill.db import batches, listing, pauses, statistics, turns, webhooks, workers
from batchmill.db.connect import Connection
from batchmill.db.pauses import Pause
from batchmill.db.statistics import LaneCount
from batchmill.db.workers import WorkerRow
from batchmill.model.batch import Batch, BatchStatus, Counts, OwnerId
from batchmill.model.item import ItemStatus, WorkerId
from batchmill.service.context import ServerContext

__all__ = ["LaneCount", "Pause", "QueueFigures", "WorkerRow"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The queue as it is at one moment, of one owner or, without one, of all."""

    totals: Counts
    alive: Sequence[WorkerRow]
    pause: Pause | None
    cleanup_pause: Pause | None
    lanes: Sequence[LaneCount]
    families: Mapping[str, Counts]
    ended_minute: int
    ended_hour: int
    last_day: Counts


async def queue(server: ServerContext, owner_id: OwnerId | None) -> QueueFigures:
    """Read all that the queue's page shows, in one transaction."""
    return await server.database.read(_queue, owner_id)


def _queue(conn: Connection, owner_id: OwnerId | None) -> QueueFigures:
    return QueueFigures(
        totals=statistics.totals(conn, owner_id),
        alive=workers.alive(conn),
        pause=pauses.standing(conn, pauses.QUEUE),
        cleanup_pause=pauses.of_cleanup(conn),
        lanes=statistics.lanes(conn, owner_id),
        families=statistics.by_family(conn, owner_id),
        ended_minute=statistics.count_ended(conn, owner_id, window_ms=MINUTE_MS),
        ended_hour=statistics.count_ended(conn, owner_id, window_ms=HOUR_MS),
        last_day=statistics.sent_within(conn, owner_id, window_ms=DAY_MS),
    )


async def totals(server: ServerContext) -> Counts:
    """Count the items of all batches by status."""
    return await server.database.read(statistics.totals, None)


async def alive(server: ServerContext) -> Sequence[WorkerRow]:
    """Return the processes whose lease has not run out."""
    return await server.database.read(workers.alive)


async def running_of_workers(server: ServerContext) -> Mapping[WorkerId, int]:
    """Count the items that each worker has under way."""
    return await server.database.read(statistics.running_of_workers)


async def known_slots(server: ServerContext) -> int:
    """Return how many items can be processed at once."""
    slots, _ = await server.database.read(workers.known_slots)
    return slots


async def cleanup_pause(server: ServerContext) -> Pause | None:
    """Return why the removal of unknown files waits for an administrator; None: it does not."""
    return await server.database.read(pauses.of_cleanup)


async def locked_webhooks(server: ServerContext) -> int:
    """Count the webhooks whose secrets no configured key opens."""
    return await server.database.read(webhooks.count_locked, server.seals.prefixes)


async def by_family(server: ServerContext) -> Mapping[str, Counts]:
    """Count the items of each family by status."""
    return await server.database.read(statistics.by_family)


async def batches_by_status(
    server: ServerContext, family: str
) -> Mapping[tuple[BatchStatus, bool], int]:
    """Count the batches of a family by status, and by whether a reason stands beside it."""
    return await server.database.read(statistics.batches_by_status, family)


async def mean_run_ms(server: ServerContext, family: str) -> float | None:
    """Return how long an item of a family takes in the mean; None: none has ended."""
    return await server.database.read(statistics.mean_run_ms, family)


async def ended_since(
    server: ServerContext, family: str, since: datetime
) -> Mapping[ItemStatus, int]:
    """Count the items of a family that have ended since an instant, by status."""
    return await server.database.read(statistics.ended_since, family, since)


def waiting_of_family(conn: Connection, family: str, *, tier: str) -> int:
    """Count the items of a family and tier that wait, within a transaction."""
    return turns.waiting_of_family(conn, family, tier=tier)


async def latest_batches(
    server: ServerContext,
    owner_id: OwnerId,
    *,
    limit: int,
    skip: int = 0,
    only: batches.BatchFilter | None = None,
) -> Sequence[Batch]:
    """Return an owner's batches, newest first."""
    only = only or batches.BatchFilter()
    return await server.database.read(batches.page, owner_id, limit=limit, skip=skip, only=only)


async def mean_cost_usd(
    server: ServerContext, alike: Sequence[Batch], *, files: int
) -> float | None:
    """Return what a file of the latest of these batches has cost in the mean, from some files."""
    return await server.database.read(_mean_cost_usd, alike, files=files)


def _mean_cost_usd(conn: Connection, alike: Sequence[Batch], *, files: int) -> float | None:
    costs: list[float] = []
    completed = listing.ItemFilter(status=ItemStatus.COMPLETED)
    for batch in alike:
        if len(costs) >= files:
            break
        for item in listing.page(conn, batch.id, limit=files, only=completed):
            data = item.result.data if item.result else {}
            cost = data.get("usage", {}).get("cost_usd")
            costs += [] if cost is None else [float(cost)]
    return sum(costs) / len(costs) if costs else None
