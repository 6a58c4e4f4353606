"""Whether the server can take work: database, disk, storage; beside it queue and sandbox."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from batchmill.errors.base import BatchmillError
from batchmill.errors.request import ConflictError
from batchmill.sandbox.in_force import Sandbox
from batchmill.service import figures, outages
from batchmill.service.context import ServerContext
from batchmill.storage.disk import FreeSpace
from batchmill.wire import system

PATIENCE_S = 2.0
"""How long one check may take before it counts as failed."""


async def readiness(
    server: ServerContext, *, draining: bool, sandbox: Sandbox | None = None
) -> system.Readiness:
    """Try everything that accepting a batch needs.

    Five things are told, but the server is ready all the same: a queue that is away and workers
    that start nothing, because batches are accepted and wait in the database; a clean-up that
    waits for an administrator; deliveries that wait for the key of a secret; and an incomplete
    sandbox, because the system it runs on has no better one.
    """
    tried = (_tried(name, check, server) for name, check in (*CHECKS.items(), *TOLD.items()))
    found = await asyncio.gather(*tried)
    checks, told = found[: len(CHECKS)], found[len(CHECKS) :]
    if draining:
        checks.append(system.Check(name="draining", ok=False, message="The server is stopping."))
    ready = all(check.ok for check in checks)
    return system.Readiness(ready=ready, checks=[*checks, *told, *_sandboxed(sandbox)])


def _sandboxed(sandbox: Sandbox | None) -> list[system.Check]:
    """Describe the sandbox of this process's children, where it has any."""
    if sandbox is None:
        return []
    missing = ", ".join(f"{part}: {why}" for part, why in sandbox.missing().items())
    return [system.Check(name="sandbox", ok=sandbox.complete, message=missing or "complete")]


def rss_bytes() -> int | None:
    """Return the memory that this process holds now; None where the system has no /proc."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def _tried(
    name: str, check: Callable[[ServerContext], Awaitable[str]], server: ServerContext
) -> system.Check:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return system.Check(name=name, ok=True, message=await check(server))
    except TimeoutError:
        return system.Check(name=name, ok=False, message=f"No answer within {PATIENCE_S:g} s.")
    except BatchmillError as error:
        return system.Check(name=name, ok=False, message=error.message)


async def _database(server: ServerContext) -> str:
    alive = await figures.alive(server)
    return f"{len(alive)} process(es) alive"


async def _disk(server: ServerContext) -> str:
    space = FreeSpace(server.settings.data_dir, server.settings.disk_reserve_bytes)
    await asyncio.to_thread(space.require)
    return f"{await asyncio.to_thread(space.free_bytes) / 1e9:.1f} GB free"


async def _queue(server: ServerContext) -> str:
    return await server.notifier.check()


async def _work(server: ServerContext) -> str:
    if server.vitals.standstill is not None:
        raise ConflictError(server.vitals.standstill)
    return "goes on"


async def _cleanup(server: ServerContext) -> str:
    pause = await figures.cleanup_pause(server)
    if pause is not None:
        raise ConflictError(f"paused: {pause.reason}")
    return "goes on"


async def _secrets(server: ServerContext) -> str:
    locked = await figures.locked_webhooks(server)
    if locked:
        raise ConflictError(f"{locked} webhook(s) wait for a key that BATCHMILL_SECRET_KEYS lacks")
    return "can be read"


CHECKS: dict[str, Callable[[ServerContext], Awaitable[str]]] = {
    "database": _database,
    "disk": _disk,
    "storage": outages.ask_storage,
}
TOLD: dict[str, Callable[[ServerContext], Awaitable[str]]] = {
    "queue": _queue,
    "work": _work,
    "cleanup": _cleanup,
    "secrets": _secrets,
}
"""What the server takes work without."""
