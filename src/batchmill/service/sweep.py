"""The sweep: every two seconds one process looks for what a kill left behind.

It never decides anything that the database doesn't say: no file times, no memory of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from batchmill import logs
from batchmill.db import (
    access,
    batches,
    counters,
    ends,
    idempotency,
    items,
    pauses,
    shares,
    uploads,
    webhooks,
    workers,
)
from batchmill.db.connect import Connection
from batchmill.db.orphans import BATCHES, DIRECT_UPLOADS
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import BatchId, BatchStatus
from batchmill.model.item import Claim, WorkerId
from batchmill.model.upload import UploadId
from batchmill.service import batch_control, orphans, stores
from batchmill.service.context import ServerContext
from batchmill.service.orphans import StoreKind
from batchmill.service.scheduling import endings, overdue, transitions
from batchmill.service.scheduling.finishing import tell_all
from batchmill.storage import keys

Step = Callable[[ServerContext], Awaitable[None]]

LEADER = "sweep"
CHUNK_ROWS = 1_000


async def run(server: ServerContext) -> None:
    """Sweep every `sweep_s`, and tidy up now and then, while this process leads.

    Removing and tidying go on beside the sweep, because a large batch or a bucket that hangs must
    not hold up the work.
    Runs until cancelled.
    """
    tidy_s = server.settings.cleanup_interval_ms / 1000
    await server.database.run(workers.enter_leadership, LEADER)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(server, STEPS, server.settings.sweep_s))
            group.create_task(_repeat(server, REMOVING_STEPS, server.settings.sweep_s))
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
    except Exception as error:  # a fault of ours must not end the process
        logs.error(Event.INTERNAL_ERROR, exc_info=error, **fields)


async def lead(server: ServerContext) -> bool:
    """Take or keep the lease that makes this process the one that sweeps."""
    lease_ms = round(server.settings.leader_s * 1000)
    return await server.database.run(workers.lead, LEADER, server.process_id, lease_ms=lease_ms)


async def sweep(server: ServerContext) -> None:
    """Do every step once, in this order; each is idempotent."""
    for step in STEPS + REMOVING_STEPS + TIDY_STEPS:
        await step(server)


async def take_over(server: ServerContext) -> None:
    """Take up all that another process had: only where no other process can be alive."""
    await server.database.run(workers.end_all)
    await rescue_lost(server)


async def rescue_lost(server: ServerContext) -> None:
    """Return to pending what workers had whose lease is over, or who have left.

    What they had counts against their owners' turns no longer.
    """
    await server.database.run(shares.free_gone)
    await server.database.run(ends.free_gone)
    for worker_id in await server.database.read(workers.gone):
        while rows := await server.database.read(items.of_worker, worker_id, limit=CHUNK_ROWS):
            by_batch: dict[BatchId, list[Claim]] = {}
            for row in rows:
                by_batch.setdefault(row.claim.batch_id, []).append(row.claim)
            rescued = 0
            for batch_id, claims in by_batch.items():
                rescue = await server.database.run(
                    transitions.rescue,
                    batch_id,
                    worker_id,
                    claims,
                    retention_ms=server.settings.retention_s * 1000,
                    is_blamed=worker_id != server.worker_id and _was_heard(server),
                )
                rescued += rescue.items
                tell_all(rescue.ended)
            if not rescued:
                break
            logs.warning(Event.ITEM_RESCUED, worker=worker_id, items=rescued)
            await server.notify(list(by_batch))


def _was_heard(server: ServerContext) -> bool:
    """Say whether the database heard this process all the time: if not, it heard others no better.

    Then a worker that fell silent is not one that a file killed.
    """
    now_s, vitals, lease_s = time.monotonic(), server.vitals, server.settings.lease_s
    is_fresh = now_s - vitals.renewed_s < lease_s
    return is_fresh and (vitals.silent_s is None or now_s - vitals.silent_s > 2 * lease_s)


async def finish_cancelled(server: ServerContext) -> None:
    """Go on with cancellations that a kill broke off."""
    for batch in await server.database.read(batches.with_status, BatchStatus.CANCELLING):
        await batch_control.finish_cancelling(server, batch.id)


async def end_finished(server: ServerContext) -> None:
    """End batches of which nothing is left, should their last finish have missed it."""
    retention_ms = server.settings.retention_s * 1000
    for batch_id in await server.database.read(batches.without_work):
        endings.tell(
            await server.database.run(endings.end_finished, batch_id, retention_ms=retention_ms)
        )


async def forget_dead(server: ServerContext) -> None:
    """Remove the rows of processes that stopped without saying so, and what owners had of them.

    Pauses of workers that are gone go too. What they had counted goes into the batches' rows.
    """
    await server.database.run(workers.forget_dead)
    await server.database.run(pauses.forget_gone)
    await server.database.run(shares.forget_gone)
    for batch_id, gone in (await server.database.read(counters.left_behind)).items():
        await server.database.run(_fold, batch_id, gone)


def _fold(conn: Connection, batch_id: BatchId, gone: Collection[WorkerId]) -> None:
    batches.lock(conn, batch_id)
    counters.fold(conn, batch_id, only=gone)


async def remove_deleted(server: ServerContext) -> None:
    """Remove batches that their owners have deleted, or go on with it after a kill."""
    for batch in await server.database.read(batches.with_status, BatchStatus.EXPIRED):
        with _survived(batch=batch.id):
            await batch_control.purge(server, batch.id)


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
    """Remove, in time, stored folders of batches, and uploads, that the database does not know.

    What lies there under any other name is not ours, and stays. An address for an upload outlives
    the upload: what is put there once a batch has taken it belongs to nothing.
    """
    shared = stores.of_batches(server)
    kind = StoreKind(BATCHES, shared, batches.existing, partial(_remove_orphan, server))
    if not await orphans.may_be_removed(server, kind):
        return
    listed = server.storage.list_folders(keys.BATCHES)
    await orphans.remove(server, kind, {name async for name in listed if keys.is_batch(name)})
    kind = StoreKind(DIRECT_UPLOADS, shared, uploads.existing, partial(_remove_upload, server))
    listed = server.storage.list_files(keys.DIRECT_UPLOADS)
    found = {name async for name in listed if keys.is_direct_upload(name)}
    await orphans.remove(server, kind, found)


async def _remove_orphan(server: ServerContext, name: str) -> None:
    logs.warning(Event.STORAGE_ORPHAN, batch=name)
    await server.storage.delete_prefix(keys.batch_prefix(BatchId(name)))


async def _remove_upload(server: ServerContext, name: str) -> None:
    logs.warning(Event.STORAGE_ORPHAN, upload=name)
    await server.storage.delete([keys.upload_key(UploadId(name))])


async def stop_overdue(server: ServerContext) -> None:
    """Stop batches that have run for longer than their own time limit."""
    retention_ms = server.settings.retention_s * 1000
    for batch_id in await server.database.read(batches.overdue):
        ended = await server.database.run(overdue.stop, batch_id, retention_ms=retention_ms)
        tell_all(ended)


STEPS: tuple[Step, ...] = (
    rescue_lost,
    stop_overdue,
    finish_cancelled,
    end_finished,
)
REMOVING_STEPS: tuple[Step, ...] = (remove_deleted,)
TIDY_STEPS: tuple[Step, ...] = (
    forget_dead,
    batch_control.close_left_open,
    remove_abandoned,
    remove_outdated,
    remove_orphans,
)
