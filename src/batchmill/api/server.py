"""Runs the HTTP server inside our own event loop, under our own signal handling."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from batchmill.errors import UsageError


class _Server(uvicorn.Server):
    """A uvicorn that leaves signals to `bootstrap`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 picks a free one.

    Raises:
        UsageError: the address is in use or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"Cannot listen on {host}:{port} ({error.strerror}). Stop what runs there, or choose"
            " another port with --port."
        ) from error
    return listener


async def serve(app: Any, listener: socket.socket, *, stopping: asyncio.Event) -> None:  # noqa: ANN401 - ASGI
    """Answer requests until `stopping` is set; running ones may end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=20,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        stop = group.create_task(stopping.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.cancel()
        await serving
