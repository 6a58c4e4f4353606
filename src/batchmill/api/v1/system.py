"""The server itself: is it alive, can it take work, who works."""

import asyncio
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, docs_page, serialize
from batchmill.api.context import Ctx
from batchmill.api.health import readiness
from batchmill.api.http.metrics import MEDIA_TYPE, exposition
from batchmill.service import figures
from batchmill.wire import responses, system

router = APIRouter(tags=["system"])


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process answers."""
    return Response("ok\n", media_type="text/plain", headers={"Cache-Control": "no-store"})


@router.get("/readyz", response_model=system.Readiness)
async def readyz(request: Request) -> Response:
    """Say whether the server can take work; 503 when it can't."""
    state = request.app.state
    found = await readiness(
        state.server,
        draining=state.draining.is_set(),
        sandbox=state.pool.sandbox if state.pool else None,
    )
    return serialize.answer(found, 200 if found.ready else 503)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, ctx: Ctx) -> Response:
    """Give all numbers to Prometheus."""
    streams = len(ctx.event_hub.listeners)
    text = await exposition(ctx.server, request.app.state.requests, streams=streams)
    return Response(text, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show this API to people."""
    text = docs_page.page(request.app.openapi())
    headers = {"Content-Security-Policy": docs_page.CSP}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/v1/workers", response_model=responses.Listing[responses.Worker])
async def list_workers(request: Request, ctx: Ctx) -> Response:
    """List the processes that are alive. Administrators are told where, too."""
    auth.refuse_lists(ctx.caller)
    admin = auth.is_admin(ctx.caller)
    alive, running = await asyncio.gather(
        figures.alive(ctx.server), figures.running_of_workers(ctx.server)
    )
    lease = timedelta(seconds=ctx.server.settings.lease_s)
    found = [
        responses.Worker(
            id=row.id,
            host=row.host if admin else None,
            pid=row.pid if admin else None,
            slots=row.slots,
            draining=row.draining,
            started_at=row.started_at,
            lease_until=row.lease_until,
            seen_at=row.lease_until - lease,
            running=running.get(row.id, 0),
            stats=row.stats,
        )
        for row in alive
    ]
    return serialize.conditional(request, responses.Listing(data=found))
