"""Real Redis for tests: a shared one, or a private one to be killed.

The shared one is at BATCHMILL_TEST_REDIS_URL, or else on its standard port; tests touch only queues
of their own there. Only a private one is ever emptied.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

import databases
from support import parts
from support.ports import free_port

VARIABLE = "BATCHMILL_TEST_REDIS_URL"
USUAL = "redis://127.0.0.1:6379/0"


@contextmanager
def own_queue() -> Iterator[tuple[str, str]]:
    """Yield the shared server's address and a queue of the test's own, and empty it afterwards."""
    url, queue = _shared_url(), f"batchmill_test_{uuid4().hex}"
    yield url, queue
    with Redis.from_url(url) as client:
        drop(client, queue)


def drop(client: Redis, queue: str) -> None:
    """Remove all keys of a test's own queue.

    Raises:
        ValueError: It is not a test's own.
    """
    for key in client.scan_iter(f"bull:{databases.ours(queue)}:*", count=1000):
        client.delete(key)


class PrivateRedis:
    """A Redis of the test's own on a free port; it keeps nothing when it is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        program = parts.program("redis-server", "valkey-server", part="redis-server")
        options = {"port": self._port, "bind": "127.0.0.1", "save": "", "dir": self._folder}
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
        for _ in range(3_000):
            try:
                self.client().ping()
            except RedisConnectionError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def freeze(self) -> None:
        """Let it answer nothing more, with its connections open."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> Redis:
        """Return a client to look into it, or to empty it."""
        return Redis.from_url(self.url)


@contextmanager
def private(folder: Path) -> Iterator[PrivateRedis]:
    """Run a Redis that the test may break."""
    server = PrivateRedis(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _shared_url() -> str:
    url = os.environ.get(VARIABLE) or (USUAL if _answers(USUAL) else None)
    return url or parts.missing("Redis")


@cache
def _answers(url: str) -> bool:
    """Say whether a server lets the tests in at its standard port."""
    with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False
