"""The queue of the whole server: what waits, how fast it goes, and stopping it for a while."""

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.errors.request import InvalidFieldError
from batchmill.model.priority import priority_name
from batchmill.service import batch_control, figures
from batchmill.wire import requests, system

router = APIRouter(tags=["system"])

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@router.get("/v1/queue", response_model=system.Queue)
async def queue(request: Request, ctx: Ctx) -> Response:
    """Count what waits and runs, and say how much runs at once; an admin's key sees everybody's."""
    return serialize.conditional(request, await _queue(ctx))


@router.post("/v1/queue/pause", response_model=system.Queue)
async def pause(request: Request, ctx: Ctx) -> Response:
    """Start no item of anybody until `resume`; running ones finish. For administrators."""
    auth.refuse_unless_admin(ctx.caller)
    sent = await submissions.read_json(request, ctx)
    wanted: requests.WorkPause = checked(requests.WorkPause, sent.value, "The request")
    await batch_control.pause_queue(ctx.server, wanted.reason)
    return serialize.answer(await _queue(ctx))


@router.post("/v1/queue/resume", response_model=system.Queue)
async def resume(request: Request, ctx: Ctx) -> Response:
    """Go on after `pause`. For administrators."""
    auth.refuse_unless_admin(ctx.caller)
    if (await submissions.read_json(request, ctx)).value:
        raise InvalidFieldError("This request takes no fields.")
    await batch_control.resume_queue(ctx.server)
    return serialize.answer(await _queue(ctx))


async def _queue(ctx: RequestContext) -> system.Queue:
    free_bytes = await ctx.server.storage.free_bytes()
    now = await figures.queue(ctx.server, ctx.sees)
    alive, pause, cleanup = now.alive, now.pause, now.cleanup_pause
    return system.Queue(
        counts=serialize.counts(now.totals),
        slots=sum(worker.open_slots for worker in alive),
        workers=sum(worker.slots > 0 for worker in alive),
        paused=pause is not None,
        pause_reason=pause.reason if pause else None,
        paused_at=pause.since if pause else None,
        standstill=ctx.server.vitals.standstill if pause is None else None,
        cleanup_pause_reason=cleanup.reason if cleanup else None,
        families={name: serialize.counts(each) for name, each in now.families.items()},
        lanes=[_lane(lane) for lane in now.lanes],
        ended=system.Ended(
            minute=now.ended_minute,
            hour=now.ended_hour,
        ),
        last_day=serialize.counts(now.last_day),
        free_bytes=free_bytes,
    )


def _lane(lane: figures.LaneCount) -> system.Lane:
    return system.Lane(
        family=lane.family,
        tier=lane.tier,
        rank=priority_name(lane.priority),
        batches=lane.batches,
        oldest_at=lane.oldest_at,
        counts=serialize.counts(lane.counts),
    )
