"""The HTTP server's application: routes, guards and error answers around one mill."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

import batchmill
from batchmill.api import bodies, parameters, problems
from batchmill.api.guard import Guard
from batchmill.api.live import Live
from batchmill.api.metrics import Measured, Requests
from batchmill.api.reference import documents, images, photos, sequential
from batchmill.api.reference import results as reference_results
from batchmill.api.v1 import batches, catalog, events, items, keys, results, system
from batchmill.service.archive_out import ArchivePlans
from batchmill.service.mill import Mill

ROUTERS = (
    batches.router,
    items.router,
    events.router,
    results.router,
    catalog.router,
    system.router,
    keys.router,
    sequential.router,
    documents.router,
    photos.router,
    images.router,
    reference_results.router,
)

READABLE_HEADERS = ("ETag", "Location", "Retry-After", "Content-Disposition", "Content-Range")
"""What pages of `cors_origins` may read of an answer, beside the usual."""


def create_app(mill: Mill) -> FastAPI:
    """Build the application; it owns nothing of the mill but the folder of arriving files.

    What changes while it runs lies in its `state`: set `draining` to end streams and readiness,
    and `pool` to the process's own child pool, whose sandbox `/readyz` tells of.
    """
    app = FastAPI(
        title="batchmill",
        version=batchmill.__version__,
        summary="A self-hosted mill for batches of files.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        responses=bodies.PROBLEMS,
        dependencies=[Depends(parameters.only_known)],
    )
    app.state.mill = mill
    app.state.started = time.monotonic()
    app.state.draining = asyncio.Event()
    app.state.archives = ArchivePlans()
    app.state.live = Live(mill, app.state.draining)
    app.state.requests = Requests()
    app.state.pool = None
    if mill.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(mill.settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=READABLE_HEADERS,
        )
    app.add_middleware(Guard, settings=mill.settings)
    app.add_middleware(Measured, requests=app.state.requests)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.state.routes = [route for router in ROUTERS for route in router.routes]
    _describe_bodies(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    mill: Mill = app.state.mill
    await asyncio.to_thread(mill.uploads.mkdir, parents=True, exist_ok=True)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(app.state.live.run())
        yield
        watching.cancel()
    await asyncio.to_thread(shutil.rmtree, mill.uploads, ignore_errors=True)


def _describe_bodies(app: FastAPI) -> None:
    """Add to OpenAPI what handlers read for themselves."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if not app.openapi_schema:
            schemas = plain().setdefault("components", {}).setdefault("schemas", {})
            schemas.update(bodies.components())
        return app.openapi_schema or {}

    app.openapi = described  # type: ignore[method-assign]
