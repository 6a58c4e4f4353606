"""The server itself: is it alive, can it take work, who works, what waits."""

import asyncio

from fastapi import APIRouter, Request, Response

from batchmill.api import answers, docs_page
from batchmill.api.context import Asking
from batchmill.api.health import readiness
from batchmill.api.metrics import MEDIA_TYPE, exposition
from batchmill.db import batches, workers
from batchmill.model.item import ItemStatus
from batchmill.wire import told

router = APIRouter(tags=["system"])


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process answers."""
    return Response("ok\n", media_type="text/plain", headers={"Cache-Control": "no-store"})


@router.get("/readyz", response_model=told.Readiness)
async def readyz(request: Request) -> Response:
    """Say whether the server can take work; 503 when it can't."""
    state = request.app.state
    found = await readiness(
        state.mill,
        draining=state.draining.is_set(),
        sandbox=state.pool.sandbox if state.pool else None,
    )
    return answers.answer(found, 200 if found.ready else 503)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, asking: Asking) -> Response:
    """Give all numbers to Prometheus."""
    streams = len(asking.live.listeners)
    text = await exposition(asking.mill, request.app.state.requests, streams=streams)
    return Response(text, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show this API to people."""
    text = docs_page.page(request.app.openapi())
    headers = {"Content-Security-Policy": docs_page.CSP}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/v1/queue", response_model=told.Queue)
async def queue(request: Request, asking: Asking) -> Response:
    """Count the caller's items over all batches, and say how much runs at once."""
    database = asking.mill.database
    counts, alive = await asyncio.gather(
        database.read(batches.totals, asking.caller.owner_id), database.read(workers.alive)
    )
    by_status = {str(status): getattr(counts, status) for status in ItemStatus}
    body = told.Queue(
        counts=told.Counts(total=counts.total, **by_status),
        slots=sum(worker.slots for worker in alive if not worker.draining),
        workers=sum(worker.slots > 0 for worker in alive),
    )
    return answers.conditional(request, body)


@router.get("/v1/workers", response_model=told.Listing[told.Worker])
async def browse_workers(request: Request, asking: Asking) -> Response:
    """List the processes that are alive."""
    alive = await asking.mill.database.read(workers.alive)
    found = [
        told.Worker(
            id=row.id,
            host=row.host,
            pid=row.pid,
            slots=row.slots,
            draining=row.draining,
            started_at=row.started_at,
            lease_until=row.lease_until,
            stats=row.stats,
        )
        for row in alive
    ]
    return answers.conditional(request, told.Listing(data=found))
