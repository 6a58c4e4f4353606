"""The dialect of reference 004: single images are resized and converted, and fetched by name."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from batchmill.api.compat import allowances, lookup, receive, result_tokens
from batchmill.api.compat.receive import Expected
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.health import readiness, rss_bytes
from batchmill.api.http.idempotency import Keep, respond_once
from batchmill.api.submission import form_files, orders
from batchmill.errors.request import (
    ConflictError,
    InvalidFieldError,
    NotFoundError,
    QueueFullError,
    UsageError,
)
from batchmill.model import media as media_types
from batchmill.model.batch import Batch, Counts
from batchmill.model.families import IMAGES
from batchmill.model.item import Item, ItemStatus, Output
from batchmill.model.media import BY_MIME, MediaType
from batchmill.model.pipeline import Pipeline, Step
from batchmill.operations import presets, registry
from batchmill.service import batch_control, figures
from batchmill.service.batch_control import RetryScope
from batchmill.service.context import Transaction
from batchmill.service.submission.store_files import AnySent, SentFile
from batchmill.service.submission.submit import Order
from batchmill.settings.compat import ImagesSettings

router = APIRouter(prefix="/api", tags=["reference: images"])

LIMITED_TIER: Final = "anonymous"
FIRST_GUESS_MS: Final = 1_000.0
"""What a job is thought to take before the first one has ended."""
STATES: Final = {
    ItemStatus.PENDING: "queued",
    ItemStatus.QUEUED: "queued",
    ItemStatus.PROCESSING: "processing",
    ItemStatus.RETRYING: "retrying",
    ItemStatus.COMPLETED: "completed",
    ItemStatus.SKIPPED: "completed",
}
"""Every other status is `failed` here."""
DAY: Final = timedelta(days=1)
_FILE_NAME: Final = re.compile(r"processed_(itm_[0-9a-z]+)_([0-9a-f]{32})\.([a-z]+)")
_HIGHEST_FIRST: Final = 8
"""004 counts upwards from 0, the normal priority; ours go from 1, the first, over 8 to 15."""


@router.post("/process/single")
async def process_single(request: Request, ctx: Ctx) -> Response:
    """Send one image, in the field `image`; look at its job for the result."""
    return await _process(request, ctx, fields=("image",), most=1)


@router.post("/process/batch")
async def process_batch(request: Request, ctx: Ctx) -> Response:
    """Send several images, in the field `images`; each becomes a job of its own."""
    return await _process(request, ctx, fields=("images",), most=ctx.limits.files_per_request)


@router.get("/job/{job_id}")
async def get_job(job_id: str, ctx: Ctx) -> Response:
    """Look at a job; `result` is there once it is completed, `error` once it failed."""
    item, batch = await ctx.reading.item(job_id)
    if batch.family != IMAGES:
        raise NotFoundError("job", job_id)
    return lookup.tell(
        {
            "jobId": item.id,
            "status": STATES.get(item.status, "failed"),
            "progress": round(100 * item.progress),
            "result": _result(item, batch) if result_tokens.succeeded(item) else None,
            "error": _error(item),
            **lookup.why_paused(batch, waits=not item.status.final),
        }
    )


@router.post("/job/{job_id}/retry")
async def retry_job(job_id: str, request: Request, ctx: Ctx) -> Response:
    """Run a failed job again; it keeps its id and gets all its retries back."""
    usage = await allowances.count_anonymous(request, ctx)
    item, batch = await ctx.reading.item(job_id)
    if batch.family != IMAGES:
        raise NotFoundError("job", job_id)
    await ctx.server.database.read(_require_room, ctx, more=1)
    scope = RetryScope(ids=(item.id,))
    if not await batch_control.retry(ctx.server, batch.id, scope, owner_id=ctx.sees):
        state = STATES.get(item.status, "failed")
        raise ConflictError(f"The job is {state}; only a failed one can be run again.")
    (time_ms,) = await _estimates(ctx, 1)
    message = "Image processing job queued again"
    body = {"success": True, "jobId": item.id, "estimatedTime": time_ms, "message": message}
    return lookup.tell(body, usage)


@router.head("/images/{filename}", include_in_schema=False)
@router.get("/images/{filename}", response_class=Response)
async def image(filename: str, request: Request) -> Response:
    """Download a processed image by the name that its job gave; takes Range and If-None-Match."""
    match = _FILE_NAME.fullmatch(filename)
    if match is None:
        raise NotFoundError("image", filename)
    item_id, token, _ = match.groups()
    for made in await result_tokens.outputs(request, token, item_id):
        return await result_tokens.send(request, replace(made, name=filename))
    raise NotFoundError("image", filename)


@router.get("/stats")
async def stats(request: Request, ctx: Ctx) -> Response:
    """Count the jobs that are still kept, those of the last 24 hours, and say how long one took."""
    server, since = ctx.server, datetime.now(UTC) - DAY
    families, mean_ms, recent = await asyncio.gather(
        figures.by_family(server),
        figures.mean_run_ms(server, IMAGES),
        figures.ended_since(server, IMAGES, since),
    )
    counts = families.get(IMAGES, Counts())
    return lookup.tell(
        {
            "totalJobs": counts.total,
            "completedJobs": counts.completed + counts.skipped,
            "failedJobs": counts.unsuccessful + counts.cancelled,
            "currentQueueSize": counts.waiting + counts.queued,
            "currentProcessingCount": counts.processing,
            "averageProcessingTime": round(mean_ms or 0),
            "completedInLast24h": _number(recent, ItemStatus.COMPLETED, ItemStatus.SKIPPED),
            "failedInLast24h": _number(recent, ItemStatus.FAILED, ItemStatus.QUARANTINED),
            **_process_facts(request),
        }
    )


@router.get("/health")
async def health(request: Request) -> Response:
    """Say whether the server can take work; 503 when it can't.

    `degraded` with a `reason`: it takes work, but no worker starts any.
    """
    state = request.app.state
    found = await readiness(state.server, draining=state.draining.is_set())
    standstill = state.server.vitals.standstill
    status = "healthy" if standstill is None else "degraded"
    body = {
        "status": status if found.ready else "unhealthy",
        "reason": standstill,
        "timestamp": lookup.instant(datetime.now(UTC)),
        **_process_facts(request),
        "checks": {check.name: check.ok for check in found.checks},
    }
    headers = {"Cache-Control": "no-store"}
    return JSONResponse(body, 200 if found.ready else 503, headers)


# ---------------------------------------------------------------- sending


async def _process(
    request: Request, ctx: RequestContext, *, fields: tuple[str, ...], most: int
) -> Response:
    usage = await allowances.count_anonymous(request, ctx)
    settings = ctx.server.settings.images
    await ctx.server.database.read(_require_room, ctx, more=1)
    async with form_files.landing(ctx) as folder:
        expected = Expected(fields, most, settings.file_bytes, "BATCHMILL_IMAGES_FILE_BYTES")
        sent = await receive.receive(request, ctx, folder, expected)
        await _require_formats(sent.files, settings)
        order = Order(_pipeline(settings), _priority(sent.fields.get("priority", "")))

        async def make(_: Keep) -> Response:
            batch = await receive.start(ctx, order, sent.files, also=room)
            return await _queued(ctx, batch, single=most == 1)

        def room(conn: Transaction) -> None:
            _require_room(conn, ctx)

        response = await respond_once(request, ctx, sent.sha256, make)
    response.headers.update(usage)
    return response


def _require_room(conn: Transaction, ctx: RequestContext, *, more: int = 0) -> None:
    """Refuse what would make the queue of callers without a key too long."""
    caller, limit = ctx.caller, ctx.server.settings.images.queue_size
    if caller.tier != LIMITED_TIER:
        return
    if figures.waiting_of_family(conn, IMAGES, tier=LIMITED_TIER) + more > limit:
        raise QueueFullError(limit)


async def _require_formats(files: Sequence[AnySent], settings: ImagesSettings) -> None:
    accepted = formats(settings)

    def takes(_: SentFile, media: MediaType) -> bool:
        return _format(media.mime) in accepted

    await receive.require_types(files, takes, wanted=", ".join(settings.formats))


def formats(settings: ImagesSettings) -> frozenset[str]:
    """Return the formats that are accepted, by the names that jobs show.

    Raises:
        UsageError: there is none, or one that can't be read.
    """
    names = {"tif": "tiff", "heif": "heic"}
    for media in media_types.IMAGES:
        names |= {_format(media.mime): _format(media.mime), media.extension: _format(media.mime)}
    for name in settings.formats:
        if name.lower() not in names:
            readable = ", ".join(sorted(media.extension for media in media_types.IMAGES))
            raise UsageError(
                f"SUPPORTED_FORMATS has {name!r}, which is no format that can be read;"
                f" known are {readable}."
            )
    if not settings.formats:
        raise UsageError("SUPPORTED_FORMATS must name at least one format.")
    return frozenset(names[name.lower()] for name in settings.formats)


def _pipeline(settings: ImagesSettings) -> Pipeline:
    """Return the preset `web` with this document's limits; first of all the size is noted."""
    changes = {
        "resize": {"width": settings.width_px, "height": settings.height_px},
        "convert": {"quality": settings.quality},
    }
    web = orders.with_options(presets.get("web"), changes)
    return registry.check(
        replace(
            web,
            family=IMAGES,
            steps=(Step("measure", id="measure"), *web.steps),
            timeout_s=settings.timeout_ms / 1000,
            retries=settings.retries,
        )
    )


