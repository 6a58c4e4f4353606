"""Who works: the processes that are alive, and pausing one of them for a while."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.errors.request import InvalidFieldError, NotFoundError
from batchmill.model.item import WorkerId
from batchmill.service import batch_control, figures
from batchmill.wire import requests, responses

router = APIRouter(tags=["system"])


@router.get("/v1/workers", response_model=responses.Listing[responses.Worker])
async def list_workers(request: Request, ctx: Ctx) -> Response:
    """List the processes that are alive. Administrators are told where, too."""
    auth.refuse_lists(ctx.caller)
    return serialize.conditional(request, responses.Listing(data=await _alive(ctx)))


@router.post("/v1/workers/{worker_id}/pause", response_model=responses.Worker)
async def pause(request: Request, worker_id: str, ctx: Ctx) -> Response:
    """Let one worker start no item until `resume`; running ones finish. For administrators."""
    auth.refuse_unless_admin(ctx.caller)
    sent = await submissions.read_json(request, ctx)
    wanted: requests.WorkPause = checked(requests.WorkPause, sent.value, "The request")
    await batch_control.pause_worker(ctx.server, WorkerId(worker_id), wanted.reason)
    return serialize.answer(await _one(ctx, worker_id))


@router.post("/v1/workers/{worker_id}/resume", response_model=responses.Worker)
async def resume(request: Request, worker_id: str, ctx: Ctx) -> Response:
    """Let a paused worker go on. For administrators."""
    auth.refuse_unless_admin(ctx.caller)
    if (await submissions.read_json(request, ctx)).value:
        raise InvalidFieldError("This request takes no fields.")
    await batch_control.resume_worker(ctx.server, WorkerId(worker_id))
    return serialize.answer(await _one(ctx, worker_id))


async def _one(ctx: RequestContext, worker_id: str) -> responses.Worker:
    found = [worker for worker in await _alive(ctx) if worker.id == worker_id]
    if not found:  # it has ended since
        raise NotFoundError("worker", worker_id)
    return found[0]


async def _alive(ctx: RequestContext) -> Sequence[responses.Worker]:
    admin = auth.is_admin(ctx.caller)
    alive, running = await asyncio.gather(
        figures.alive(ctx.server), figures.running_of_workers(ctx.server)
    )
    lease = timedelta(seconds=ctx.server.settings.lease_s)
    return [
        responses.Worker(
            id=row.id,
            host=row.host if admin else None,
            pid=row.pid if admin else None,
            slots=row.slots,
            draining=row.draining,
            paused=row.pause_reason is not None,
            pause_reason=row.pause_reason,
            started_at=row.started_at,
            lease_until=row.lease_until,
            seen_at=row.lease_until - lease,
            running=running.get(row.id, 0),
            stats=row.stats,
        )
        for row in alive
    ]
