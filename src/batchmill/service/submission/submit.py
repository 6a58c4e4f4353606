"""Submit: files become a batch. The answer is given after the bytes and the rows are durable.

    begin ──► (bytes arrive) ──► accept ──► notify

A batch row exists, in status `uploading`, before its first byte is stored, so that the sweep
can tell from the database alone what a broken upload left behind.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from batchmill import logs
from batchmill.db import access, batches, items
from batchmill.db.connect import Connection
from batchmill.db.types import NOW
from batchmill.errors.amounts import size
from batchmill.errors.outage import OutageError
from batchmill.errors.request import (
    ConflictError,
    EmptyBatchError,
    InvalidOptionError,
    NotFoundError,
    TooLargeError,
)
from batchmill.logs import Event
from batchmill.model import ids
from batchmill.model import pipeline as pipelines
from batchmill.model.access import ApiKey
from batchmill.model.batch import LOCAL_OWNER, Batch, BatchDraft, BatchId, BatchStatus, OwnerId
from batchmill.model.item import ItemStatus, NewItem
from batchmill.model.pipeline import Pipeline
from batchmill.model.priority import engine_priority
from batchmill.operations import registry
from batchmill.service import batch_control, webhooks
from batchmill.service.context import ServerContext
from batchmill.service.submission.store_files import AnySent, SentFile, stored
from batchmill.settings.fields import tier_variable

Also = Callable[[Connection], None]
"""Something to be done in the same transaction; it may run more than once after a deadlock."""
_OPEN_MS: Final = 31 * 86_400_000
"""Longer than a batch is kept open; then its count is forgotten."""
Take = Callable[[Sequence[AnySent]], Also]
"""What is to be done in the transaction that adds the first items of some files."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Owner and tier come from the key alone.

    Callers without a key share one owner, so they may look at what they can name and no more.
    """

    owner_id: OwnerId = LOCAL_OWNER
    tier: str = "anonymous"
    key: ApiKey | None = None
    may_list: bool = True


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller may choose about a batch; the pipeline is checked already.

    Whoever knows the `result_token` may read the results, without a key. `webhook` is the id or
    the address of one of the caller's.
    """

    pipeline: Pipeline
    priority: str | int = "normal"
    concurrency: int | None = None
    name: str | None = None
    tag: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    halt_after_pct: float | None = None
    time_limit_s: int | None = None
    keep_open: bool = False
    result_token: str | None = None
    webhook: str | None = None


@asynccontextmanager
async def drafted(server: ServerContext, caller: Caller) -> AsyncIterator[BatchId]:
    """Hold a place for a batch whose files are arriving; removed unless `accept` was called.

    The place lasts `upload_expiry_s`; then the sweep removes what was left.
    """
    batch_id = ids.batch_id()
    await server.database.run(
        batches.insert,
        batch_id,
        _DRAFT,
        owner_id=caller.owner_id,
        upload_ms=server.settings.upload_expiry_s * 1000,
    )
    try:
        yield batch_id
    except BaseException:
        await asyncio.shield(_remove_draft(server, batch_id))
        raise


def too_much(most_bytes: int, tier: str) -> TooLargeError:
    """Return what refuses files that are too many bytes for one batch."""
    return TooLargeError(
        f"The files of the batch are together larger than {size(most_bytes)}, the limit"
        f" of the tier {tier}; send fewer at once, or raise {tier_variable(tier, 'batch_bytes')}."
    )


def nothing(_conn: Connection) -> None:
    """Do nothing more in a transaction."""


