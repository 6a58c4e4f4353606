"""Runs the HTTP server inside our own event loop, under our own signal handling."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from batchmill.api.http.connection import Connection
from batchmill.errors.request import UsageError

SILENCE_S = 20
"""How long a connection may bring no request, and how long a request's headers may take."""


class _Server(uvicorn.Server):
    """A uvicorn that says when it is ready and leaves signals to `bootstrap`."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then say so."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Hold a bound socket for the length of the block; port 0 picks a free one.

    Raises:
        UsageError: the address is in use or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends without Nagle's delay: 40 ms of each small answer.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"Cannot listen on {host}:{port} ({error.strerror}). Stop what runs there, or"
                " choose another port with --port."
            ) from error
        yield listener


async def answer(
    app: Any,  # noqa: ANN401 - any ASGI application
    listener: socket.socket,
    *,
    stopping: asyncio.Event,
    on_ready: Callable[[str], None],
    silence_s: int = SILENCE_S,
) -> None:
    """Answer requests until `stopping` is set; then the running ones have ten seconds to end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # it would believe whoever calls from this machine; see `proxies`
        timeout_graceful_shutdown=10,
        timeout_keep_alive=silence_s,
        http=Connection,
        ws="none",
    )
    server = _Server(config, on_ready=lambda: on_ready(url(listener)))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        stop = group.create_task(stopping.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.cancel()


def is_loopback(host: str) -> bool:
    """Say whether a server on this address hears only its own machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url(listener: socket.socket) -> str:
    """Return the address under which a socket is reached."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
