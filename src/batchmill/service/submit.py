"""Submit: files become a batch. The answer is given after the bytes and the rows are durable.

    begin ──► (bytes arrive) ──► accept ──► dispatch

A batch row exists, in status `uploading`, before its first byte is stored, so that the sweep
can tell from the database alone what a broken upload left behind.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchmill import logs
from batchmill.db import batches, items
from batchmill.db.connect import Connection
from batchmill.db.types import NOW
from batchmill.errors import ConflictError, EmptyBatchError, InvalidOptionError, NotFoundError
from batchmill.logs import Event
from batchmill.model.batch import LOCAL_OWNER, Batch, BatchId, BatchStatus, NewBatch, OwnerId
from batchmill.model.item import Input, ItemStatus, NewItem
from batchmill.model.media import sniff
from batchmill.model.pipeline import Pipeline
from batchmill.model.priority import engine_priority
from batchmill.service import ids
from batchmill.service.dispatch import dispatch
from batchmill.service.mill import Mill
from batchmill.storage import keys

INSERT_ROWS = 5_000
"""Items added in one transaction: long enough to be fast, short enough to let others in."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Owner and tier come from the key alone."""

    owner_id: OwnerId = LOCAL_OWNER
    tier: str = "anonymous"


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller may choose about a batch; the pipeline is checked already."""

    pipeline: Pipeline
    priority: str | int = "normal"
    concurrency: int | None = None
    name: str | None = None
    tag: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    halt_after_pct: float | None = None
    keep_open: bool = False


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that lies, whole and measured, where this process put it."""

    path: Path
    name: str
    head: bytes
    bytes: int
    sha256: str
    custom_id: str | None = None


@asynccontextmanager
async def drafted(mill: Mill, caller: Caller) -> AsyncIterator[BatchId]:
    """Hold a place for a batch whose files are arriving; removed unless `accept` was called.

    The place lasts `upload_expiry_s`; then the sweep removes what was left.
    """
    batch_id = ids.batch_id()
    await mill.database.run(
        batches.insert,
        batch_id,
        _DRAFT,
        owner_id=caller.owner_id,
        upload_ms=mill.settings.upload_expiry_s * 1000,
    )
    try:
        yield batch_id
    except BaseException:
        await mill.storage.delete_prefix(keys.batch_prefix(batch_id))
        await mill.database.run(batches.delete_draft, batch_id)
        raise


async def accept(
    mill: Mill, batch_id: BatchId, caller: Caller, *, order: Order, files: Sequence[SentFile]
) -> None:
    """Turn a draft and its files into a running batch; durable on return.

    Raises:
        EmptyBatchError: there are no files, and the batch is not kept open.
        InvalidOptionError: priority or concurrency is out of range.
        StorageFullError: no space for the files; nothing is accepted.
    """
    if not files and not order.keep_open:
        raise EmptyBatchError
    new_batch = _new_batch(caller, order)
    inputs = await store_inputs(mill, batch_id, files)
    await accept_inputs(mill, batch_id, new_batch, inputs)


async def accept_inputs(
    mill: Mill, batch_id: BatchId, new_batch: NewBatch, inputs: Iterable[NewItem]
) -> None:
    """Add items whose bytes are in storage, in chunks, and start the batch with the last one."""
    position, chunk = 0, list[NewItem]()
    for each in inputs:
        chunk.append(each)
        if len(chunk) == INSERT_ROWS:
            await mill.database.run(_add, batch_id, chunk, first_position=position)
            position, chunk = position + len(chunk), []
    await mill.database.run(_start, batch_id, new_batch, chunk, first_position=position)
    logs.info(Event.BATCH_ACCEPTED, batch=batch_id, items=position + len(chunk))
    await dispatch(mill, batch_id)


async def add_files(
    mill: Mill, batch_id: BatchId, caller: Caller, files: Sequence[SentFile]
) -> int:
    """Add files to an open batch; return how many.

    Raises:
        NotFoundError: there is no such batch. ConflictError: it is not open.
    """
    batch = await mill.database.read(batches.get, batch_id, owner_id=caller.owner_id)
    if batch is None:
        raise NotFoundError("batch", batch_id)
    _refuse_closed(batch)
    new = await store_inputs(mill, batch_id, files)
    await mill.database.run(_append, batch_id, new)
    await dispatch(mill, batch_id)
    return len(new)


async def store_inputs(mill: Mill, batch_id: BatchId, files: Sequence[SentFile]) -> list[NewItem]:
    """Move files into storage under keys of their own; return the items they become."""
    new = []
    for file, item_id in zip(files, ids.item_ids(len(files)), strict=True):
        media = sniff(file.head)
        key = keys.input_key(batch_id, item_id)
        mime = media.mime if media else None
        await mill.storage.put(key, file.path, media_type=mime or "application/octet-stream")
        source = Input(key, file.name, file.bytes, sha256=file.sha256, media_type=mime)
        new.append(NewItem(item_id, source, file.custom_id))
    return new


_DRAFT = NewBatch(
    pipeline={}, pipeline_name="", family="", tier="anonymous", priority=0, keep_open=True
)


def _new_batch(caller: Caller, order: Order) -> NewBatch:
    return NewBatch(
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
        keep_open=order.keep_open,
    )


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
    conn: Connection, batch_id: BatchId, new: Sequence[NewItem], *, first_position: int
) -> None:
    items.insert(conn, batch_id, new, first_position=first_position)
    batches.count(conn, batch_id, {ItemStatus.PENDING: len(new)}, **_bytes_in(new))


def _start(
    conn: Connection,
    batch_id: BatchId,
    new_batch: NewBatch,
    new: Sequence[NewItem],
    *,
    first_position: int,
) -> None:
    _add(conn, batch_id, new, first_position=first_position)
    started = {"status": BatchStatus.QUEUED, "upload_until": None, "created_at": NOW}
    if not batches.start(conn, batch_id, **started, **batches.order_values(new_batch)):
        raise ConflictError("The upload took too long and its place was given up; send it again.")


def _append(conn: Connection, batch_id: BatchId, new: Sequence[NewItem]) -> None:
    batch = batches.lock(conn, batch_id)
    if batch is None:
        raise NotFoundError("batch", batch_id)
    _refuse_closed(batch)
    _add(conn, batch_id, new, first_position=batch.counts.total)


def _bytes_in(new: Sequence[NewItem]) -> dict[str, Any]:
    return {"bytes_in": batches.add("bytes_in", sum(each.input.bytes for each in new))}
