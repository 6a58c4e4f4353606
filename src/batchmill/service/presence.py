"""Says that this process lives, and learns how many slots all workers have together."""

import asyncio
import os
import socket
from typing import Any

from batchmill import logs
from batchmill.db import workers
from batchmill.db.connect import Connection
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.item import WorkerId
from batchmill.service.mill import Mill


async def keep_alive(mill: Mill, *, slots: int) -> None:
    """Enter this process now and every `renew_s`; takes it out when cancelled."""
    try:
        while True:
            await _beat_once(mill, slots)
            await asyncio.sleep(mill.settings.renew_s)
    finally:
        await asyncio.shield(mill.database.run(workers.leave, mill.process_id))


async def enter(mill: Mill, *, slots: int) -> None:
    """Enter this process once, before it takes its first item."""
    mill.slots.number = await mill.database.run(
        _beat, mill.process_id, slots=slots, lease_ms=mill.lease_ms, stats={}
    )


async def _beat_once(mill: Mill, slots: int) -> None:
    try:
        await enter(mill, slots=slots)
    except OutageError as error:
        logs.warning(Event.WORKER_SILENT, code=error.code, detail=error.detail)


def _beat(
    conn: Connection, worker_id: WorkerId, *, slots: int, lease_ms: int, stats: dict[str, Any]
) -> int:
    workers.beat(
        conn,
        worker_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=slots,
        stats=stats,
        lease_ms=lease_ms,
    )
    return workers.known_slots(conn)
