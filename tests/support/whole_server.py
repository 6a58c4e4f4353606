"""The product itself for tests: socket, database, storage, worker and real children, in one."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from batchmill.api.app import create_app
from batchmill.api.server import answer
from batchmill.bootstrap import opened, working
from batchmill.service.context import ServerContext
from batchmill.settings.fields import Settings, TierLimits, Tiers
from batchmill.worker import background, upkeep
from support import asking

T = TypeVar("T")
LOOSE = Tiers(anonymous=TierLimits(submissions_per_minute=100_000))


@dataclass
class WholeServer:
    """A running server, a client without a key, and the loop that it runs in."""

    context: ServerContext
    client: httpx.Client
    url: str
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def until(self, path: str, holds: Callable[[Any], object]) -> Any:
        """Ask for JSON at `path` until it is as wanted; return it."""
        return asking.until(self.client, path, holds)

    def until_status(self, url: str, status: int) -> httpx.Response:
        """Ask for an address until it is answered so; return that answer."""
        for _ in range(1_500):
            answer = httpx.get(url, timeout=60)
            if answer.status_code == status:
                return answer
            threading.Event().wait(0.02)
        raise AssertionError(f"it stayed {answer.status_code}")


@contextmanager
def running(folder: Path, *, with_worker: bool = True, **settings: Any) -> Iterator[WholeServer]:
    """Start a server on a free loopback port and stop it when the block ends.

    A `public_url` of `own` is the server's real address.
    """
    started: list[WholeServer] = []
    ready, stop = threading.Event(), threading.Event()
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    if settings.get("public_url") == "own":
        settings["public_url"] = url
    chosen = Settings(
        **{
            "data_dir": folder,
            "children": 2,
            "disk_reserve_bytes": 0,
            "memory_reserve_bytes": 0,
            "tiers": LOOSE,
            **settings,
        }
    )

    async def main() -> None:
        stopping = asyncio.Event()
        async with opened(chosen) as context, upkeep(context, slots=2 if with_worker else 0):
            app = create_app(context)
            answering = answer(app, sock, stopping=stopping, on_ready=lambda _: ready.set())
            with httpx.Client(base_url=url, timeout=60) as client:
                started.append(WholeServer(context, client, url, asyncio.get_running_loop()))
                async with background(answering) as serving:
                    if with_worker:
                        async with working(context, stopping=stopping):
                            await asyncio.to_thread(stop.wait)
                    else:
                        await asyncio.to_thread(stop.wait)
                    stopping.set()
                    app.state.draining.set()
                    await asyncio.wait({serving})

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(60)
        yield started[0]
    finally:
        stop.set()
        thread.join(60)
        sock.close()
