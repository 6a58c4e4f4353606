"""The HTTP server's application: routes, guards and error answers around one server."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

import batchmill
from batchmill.api.compat import dialects
from batchmill.api.event_hub import EventHub
from batchmill.api.http import openapi_bodies, problems, query_parameters
from batchmill.api.http.forwarded import Proxies
from batchmill.api.http.host_guard import Guard
from batchmill.api.http.metrics import Measured, Requests
from batchmill.api.http.snapshots import Snapshots
from batchmill.api.signed import router as signed_router
from batchmill.api.v1 import (
    batches,
    catalog,
    events,
    items,
    keys,
    queue,
    results,
    session,
    settings,
    storage,
    system,
    uploads,
    webhooks,
    workers,
)
from batchmill.api.v1.uploads import keep_tidy
from batchmill.archives.stream import ArchivePlans
from batchmill.service.context import ServerContext
from batchmill.settings.fields import Settings
from batchmill.settings.loading import Origin

ROUTERS = (
    batches.router,
    uploads.router,
    items.router,
    events.router,
    results.router,
    catalog.router,
    system.router,
    queue.router,
    workers.router,
    storage.router,
    keys.router,
    webhooks.router,
    session.router,
    settings.router,
    *dialects.ROUTERS,
    signed_router,
)

READABLE_HEADERS = (
    *("ETag", "Location", "Retry-After", "Content-Disposition", "Content-Range"),
    *uploads.READABLE_HEADERS,
)
"""What pages of `cors_origins` may read of an answer, beside the usual."""


def create_app(
    server: ServerContext,
    pages: Sequence[BaseRoute] = (),
    origins: Mapping[str, Origin] = MappingProxyType({}),
) -> FastAPI:
    """Build the application; it owns nothing of the server but the folder of arriving files.

    `pages` are the routes of the web page, where there is one; `origins` tells by its path where
    a setting came from that is not a default.

    What changes while it runs lies in its `state`: set `draining` to end streams and readiness,
    and `pool` to the process's own child pool, whose sandbox `/readyz` tells of.
    """
    app = FastAPI(
        title="batchmill",
        version=batchmill.__version__,
        summary="A self-hosted processor for batches of files.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        responses=openapi_bodies.PROBLEMS,
        dependencies=[Depends(query_parameters.only_known)],
    )
    app.state.server = server
    app.state.started = time.monotonic()
    app.state.draining = asyncio.Event()
    app.state.archives = ArchivePlans()
    app.state.event_hub = EventHub(server, app.state.draining)
    app.state.requests = Requests()
    app.state.pool = None
    app.state.origins = origins
    _install_guards(app, server.settings)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.extend(pages)
    app.state.routes = [*(route for router in ROUTERS for route in router.routes), *pages]
    _describe_bodies(app)
    return app


def _install_guards(app: FastAPI, settings: Settings) -> None:
    app.add_middleware(Snapshots)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=READABLE_HEADERS,
        )
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Measured, requests=app.state.requests)
    app.add_middleware(Proxies, trusted=settings.trusted_proxies)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    server: ServerContext = app.state.server
    await asyncio.to_thread(server.uploads.mkdir, parents=True, exist_ok=True)
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(each) for each in (app.state.event_hub.run(), keep_tidy(server))
        ]
        yield
        for task in beside:
            task.cancel()
    await asyncio.to_thread(shutil.rmtree, server.uploads, ignore_errors=True)


def _describe_bodies(app: FastAPI) -> None:
    """Add to OpenAPI what handlers read for themselves."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if not app.openapi_schema:
            schemas = plain().setdefault("components", {}).setdefault("schemas", {})
            schemas.update(openapi_bodies.components())
        return app.openapi_schema or {}

    app.openapi = described  # type: ignore[method-assign]
