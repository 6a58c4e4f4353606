"""How long a batch will take and what it will cost, judged by the caller's earlier batches."""

from typing import Final

from batchmill.api.context import RequestContext
from batchmill.model import pipeline as pipelines
from batchmill.model.batch import BatchStatus
from batchmill.model.pipeline import Pipeline
from batchmill.model.progress import forecast
from batchmill.service import figures
from batchmill.wire import responses

LATEST_BATCHES: Final = 50
LATEST_FILES: Final = 50


async def estimate(
    ctx: RequestContext, pipeline: Pipeline, files: int
) -> responses.Estimate | None:
    """Return what `files` will probably take; None where nothing is known of such a pipeline."""
    server = ctx.server
    latest = await figures.latest_batches(server, ctx.caller.owner_id, limit=LATEST_BATCHES)
    alike = [
        batch
        for batch in latest
        if batch.status is not BatchStatus.UPLOADING  # its steps are not known yet
        and pipelines.parse(batch.pipeline).digest() == pipeline.digest()
    ]
    slots = await figures.known_slots(server)
    side_by_side = min(slots, pipeline.concurrency or slots)
    seconds = forecast(alike, files, side_by_side)
    if seconds is None:
        return None
    cost_usd = await figures.mean_cost_usd(server, alike, files=LATEST_FILES)
    return responses.Estimate(
        low_seconds=round(seconds[0], 1),
        high_seconds=round(seconds[1], 1),
        slots=side_by_side,
        known_files=sum(batch.counts.finished - batch.run_base for batch in alike),
        cost_usd=None if cost_usd is None else round(cost_usd * files, 6),
    )
