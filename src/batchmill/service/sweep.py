"""The sweep: every two seconds one process looks for what a kill or a lost message left behind.

It never decides anything that the database doesn't say: no file times, no memory of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from batchmill import logs
from batchmill.db import access, batches, idempotency, items, webhooks, workers
from batchmill.db.connect import Connection
from batchmill.db.orphans import BATCHES
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import RUNNABLE, BatchId, BatchStatus
from batchmill.model.item import QueueMessage
from batchmill.service import batch_control, orphans, stores
from batchmill.service.context import ServerContext
from batchmill.service.orphans import StoreKind
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.dispatch import dispatch_waiting
from batchmill.storage import keys

Step = Callable[[ServerContext], Awaitable[None]]

LEADER = "sweep"
CHUNK_ROWS = 1_000
MISSED_AFTER_S = 3.0
"""A queued item this old is checked against the engine."""


async def run(server: ServerContext) -> None:
    """Sweep every `sweep_s`, and tidy up now and then, while this process leads.

    Tidying goes on beside the sweep, because a bucket that hangs must not hold up the work.
    Runs until cancelled.
    """
    tidy_s = server.settings.cleanup_interval_ms / 1000
    await server.database.run(workers.enter_leadership, LEADER)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(server, STEPS, server.settings.sweep_s))
            group.create_task(_repeat(server, TIDY_STEPS, tidy_s))
    finally:
        await asyncio.shield(server.database.run(workers.resign, LEADER, server.process_id))


async def _repeat(server: ServerContext, steps: Sequence[Step], every_s: float) -> None:
    while True:
        leads = False
        with _survived():
            leads = await lead(server)
        for step in steps if leads else ():
            with _survived():
                await step(server)
        await asyncio.sleep(every_s)


@contextmanager
def _survived(**fields: str) -> Iterator[None]:
    """Go on behind the block when something is away, or a file can't be removed; tell of it."""
    try:
        yield
    except OutageError as error:
        logs.warning(Event.SWEEP_INTERRUPTED, code=error.code, detail=error.detail, **fields)
    except OSError as error:
        logs.warning(Event.SWEEP_INTERRUPTED, detail=str(error), **fields)


async def lead(server: ServerContext) -> bool:
    """Take or keep the lease that makes this process the one that sweeps."""
    lease_ms = round(server.settings.leader_s * 1000)
    return await server.database.run(workers.lead, LEADER, server.process_id, lease_ms=lease_ms)


async def sweep(server: ServerContext) -> None:
    """Do every step once, in this order; each is idempotent."""
    for step in STEPS + TIDY_STEPS:
        await step(server)


async def take_over(server: ServerContext) -> None:
    """Take up all that another process had: only where no other process can be alive."""
    for batch in await server.database.read(batches.with_status, BatchStatus.PROCESSING):
        await server.database.run(_expire, batch.id)
    await rescue_expired(server)
    await submit_missing(server, older_s=0)


async def rescue_expired(server: ServerContext) -> None:
    """Return items to pending whose worker has not renewed its lease."""
    running = (*sorted(RUNNABLE), BatchStatus.CANCELLING)
    for batch in await server.database.read(batches.with_status, *running):
        while batch.counts.processing:
            rescued = await server.database.run(transitions.rescue, batch.id, limit=CHUNK_ROWS)
            if rescued:
                logs.warning(Event.ITEM_RESCUED, batch=batch.id, items=rescued)
            if rescued < CHUNK_ROWS:
                break


async def finish_cancelled(server: ServerContext) -> None:
    """Go on with cancellations that a kill broke off."""
    for batch in await server.database.read(batches.with_status, BatchStatus.CANCELLING):
        await batch_control.finish_cancelling(server, batch.id)


async def hold_back(server: ServerContext) -> None:
    """Take back what another server queued before it learnt that the queue is paused."""
    if server.vitals.paused is not None:
        await batch_control.withdraw_all(server)


async def submit_missing(server: ServerContext, *, older_s: float = MISSED_AFTER_S) -> None:
    """Ring again for queued items that the engine has lost."""
    for batch in await server.database.read(batches.with_status, *sorted(RUNNABLE)):
        if not batch.counts.queued:
            continue
        rows = await server.database.read(
            items.waiting_deliveries,
            batch.id,
            older_ms=round(older_s * 1000),
            limit=CHUNK_ROWS,
        )
        known = [QueueMessage(item_id, number, batch.priority) for item_id, number in rows]
        lost = await server.engine.missing(known) if known else ()
        if lost:
            logs.warning(Event.ENGINE_LOST, batch=batch.id, items=len(lost))
            await server.notify(lost)


async def forget_dead(server: ServerContext) -> None:
    """Remove the rows of processes that stopped without saying so."""
    await server.database.run(workers.forget_dead)


async def remove_abandoned(server: ServerContext) -> None:
    """Remove uploads that stopped without an end."""
    for batch_id in await server.database.read(batches.abandoned):
        with _survived(batch=batch_id):
            await batch_control.purge(server, batch_id)


async def remove_outdated(server: ServerContext) -> None:
    """Remove what was kept for its time: batches, deliveries, answers for repeated requests."""
    for batch_id in await server.database.read(batches.outdated, limit=CHUNK_ROWS):
        with _survived(batch=batch_id):
            await batch_control.purge(server, batch_id)
    age_ms = server.settings.idempotency_s * 1000
    await server.database.run(idempotency.forget_older, age_ms=age_ms)
    await server.database.run(access.forget_windows)
    age_ms = server.settings.retention_s * 1000
    await server.database.run(webhooks.forget_older, age_ms=age_ms)


async def remove_orphans(server: ServerContext) -> None:
    """Remove, in time, stored folders of batches that the database does not know.

    What lies there under any other name is not ours, and stays.
    """
    kind = StoreKind(
        BATCHES, stores.of_batches(server), batches.existing, partial(_remove_orphan, server)
    )
    if await orphans.may_be_removed(server, kind):
        listed = server.storage.list_folders(keys.BATCHES)
        await orphans.remove(server, kind, {name async for name in listed if keys.is_batch(name)})


async def _remove_orphan(server: ServerContext, name: str) -> None:
    logs.warning(Event.STORAGE_ORPHAN, batch=name)
    await server.storage.delete_prefix(keys.batch_prefix(BatchId(name)))


async def stop_overdue(server: ServerContext) -> None:
    """Cancel batches that have run for longer than their own time limit."""
    for batch_id in await server.database.read(batches.overdue):
        reason = "stopped: its time limit was over"
        await server.database.run(batches.start_cancelling, batch_id, reason=reason)


STEPS: tuple[Step, ...] = (
    rescue_expired,
    stop_overdue,
    finish_cancelled,
    hold_back,
    dispatch_waiting,
    submit_missing,
)
TIDY_STEPS: tuple[Step, ...] = (
    forget_dead,
    batch_control.close_left_open,
    remove_abandoned,
    remove_outdated,
    remove_orphans,
)


def _expire(conn: Connection, batch_id: BatchId) -> None:
    if batches.lock(conn, batch_id) is not None:
        items.expire_leases(conn, batch_id)