async def accept(
    server: ServerContext,
    batch_id: BatchId,
    caller: Caller,
    *,
    order: Order,
    files: Sequence[AnySent],
    also: Also = nothing,
) -> None:
    """Turn a draft and its files into a running batch; durable on return.

    `also` happens in the transaction that starts the batch, or not at all.

    Raises:
        EmptyBatchError: there are no files, and the batch is not kept open.
        InvalidOptionError: priority or concurrency is out of range.
        InvalidFieldError: the caller has no such webhook.
        StorageFullError: no space for the files; nothing is accepted.
    """
    if not files and not order.keep_open:
        raise EmptyBatchError
    webhook_id = order.webhook and await webhooks.named(server, caller.owner_id, order.webhook)
    rules = server.rules_for(order.pipeline.family)
    draft = replace(_new_batch(caller, order, webhook_id), end_work=rules.end_work is not None)
    started = _started(draft, server)
    limits = server.settings.tier(caller.tier)
    if order.keep_open:
        await server.database.run(_count_first, batch_id, files)
    position, last = 0, list[NewItem]()
    accepts = registry.get(order.pipeline.steps[0].use).accepts
    async for page in stored(server.storage, batch_id, files, limits=limits, accepts=accepts):
        await server.database.run(_add, batch_id, last, first_position=position)
        position, last = position + len(last), page.items
    await server.database.run(_start, batch_id, started, last, first_position=position, also=also)
    logs.info(Event.BATCH_ACCEPTED, batch=batch_id, items=position + len(last))
    await server.notify([batch_id])


async def add_files(
    server: ServerContext,
    batch_id: BatchId,
    caller: Caller,
    files: Sequence[AnySent],
    *,
    take: Take = lambda _: nothing,
) -> int:
    """Add files to an open batch; return how many items they became.

    `take` gets each file in the transaction that adds its first items, or not at all.

    Raises:
        NotFoundError: there is no such batch. ConflictError: it is not open.
        UnreadableArchiveError, EmptyArchiveError, TooLargeError: a ZIP can't be used; nothing is
            added; or the batch would have too many bytes.
        StorageFullError: no space; what was added before it remains.
    """
    batch = await server.database.read(batches.get, batch_id, owner_id=caller.owner_id)
    if batch is None:
        raise NotFoundError("batch", batch_id)
    _refuse_closed(batch)
    limits = server.settings.tier(caller.tier)
    total, open_ms = 0, _open_ms(server)
    accepts = registry.get(pipelines.parse(batch.pipeline).steps[0].use).accepts
    async with _room_in(server, batch_id, caller, files):
        async for page in stored(server.storage, batch_id, files, limits=limits, accepts=accepts):
            also = take(page.files)
            await server.database.run(append, batch_id, page.items, open_ms=open_ms, also=also)
            total += len(page.items)
    await server.notify([batch_id])
    return total


def _count_first(conn: Connection, batch_id: BatchId, files: Sequence[AnySent]) -> None:
    """Note what an open batch begins with; its request had limits of its own."""
    size = _sent_bytes(files)
    access.use_up(conn, _quota(batch_id), size, most=size, window_ms=_OPEN_MS)


@asynccontextmanager
async def _room_in(
    server: ServerContext, batch_id: BatchId, caller: Caller, files: Sequence[AnySent]
) -> AsyncIterator[None]:
    """Count files towards what a batch may have, before they take any space.

    Counted as sent: an archive's entries have no part in it.
    """
    quota, size = _quota(batch_id), _sent_bytes(files)
    limits = server.settings.tier(caller.tier)
    use_up = partial(access.use_up, most=limits.whole_batch_bytes, window_ms=_OPEN_MS)
    if not await server.database.run(use_up, quota, size):
        raise too_much(limits.whole_batch_bytes, caller.tier)
    try:
        yield
    except BaseException:
        await asyncio.shield(server.database.run(access.correct_use, quota, -size))
        raise


def _quota(batch_id: BatchId) -> str:
    return f"bytes {batch_id}"


def _sent_bytes(files: Sequence[AnySent]) -> int:
    return sum(file.bytes for file in files if isinstance(file, SentFile))


async def _remove_draft(server: ServerContext, batch_id: BatchId) -> None:
    """Remove what a failed submission left; one that was accepted after all stays.

    What can't be removed now the sweep removes later; no list shows it meanwhile.
    """
    if await server.database.run(batches.forsake, batch_id):
        try:
            await batch_control.purge(server, batch_id)
        except OutageError as error:
            logs.warning(Event.SWEEP_INTERRUPTED, batch=batch_id, detail=error.detail)


