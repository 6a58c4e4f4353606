"""The server itself: is it alive, can it take work."""

from fastapi import APIRouter, Request, Response

from batchmill.api import docs_page, serialize
from batchmill.api.context import Ctx
from batchmill.api.health import readiness
from batchmill.api.http.metrics import MEDIA_TYPE, exposition
from batchmill.wire import system

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
