"""The server itself: is it alive, can it take work, who works, what waits."""

import asyncio

from fastapi import APIRouter, Request, Response

from batchmill import wire
from batchmill.api import answers
from batchmill.api.context import Asking
from batchmill.api.health import readiness
from batchmill.db import batches, workers
from batchmill.model.item import ItemStatus

router = APIRouter(tags=["system"])


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process answers."""
    return Response("ok\n", media_type="text/plain", headers={"Cache-Control": "no-store"})


@router.get("/readyz", response_model=wire.Readiness)
async def readyz(request: Request) -> Response:
    """Say whether the server can take work; 503 when it can't."""
    found = await readiness(request.app.state.mill, draining=request.app.state.draining.is_set())
    return answers.answer(found, 200 if found.ready else 503)


@router.get("/v1/queue", response_model=wire.Queue)
async def queue(request: Request, asking: Asking) -> Response:
    """Count the caller's items over all batches, and say how much runs at once."""
    database = asking.mill.database
    counts, alive = await asyncio.gather(
        database.read(batches.totals, asking.caller.owner_id), database.read(workers.alive)
    )
    by_status = {str(status): getattr(counts, status) for status in ItemStatus}
    body = wire.Queue(
        counts=wire.Counts(total=counts.total, **by_status),
        slots=sum(worker.slots for worker in alive if not worker.draining),
        workers=sum(worker.slots > 0 for worker in alive),
    )
    return answers.conditional(request, body)


@router.get("/v1/workers", response_model=wire.Listing[wire.Worker])
async def browse_workers(request: Request, asking: Asking) -> Response:
    """List the processes that are alive."""
    alive = await asking.mill.database.read(workers.alive)
    found = [
        wire.Worker(
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
    return answers.conditional(request, wire.Listing(data=found))