# Listings show it while its files arrive, so its pipeline has the shape of every other.
_DRAFT = BatchDraft(
    pipeline={"steps": []},
    pipeline_name="",
    family="",
    tier="anonymous",
    priority=0,
    keep_open=True,
)


def _new_batch(caller: Caller, order: Order, webhook_id: str | None) -> BatchDraft:
    return BatchDraft(
        pipeline=order.pipeline.to_json(),
        pipeline_name=order.pipeline.name,
        family=order.pipeline.family,
        tier=caller.tier,
        priority=_priority(caller, order),
        concurrency=_concurrency(order),
        name=order.name,
        tag=order.tag,
        metadata=dict(order.metadata),
        halt_after_pct=order.halt_after_pct,
        time_limit_s=order.time_limit_s,
        keep_open=order.keep_open,
        result_token=order.result_token,
        webhook_id=webhook_id,
    )


def _started(new_batch: BatchDraft, server: ServerContext) -> dict[str, Any]:
    """Return the columns that turn a draft into this batch."""
    return {
        **batches.order_values(new_batch),
        "status": BatchStatus.QUEUED,
        "created_at": NOW,
        "turn_at": NOW,
        "upload_until": NOW + _open_ms(server) if new_batch.keep_open else None,
    }


def _open_ms(server: ServerContext) -> int:
    """Return how long an open batch waits for more files."""
    return server.settings.upload_expiry_s * 1000


def _priority(caller: Caller, order: Order) -> int:
    try:
        return engine_priority(caller.tier, order.priority)
    except ValueError as error:
        raise InvalidOptionError(
            "`priority` is high, normal, low or a number from 1 (first) to 15 (last)."
        ) from error


def _concurrency(order: Order) -> int | None:
    wanted = order.concurrency or order.pipeline.concurrency
    if wanted is not None and not 1 <= wanted <= 10_000:  # noqa: PLR2004 - said in the message
        raise InvalidOptionError("`concurrency` must be between 1 and 10,000.")
    return wanted


def _refuse_closed(batch: Batch) -> None:
    if not batch.open or batch.status.ended or batch.status is BatchStatus.CANCELLING:
        raise ConflictError(
            "The batch takes no more files; send `keep_open: true` with the first ones."
        )


def _add(
    conn: Connection,
    /,
    batch_id: BatchId,
    new: Sequence[NewItem],
    *,
    first_position: int,
    **values: Any,  # noqa: ANN401 - columns
) -> None:
    if not new:
        return
    items.insert(conn, batch_id, new, first_position=first_position)
    skipped = sum(each.skipped is not None for each in new)
    deltas = {ItemStatus.PENDING: len(new) - skipped, ItemStatus.SKIPPED: skipped}
    if skipped:  # they take no part in what the run says about its pace
        values["run_base"] = batches.add("run_base", skipped)
    batches.count(conn, batch_id, deltas, **_bytes_in(new), **values)


def _start(
    conn: Connection,
    batch_id: BatchId,
    started: Mapping[str, Any],
    new: Sequence[NewItem],
    *,
    first_position: int,
    also: Also,
) -> None:
    _add(conn, batch_id, new, first_position=first_position)
    if not batches.start(conn, batch_id, **started):
        raise ConflictError("The upload took too long and its place was given up; send it again.")
    also(conn)


def append(
    conn: Connection,
    batch_id: BatchId,
    new: Sequence[NewItem],
    *,
    open_ms: int,
    also: Also = nothing,
) -> None:
    """Add items behind the last one of an open batch; their bytes are in storage.

    From now on it waits `open_ms` for more.
    """
    batch = batches.lock(conn, batch_id)
    if batch is None:
        raise NotFoundError("batch", batch_id)
    _refuse_closed(batch)
    waits = {"upload_until": NOW + open_ms}
    if not batch.counts.waiting:
        waits["turn_at"] = NOW  # nothing of it has waited until now
    _add(conn, batch_id, new, first_position=batch.counts.total, **waits)
    also(conn)


def _bytes_in(new: Sequence[NewItem]) -> dict[str, Any]:
    return {"bytes_in": batches.add("bytes_in", sum(each.input.bytes for each in new))}