def _priority(wanted: str) -> str | int:
    """Turn 004's priority, where higher numbers run first, into ours."""
    if wanted in {"", "high", "normal", "low"}:
        return wanted or "normal"
    try:
        return max(1, min(15, _HIGHEST_FIRST - int(wanted)))
    except ValueError as error:
        raise InvalidFieldError(
            "`priority` must be a whole number, the higher the sooner."
        ) from error


async def _queued(ctx: RequestContext, batch: Batch, *, single: bool) -> Response:
    items = await lookup.items_of(ctx, batch)
    times_ms = await _estimates(ctx, len(items))
    if single:
        message = "Image processing job queued successfully"
        return lookup.tell(
            {
                "success": True,
                "jobId": items[0].id,
                "estimatedTime": times_ms[0],
                "message": message,
            }
        )
    jobs = [
        {"jobId": item.id, "filename": item.input.name, "estimatedTime": time_ms}
        for item, time_ms in zip(items, times_ms, strict=True)
    ]
    message = f"{len(jobs)} image processing jobs queued successfully"
    return lookup.tell({"success": True, "batchId": batch.id, "jobs": jobs, "message": message})


async def _estimates(ctx: RequestContext, number: int) -> list[int]:
    """Return in how many milliseconds each of the jobs sent last will probably be done."""
    families = await figures.by_family(ctx.server)
    mean_ms = await figures.mean_run_ms(ctx.server, IMAGES) or FIRST_GUESS_MS
    ahead = max(0, families[IMAGES].unfinished - number)
    at_once = ctx.server.settings.images.concurrency
    return [round(mean_ms * ((ahead + place) // at_once + 1)) for place in range(number)]


# ---------------------------------------------------------------- telling


def _result(item: Item, batch: Batch) -> Mapping[str, Any]:
    made = result_tokens.made_of(item)[0]
    source = item.input
    return {
        "success": True,
        "processingTime": item.run_ms,
        "originalFile": {
            "name": source.name,
            "size": source.bytes,
            "format": _format(source.media_type or ""),
            "dimensions": _measured(item),
        },
        "processedFile": _processed(item, batch, made),
        "optimization": {
            "wasResized": _measured(item) != {"width": made.width, "height": made.height},
            "formatChanged": source.media_type != made.media_type,
            "compressionRatio": f"{lookup.saved_pct(source.bytes, made.bytes)}%",
            "sizeSaved": source.bytes - made.bytes,
        },
    }


def _processed(item: Item, batch: Batch, made: Output) -> Mapping[str, Any]:
    extension = BY_MIME[made.media_type].extension
    filename = f"processed_{item.id}_{batch.result_token}.{extension}"
    return {
        "filename": filename,
        "size": made.bytes,
        "format": _format(made.media_type),
        "dimensions": {"width": made.width, "height": made.height},
        "url": f"/api/images/{filename}",
    }


def _measured(item: Item) -> Mapping[str, Any]:
    data = item.result.data if item.result else {}
    return {"width": data.get("measured_width"), "height": data.get("measured_height")}


def _error(item: Item) -> str | None:
    if item.status is ItemStatus.CANCELLED:
        return "The job was cancelled."
    return item.error.message if item.error else None


def _format(mime: str) -> str:
    return mime.rpartition("/")[2]


def _number(counts: Mapping[ItemStatus, int], *statuses: ItemStatus) -> int:
    return sum(counts.get(status, 0) for status in statuses)


def _process_facts(request: Request) -> Mapping[str, Any]:
    uptime_s = time.monotonic() - request.app.state.started
    return {"uptime": round(uptime_s, 1), "memory": {"rss": rss_bytes()}}
