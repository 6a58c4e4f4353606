"""What the reference dialects have in common when they answer."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from batchmill.api.context import RequestContext
from batchmill.errors.request import NotFoundError
from batchmill.model.batch import Batch
from batchmill.model.item import Item
from batchmill.service.queries import ItemFilter


def tell(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON that nobody may keep without asking again."""
    return JSONResponse(body, headers={"Cache-Control": "no-cache", **(headers or {})})


async def batch_of(ctx: RequestContext, batch_id: str, family: str) -> Batch:
    """Read one of the caller's batches of a family.

    Raises:
        NotFoundError: the caller has no such batch.
    """
    batch = await ctx.reading.batch(batch_id)
    if batch.family != family:
        raise NotFoundError("batch", batch_id)
    return batch


async def items_of(ctx: RequestContext, batch: Batch) -> Sequence[Item]:
    """Read all items of a batch, in the order in which they were sent."""
    pages = ctx.reading.every_item(batch, ItemFilter())
    return [item async for page in pages for item in page]


def why_paused(batch: Batch, *, waits: bool = True) -> Mapping[str, Any]:
    """Return what to add to an answer about a batch that stands still; nothing about others."""
    stands = batch.paused or (batch.pause_reason is not None and not batch.status.ended)
    return {"paused": True, "pauseReason": batch.pause_reason} if stands and waits else {}


def saved_pct(item_bytes: int, made_bytes: int) -> float:
    """Return by how many percent a file became smaller, to one decimal; below 0: it grew."""
    return round(100 * (1 - made_bytes / item_bytes), 1) if item_bytes else 0.0


def instant(at: datetime | None) -> str | None:
    """Write an instant as the documents do: UTC with a Z."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None
