"""Says that this process lives; learns how many slots there are and whether it is paused."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from batchmill import logs
from batchmill.db import pauses, workers
from batchmill.db.connect import Connection
from batchmill.db.pauses import Pause
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model import ids
from batchmill.model.item import WorkerId
from batchmill.service import outages
from batchmill.service.context import ServerContext
from batchmill.settings.fields import Settings

SPARE_PER_SLOT: Final = 2
CHILD_BYTES: Final = 512 * 2**20
"""What a child may grow to before it is replaced: memory that each must have room for."""
OnLost = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Have nothing to stop."""


async def keep_alive(server: ServerContext, *, slots: int, on_lost: OnLost = nothing) -> None:
    """Renew this process's lease every `renew_s`; takes it out when cancelled.

    `on_lost` stops all that was done under a lease that is over, before there is another.
    """
    try:
        while True:
            await asyncio.sleep(server.settings.renew_s)
            try:
                await renew(server, slots=slots, on_lost=on_lost)
            except OutageError as error:
                server.vitals.silent_s = time.monotonic()
                logs.warning(Event.WORKER_SILENT, code=error.code, detail=error.detail)
            except Exception as error:  # a fault of ours must not end the process
                server.vitals.silent_s = time.monotonic()
                logs.error(Event.INTERNAL_ERROR, exc_info=error)
    finally:
        await asyncio.shield(server.database.run(workers.leave, server.worker_id))


async def enter(server: ServerContext, *, slots: int, before: WorkerId | None = None) -> None:
    """Enter this process, before it takes its first item; `before` is the id of its lost lease."""
    asked_s, stats = time.monotonic(), await _look(server)
    lease = {"slots": 0 if stats else slots, "stats": stats, "lease_ms": server.lease_ms}
    was = None if before is None else _Before(before, server.vitals.worker_paused)
    news = await server.database.run(_enter, server.worker_id, lease, was)
    _note(server, news, asked_s)


async def renew(server: ServerContext, *, slots: int, on_lost: OnLost = nothing) -> None:
    """Renew the lease of this process; one that is over is replaced under another id."""
    asked_s, stats = time.monotonic(), await _look(server)
    lease = {"slots": 0 if stats else slots, "stats": stats, "lease_ms": server.lease_ms}
    news = await server.database.run(_renew, server.worker_id, lease)
    if news is None:
        server.vitals.silent_s = time.monotonic()
        logs.warning(Event.WORKER_LOST, worker=server.worker_id)
        await on_lost()
        before = server.worker_id
        server.vitals.worker_id = ids.worker_id(server.settings.worker_id)
        await enter(server, slots=slots, before=before)
    else:
        _note(server, news, asked_s)
        if time.monotonic() - asked_s > server.settings.renew_s:  # others waited as long
            server.vitals.silent_s = time.monotonic()


async def announce_drain(server: ServerContext) -> None:
    """Tell the others not to count on this process any more."""
    with suppress(OutageError):
        await server.database.run(workers.start_draining, server.worker_id)


def note_pause(server: ServerContext, reason: str | None) -> None:
    """Note that an administrator has paused this process, and why; None: it may go on."""
    if reason != server.vitals.worker_paused:
        event = Event.WORKER_RESUMED if reason is None else Event.WORKER_PAUSED
        logs.info(event, worker=server.worker_id, reason=reason)
        server.vitals.worker_paused = reason


def shortage(settings: Settings) -> str | None:
    """Say what this machine is short of; None while there is enough of everything."""
    try:
        free_bytes = shutil.disk_usage(settings.data_dir).free
    except OSError as error:
        return f"the data folder can't be read: {error.strerror}"
    if free_bytes < settings.disk_reserve_bytes:
        return f"only {free_bytes / 1e9:.1f} GB of disk are free"
    available_bytes = _available_memory_bytes()
    if available_bytes is not None and available_bytes < settings.memory_reserve_bytes:
        return f"only {available_bytes / 1e6:.0f} MB of memory are free"
    return None


def spare_children(settings: Settings) -> int:
    """Return how many idle children beside the slots this machine has memory for.

    At most two for each slot. Below 0 those of the slots are too many too: while memory is so
    short that no item is started, none is kept.
    """
    most = SPARE_PER_SLOT * settings.children
    available_bytes = _available_memory_bytes()
    if available_bytes is None:
        return most
    if available_bytes < settings.memory_reserve_bytes:
        return -settings.children
    room = (available_bytes - settings.memory_reserve_bytes) // CHILD_BYTES
    return max(0, min(most, room - settings.children))


def _available_memory_bytes() -> int | None:
    """Return what Linux could still give to a process; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    return next((int(fields[1]) * 1024 for fields in found), None)


async def _look(server: ServerContext) -> dict[str, Any]:
    """Return what there is to tell of this machine."""
    short_of = await asyncio.to_thread(shortage, server.settings)
    short_of = short_of or await outages.still_away(server)
    if short_of != server.vitals.short_of:
        logs.warning(Event.WORK_PAUSED if short_of else Event.WORK_RESUMED, reason=short_of)
        server.vitals.short_of = short_of
    return {"short_of": short_of} if short_of else {}


@dataclass(frozen=True, slots=True)
class _News:
    slots: int
    workers: int
    pause: Pause | None
    own_pause: Pause | None
    standstill: str | None


@dataclass(frozen=True, slots=True)
class _Before:
    """The id of a process whose lease was over, and why it was paused as far as it knows."""

    worker_id: WorkerId
    paused: str | None


def _note(server: ServerContext, news: _News, asked_s: float) -> None:
    server.vitals.slots, server.vitals.workers = news.slots, news.workers
    server.vitals.paused = news.pause.reason if news.pause else None
    note_pause(server, news.own_pause.reason if news.own_pause else None)
    server.vitals.standstill = news.standstill
    server.vitals.renewed_s = asked_s  # from before the request was sent: the safe side


def _enter(
    conn: Connection, worker_id: WorkerId, lease: dict[str, Any], before: _Before | None
) -> _News:
    workers.enter(conn, worker_id, host=socket.gethostname(), pid=os.getpid(), **lease)
    if before is not None and not pauses.carry_over(conn, before.worker_id, worker_id):
        is_forgotten = not workers.is_entered(conn, before.worker_id)
        if is_forgotten and before.paused is not None:  # its pause was forgotten with it
            pauses.begin(conn, worker_id, before.paused)
    return _news(conn, worker_id)


def _renew(conn: Connection, worker_id: WorkerId, lease: dict[str, Any]) -> _News | None:
    """Return the news; None: the lease was over. `slots` 0: it takes no items now."""
    return _news(conn, worker_id) if workers.renew(conn, worker_id, **lease) else None


def _news(conn: Connection, worker_id: WorkerId) -> _News:
    slots, number = workers.known_slots(conn)
    pause = pauses.standing(conn, pauses.QUEUE)
    if pause is not None:
        standstill: str | None = pauses.sentence(pause.reason)
    else:
        standstill = None if slots else _standstill_of_all(conn)
    return _News(slots, number, pause, pauses.standing(conn, worker_id), standstill)


def _standstill_of_all(conn: Connection) -> str | None:
    """Say why those that work start nothing, where something is short or they are paused."""
    taking = [row for row in workers.alive(conn) if not row.draining]
    short = (row.stats["short_of"] for row in taking if "short_of" in row.stats)
    paused = (row.pause_reason for row in taking if row.pause_reason is not None)
    reasons = (*short, *(f"workers are paused ({reason})" for reason in paused))
    return next((f"No file is started: {reason}." for reason in reasons), None)
