"""The queue of the whole server: what waits, how fast it goes, and stopping it for a while."""

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.db import pauses, statistics, workers
from batchmill.db.connect import Connection
from batchmill.errors.request import InvalidFieldError
from batchmill.model.batch import OwnerId
from batchmill.model.priority import priority_name
from batchmill.service import batch_control
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
    wanted: requests.QueuePause = checked(requests.QueuePause, sent.value, "The request")
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
    return await ctx.server.database.read(_read, ctx.sees, free_bytes=free_bytes)


def _read(conn: Connection, owner_id: OwnerId | None, *, free_bytes: int | None) -> system.Queue:
    alive = workers.alive(conn)
    pause, cleanup = pauses.standing(conn, pauses.QUEUE), pauses.of_cleanup(conn)
    return system.Queue(
        counts=serialize.counts(statistics.totals(conn, owner_id)),
        slots=sum(worker.slots for worker in alive if not worker.draining),
        workers=sum(worker.slots > 0 for worker in alive),
        paused=pause is not None,
        pause_reason=pause.reason if pause else None,
        paused_at=pause.since if pause else None,
        cleanup_pause_reason=cleanup.reason if cleanup else None,
        lanes=[_lane(lane) for lane in statistics.lanes(conn, owner_id)],
        ended=system.Ended(
            minute=statistics.count_ended(conn, owner_id, window_ms=MINUTE_MS),
            hour=statistics.count_ended(conn, owner_id, window_ms=HOUR_MS),
        ),
        last_day=serialize.counts(statistics.sent_within(conn, owner_id, window_ms=DAY_MS)),
        free_bytes=free_bytes,
    )


def _lane(lane: statistics.LaneCount) -> system.Lane:
    return system.Lane(
        family=lane.family,
        tier=lane.tier,
        rank=priority_name(lane.priority),
        batches=lane.batches,
        oldest_at=lane.oldest_at,
        counts=serialize.counts(lane.counts),
    )
