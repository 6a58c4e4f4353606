"""Pause, resume, cancel, retry, delete: one guarded change of the batch row, then its items.

The batch row takes effect at once, because every claim reads it; the items follow in chunks,
so that no transaction is long and the API answers throughout. Each of these can be called
again after a kill in the middle: the sweep does so for batches that are being cancelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchmill import logs
from batchmill.db import batches, counters, failures, items, pauses, workers
from batchmill.db.connect import Connection
from batchmill.db.types import NOW
from batchmill.errors.request import ConflictError, NotFoundError
from batchmill.logs import Event
from batchmill.model.batch import Batch, BatchId, BatchStatus, OwnerId
from batchmill.model.item import FINAL, ItemId, ItemStatus, WorkerId
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import endings, heartbeat
from batchmill.service.scheduling.endings import BatchEnd
from batchmill.storage import keys

CHUNK_ROWS = 1_000
UNFINISHED = tuple(sorted(set(ItemStatus) - FINAL))
RETRYABLE = (ItemStatus.FAILED, ItemStatus.QUARANTINED, ItemStatus.CANCELLED)
"""What `retry` takes up; `failed` alone means the first two."""


@dataclass(frozen=True, slots=True)
class RetryScope:
    """Which ended items to run again; nothing set means every failed and quarantined one."""

    failure_no: int | None = None
    ids: tuple[ItemId, ...] | None = None
    cancelled: bool = False

    @property
    def statuses(self) -> tuple[ItemStatus, ...]:
        """The statuses that this scope takes up."""
        return RETRYABLE if self.cancelled or self.ids is not None else RETRYABLE[:2]


async def pause(
    server: ServerContext,
    batch_id: BatchId,
    *,
    owner_id: OwnerId | None,
    reason: str = "paused by the user",
) -> Batch:
    """Stop starting items of a batch; running ones finish. Pausing twice changes nothing.

    What workers have claimed and not begun they give back within two seconds.

    Raises:
        NotFoundError: there is no such batch. ConflictError: it has ended.
    """
    batch = await _own(server, batch_id, owner_id)
    _refuse_ended(batch, "pause")
    if batch.status is BatchStatus.FINALIZING:
        raise ConflictError("All files of the batch have ended; there is nothing to pause.")
    await server.database.run(batches.change, batch_id, paused=True, pause_reason=reason)
    logs.info(Event.BATCH_PAUSED, batch=batch_id, reason=reason)
    return await _own(server, batch_id, owner_id)


async def resume(server: ServerContext, batch_id: BatchId, *, owner_id: OwnerId | None) -> Batch:
    """Go on with a paused batch, and try at once what was away. Else resuming changes nothing.

    Raises:
        NotFoundError: there is no such batch. ConflictError: it has ended.
    """
    batch = await _own(server, batch_id, owner_id)
    _refuse_ended(batch, "resume")
    await server.database.run(batches.resume, batch_id)
    logs.info(Event.BATCH_RESUMED, batch=batch_id)
    await server.notify([batch_id])
    return await _own(server, batch_id, owner_id)


async def cancel(server: ServerContext, batch_id: BatchId, *, owner_id: OwnerId | None) -> Batch:
    """End a batch: waiting items are cancelled, running ones stopped, results kept.

    Raises:
        NotFoundError: there is no such batch. ConflictError: it has ended otherwise.
    """
    batch = await _own(server, batch_id, owner_id)
    if batch.status is BatchStatus.CANCELLED:
        return batch
    _refuse_ended(batch, "cancel")
    await server.database.run(batches.start_cancelling, batch_id)
    logs.info(Event.BATCH_CANCELLING, batch=batch_id)
    await finish_cancelling(server, batch_id)
    return await _own(server, batch_id, owner_id)


async def finish_cancelling(server: ServerContext, batch_id: BatchId) -> None:
    """Cancel all items of a batch in status `cancelling`; idempotent."""
    retention_ms = server.settings.retention_s * 1000
    is_more = True
    while is_more:
        is_more, end = await server.database.run(_cancel_chunk, batch_id, retention_ms=retention_ms)
    endings.tell(end)


async def retry(
    server: ServerContext, batch_id: BatchId, scope: RetryScope, *, owner_id: OwnerId | None
) -> int:
    """Run ended items again with fresh budgets, as a new run; return how many.

    Raises:
        NotFoundError: there is no such batch. ConflictError: it is being cancelled.
    """
    batch = await _own(server, batch_id, owner_id)
    if batch.status in (BatchStatus.CANCELLING, BatchStatus.UPLOADING):
        raise ConflictError(f"The batch is {batch.status}; wait until that is over.")
    total = 0
    while moved := await server.database.run(_retry_chunk, batch_id, scope, is_first=not total):
        total += moved
    logs.info(Event.BATCH_RETRIED, batch=batch_id, items=total)
    if total:
        await server.notify([batch_id])
    return total


async def pause_queue(server: ServerContext, reason: str) -> None:
    """Start no item of anybody; running ones finish. It holds until `resume_queue`.

    Other servers and workers learn of it with their next heartbeat, within `renew_s`.
    """
    await server.database.run(pauses.begin, pauses.QUEUE, reason)
    server.vitals.paused, server.vitals.standstill = reason, pauses.sentence(reason)
    logs.info(Event.QUEUE_PAUSED, reason=reason)


async def resume_queue(server: ServerContext) -> None:
    """Let all go on. Resuming a queue that is not paused changes nothing."""
    if await server.database.run(pauses.end, pauses.QUEUE):
        logs.info(Event.QUEUE_RESUMED)
    server.vitals.paused = server.vitals.standstill = None


async def pause_worker(server: ServerContext, worker_id: WorkerId, reason: str) -> None:
    """Let one worker start no item until `resume_worker`, or its end; running ones finish.

    It learns of it with its next heartbeat, within `renew_s`, and gives back what it has not begun.

    Raises:
        NotFoundError: no such process is alive. ConflictError: it only serves.
    """
    await server.database.run(_pause_worker, worker_id, reason)
    if worker_id == server.worker_id:
        heartbeat.note_pause(server, reason)


async def resume_worker(server: ServerContext, worker_id: WorkerId) -> None:
    """Let one worker go on. Resuming one that is not paused changes nothing.

    Raises:
        NotFoundError: no such process is alive.
    """
    await server.database.run(_resume_worker, worker_id)
    if worker_id == server.worker_id:
        heartbeat.note_pause(server, None)


async def close(server: ServerContext, batch_id: BatchId, *, owner_id: OwnerId | None) -> Batch:
    """Accept no more files: the batch ends once its items have. Closing twice changes nothing.

    Raises:
        NotFoundError: there is no such batch.
    """
    await _own(server, batch_id, owner_id)
    retention_ms = server.settings.retention_s * 1000
    endings.tell(await server.database.run(_close, batch_id, retention_ms=retention_ms))
    return await _own(server, batch_id, owner_id)


async def close_left_open(server: ServerContext) -> None:
    """Close batches that nobody closed: what has arrived is processed, and they end."""
    retention_ms = server.settings.retention_s * 1000
    for batch_id in await server.database.read(batches.left_open):
        endings.tell(
            await server.database.run(_close, batch_id, retention_ms=retention_ms, if_left=True)
        )


async def describe(
    server: ServerContext,
    batch_id: BatchId,
    *,
    owner_id: OwnerId | None,
    **values: Any,  # noqa: ANN401 - the columns name, tag, metadata and concurrency
) -> Batch:
    """Change what a batch is called, or how many of its items run at once.

    Raises:
        NotFoundError: there is no such batch.
    """
    await _own(server, batch_id, owner_id)
    if values:
        await server.database.run(batches.change, batch_id, **values)
    if "concurrency" in values:
        await server.notify([batch_id])
    return await _own(server, batch_id, owner_id)


async def delete(server: ServerContext, batch_id: BatchId, *, owner_id: OwnerId | None) -> None:
    """Remove a batch with every byte that belongs to it; a running one is cancelled with it.

    It is gone for all callers at once; the sweep removes its bytes and rows behind.

    Raises:
        NotFoundError: there is no such batch.
    """
    await _own(server, batch_id, owner_id)
    endings.tell(await server.database.run(_start_removing, batch_id))


async def purge(server: ServerContext, batch_id: BatchId) -> None:
    """Remove rows and bytes of a batch, whatever its status; idempotent.

    The bytes go first: while the batch row stands, a kill in the middle leaves work that the
    sweep can see.
    """
    await server.storage.delete_prefix(keys.batch_prefix(batch_id))
    while await server.database.run(items.delete_chunk, batch_id, limit=CHUNK_ROWS):
        pass
    # Again: until its item was gone, a worker may have put a result there.
    await server.storage.delete_prefix(keys.batch_prefix(batch_id))
    await server.database.run(_delete_rows, batch_id)
    logs.info(Event.BATCH_DELETED, batch=batch_id)


async def _own(server: ServerContext, batch_id: BatchId, owner_id: OwnerId | None) -> Batch:
    batch = await server.database.read(batches.get, batch_id, owner_id=owner_id)
    if batch is None:
        raise NotFoundError("batch", batch_id)
    return batch


def _refuse_ended(batch: Batch, verb: str) -> None:
    if batch.status.ended:
        raise ConflictError(f"The batch is {batch.status}; there is nothing to {verb}.")


def _pause_worker(conn: Connection, worker_id: WorkerId, reason: str) -> None:
    if _alive(conn, worker_id).only_serves:
        raise ConflictError("This process only serves; there is nothing to pause.")
    pauses.begin(conn, worker_id, reason)


def _resume_worker(conn: Connection, worker_id: WorkerId) -> None:
    pauses.end(conn, _alive(conn, worker_id).id)


def _alive(conn: Connection, worker_id: WorkerId) -> workers.WorkerRow:
    found = [row for row in workers.alive(conn) if row.id == worker_id]
    if not found:
        raise NotFoundError("worker", worker_id)
    return found[0]


def _cancel_chunk(
    conn: Connection, batch_id: BatchId, *, retention_ms: int
) -> tuple[bool, BatchEnd | None]:
    """Cancel up to `CHUNK_ROWS` items; tell whether more are left, and how the batch ended."""
    batch = batches.lock(conn, batch_id)
    if batch is None or batch.status is not BatchStatus.CANCELLING:
        return False, None
    rows = items.in_status(conn, batch_id, UNFINISHED, limit=CHUNK_ROWS)
    locked = items.lock(conn, [item_id for item_id, _ in rows]) if rows else {}
    deltas = dict.fromkeys(ItemStatus, 0)
    for status in UNFINISHED:
        ids = [item_id for item_id, seen in locked.items() if seen is status]
        moved = items.cancel(conn, ids, seen=status) if ids else 0
        deltas[status] -= moved
        deltas[ItemStatus.CANCELLED] += moved
    over = endings.finish_values(batch, deltas, retention_ms=retention_ms)
    batches.count(conn, batch_id, deltas, **over)
    end = endings.conclude(conn, batch, over, deltas)
    return bool(rows) and not over, end


def _start_removing(conn: Connection, batch_id: BatchId) -> BatchEnd | None:
    """Hide a batch; webhooks of one that runs are told that it was cancelled."""
    batch, end = batches.lock(conn, batch_id), None
    if batch is None:
        return None
    if not batch.status.ended and batch.status is not BatchStatus.UPLOADING:
        over = {"status": BatchStatus.CANCELLED, "ended_at": NOW}
        batches.change(conn, batch_id, **over)
        end = endings.conclude(conn, batch, over, {})
    batches.start_removing(conn, batch_id)
    return end


def _retry_chunk(conn: Connection, batch_id: BatchId, scope: RetryScope, *, is_first: bool) -> int:
    batch = batches.lock(conn, batch_id)
    if batch is None or batch.status is BatchStatus.EXPIRED:
        return 0
    rows = items.failed_ids(
        conn,
        batch_id,
        scope.statuses,
        limit=CHUNK_ROWS,
        failure_no=scope.failure_no,
        ids=scope.ids,
    )
    deltas = dict.fromkeys(ItemStatus, 0)
    for status in scope.statuses:
        ids = [item_id for item_id, seen, _ in rows if seen is status]
        moved = items.reset(conn, ids, seen=status) if ids else 0
        deltas[status] -= moved
        deltas[ItemStatus.PENDING] += moved
    if rows:
        counters.fold(conn, batch_id)  # what a new run begins with stands in the batch's row
    _leave_groups(conn, [no for _, _, no in rows if no is not None])
    if rows:
        finished = endings.counts_after(batch.counts, deltas).finished
        batches.count(conn, batch_id, deltas, **_run(batch, finished, is_first=is_first))
    return len(rows)


def _leave_groups(conn: Connection, numbers: Sequence[int]) -> None:
    for no in set(numbers):
        failures.discount(conn, no, numbers.count(no))


def _run(batch: Batch, finished: int, *, is_first: bool) -> dict[str, Any]:
    """Return the columns of a run in which percent counts from 0: `finished` items stay out of it.

    It is run n+1, but for further chunks of a retry of which nothing has been done yet.
    """
    begun = batch.counts.finished > batch.run_base or batch.run_started_at is not None
    run = {"run_no": batch.run_no + (is_first or begun), "run_base": finished, "turn_at": NOW}
    run |= batches.OUTAGE_OVER
    pace = {"run_started_at": None, "settled_at": None, "run_ms": 0, "run_s2": 0.0, "busy_ms": 0}
    if not batch.status.ended and batch.status is not BatchStatus.FINALIZING:
        return {**run, **pace}
    status = {"status": BatchStatus.QUEUED, "pause_reason": None}
    return {**run, **pace, **status, "ended_at": None, "expires_at": None}


def _close(
    conn: Connection, batch_id: BatchId, *, retention_ms: int, if_left: bool = False
) -> BatchEnd | None:
    """Close a batch; `if_left`: unless files came since it was found left open."""
    batch = batches.lock(conn, batch_id)
    if batch is None or not batch.open:
        return None
    over = endings.finish_values(replace(batch, open=False), {}, retention_ms=retention_ms)
    where = (batches.waits_no_more(),) if if_left else ()
    if not batches.change(conn, batch_id, *where, open=False, **over):
        return None
    return endings.conclude(conn, batch, over, {})


def _delete_rows(conn: Connection, batch_id: BatchId) -> None:
    failures.delete_of_batch(conn, batch_id)
    counters.delete_of_batch(conn, batch_id)
    batches.delete(conn, batch_id)
