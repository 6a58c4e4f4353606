"""What a worker answers over HTTP: whether it lives, and whether it can work. Nothing else."""

import asyncio

from fastapi import FastAPI

from batchmill.api.v1 import system
from batchmill.service.context import ServerContext


def create_probes(server: ServerContext, *, draining: asyncio.Event) -> FastAPI:
    """Build the application that the probes of a container platform ask.

    Once `draining` is set the worker lives, and is not ready.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.server = server
    app.state.draining = draining
    app.state.pool = None
    app.add_api_route("/healthz", system.healthz)
    app.add_api_route("/readyz", system.readyz)
    return app
