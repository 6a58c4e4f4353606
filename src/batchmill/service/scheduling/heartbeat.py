"""Says that this process lives; learns how many slots there are and whether all is paused."""

import asyncio
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchmill import logs
from batchmill.db import pauses, workers
from batchmill.db.connect import Connection
from batchmill.db.pauses import Pause
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.item import WorkerId
from batchmill.service.context import ServerContext
from batchmill.settings.fields import Settings


async def keep_alive(server: ServerContext, *, slots: int) -> None:
    """Enter this process now and every `renew_s`; takes it out when cancelled."""
    try:
        while True:
            await _enter_once(server, slots)
            await asyncio.sleep(server.settings.renew_s)
    finally:
        await asyncio.shield(server.database.run(workers.leave, server.process_id))


async def enter(server: ServerContext, *, slots: int) -> None:
    """Enter this process once, before it takes its first item."""
    short_of = await asyncio.to_thread(shortage, server.settings)
    if short_of != server.vitals.short_of:
        logs.warning(Event.WORK_PAUSED if short_of else Event.WORK_RESUMED, reason=short_of)
        server.vitals.short_of = short_of
    stats = {"short_of": short_of} if short_of else {}
    slots = 0 if short_of else slots  # the others must not count on them
    server.vitals.slots, pause = await server.database.run(
        _record, server.process_id, slots=slots, lease_ms=server.lease_ms, stats=stats
    )
    server.vitals.paused = pause.reason if pause else None


async def announce_drain(server: ServerContext) -> None:
    """Tell the others not to count on this process any more."""
    with suppress(OutageError):
        await server.database.run(workers.start_draining, server.process_id)


def shortage(settings: Settings) -> str | None:
    """Say what this machine is short of; None while there is enough of everything."""
    free_bytes = shutil.disk_usage(settings.data_dir).free
    if free_bytes < settings.disk_reserve_bytes:
        return f"only {free_bytes / 1e9:.1f} GB of disk are free"
    available_bytes = _available_memory_bytes()
    if available_bytes is not None and available_bytes < settings.memory_reserve_bytes:
        return f"only {available_bytes / 1e6:.0f} MB of memory are free"
    return None


def _available_memory_bytes() -> int | None:
    """Return what Linux could still give to a process; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    return next((int(fields[1]) * 1024 for fields in found), None)


async def _enter_once(server: ServerContext, slots: int) -> None:
    try:
        await enter(server, slots=slots)
    except OutageError as error:
        logs.warning(Event.WORKER_SILENT, code=error.code, detail=error.detail)


def _record(
    conn: Connection, worker_id: WorkerId, *, slots: int, lease_ms: int, stats: dict[str, Any]
) -> tuple[int, Pause | None]:
    workers.record_heartbeat(
        conn,
        worker_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=slots,
        stats=stats,
        lease_ms=lease_ms,
    )
    return workers.known_slots(conn), pauses.standing(conn, pauses.QUEUE)
