"""How long a batch will take and what it will cost, judged by the caller's earlier batches."""

from collections.abc import Sequence
from typing import Final

from batchmill.api.context import RequestContext
from batchmill.db import batches, listing, workers
from batchmill.db.connect import Connection
from batchmill.model import pipeline as pipelines
from batchmill.model.batch import Batch, BatchStatus
from batchmill.model.item import ItemStatus
from batchmill.model.pipeline import Pipeline
from batchmill.model.progress import forecast
from batchmill.wire import responses

LATEST_BATCHES: Final = 50
LATEST_FILES: Final = 50


async def estimate(
    ctx: RequestContext, pipeline: Pipeline, files: int
) -> responses.Estimate | None:
    """Return what `files` will probably take; None where nothing is known of such a pipeline."""
    database, owner_id = ctx.server.database, ctx.caller.owner_id
    latest = await database.read(batches.page, owner_id, limit=LATEST_BATCHES)
    alike = [
        batch
        for batch in latest
        if batch.status is not BatchStatus.UPLOADING  # its steps are not known yet
        and pipelines.parse(batch.pipeline).digest() == pipeline.digest()
    ]
    slots = await database.read(workers.known_slots)
    side_by_side = min(slots, pipeline.concurrency or slots)
    seconds = forecast(alike, files, side_by_side)
    if seconds is None:
        return None
    cost_usd = await database.read(_mean_cost_usd, alike)
    return responses.Estimate(
        low_seconds=round(seconds[0], 1),
        high_seconds=round(seconds[1], 1),
        slots=side_by_side,
        known_files=sum(batch.counts.finished - batch.run_base for batch in alike),
        cost_usd=None if cost_usd is None else round(cost_usd * files, 6),
    )


def _mean_cost_usd(conn: Connection, alike: Sequence[Batch]) -> float | None:
    """Return what a file of the latest of these batches has cost in the mean."""
    costs: list[float] = []
    completed = listing.ItemFilter(status=ItemStatus.COMPLETED)
    for batch in alike:
        if len(costs) >= LATEST_FILES:
            break
        for item in listing.page(conn, batch.id, limit=LATEST_FILES, only=completed):
            data = item.result.data if item.result else {}
            cost = data.get("usage", {}).get("cost_usd")
            costs += [] if cost is None else [float(cost)]
    return sum(costs) / len(costs) if costs else None
