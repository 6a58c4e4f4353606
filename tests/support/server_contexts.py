"""A real server context: real database, local storage, attempts that misbehave."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import update

from batchmill.api.compat.dialects import family_rules
from batchmill.attempt.run import Finished
from batchmill.db import batches, listing, workers
from batchmill.db.connect import Database
from batchmill.db.schema import orphans
from batchmill.db.types import NOW
from batchmill.model import ids
from batchmill.model.batch import Batch, BatchId
from batchmill.model.item import Item, NewItem, Output, Result, WorkerId
from batchmill.model.pipeline import Pipeline, parse
from batchmill.notifiers.base import Notifier
from batchmill.notifiers.local import LocalNotifier
from batchmill.service import batch_control, stores, sweep
from batchmill.service.context import ServerContext, Vitals
from batchmill.service.execution.process_item import Attempt, process_item
from batchmill.service.orphans import DAY_MS
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.finishing import Finisher
from batchmill.service.scheduling.leases import LeaseKeeper
from batchmill.service.scheduling.transitions import Claimed
from batchmill.service.submission.store_files import SentFile
from batchmill.service.submission.submit import Caller, Order, accept, append, drafted
from batchmill.settings.fields import Settings
from batchmill.storage.local import LocalStorage
from batchmill.worker import WorkLoop, at_work
from support.folders import files_below
from support.rows import claim_in_one

PIPELINE = parse({"name": "test", "steps": [{"use": "resize"}], "retries": 2})
Script = Callable[[Claimed], Any]
"""What an attempt does: returns, raises, or awaits something first."""


def new_context(
    database: Database, folder: Path, *, notifier: Notifier | None = None, **settings: Any
) -> ServerContext:
    """Return a context with short times over an empty database."""
    uploads = folder / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    quick = {"sweep_s": 0.05, "lease_s": 12, "renew_s": 4, "drain_s": 5, **settings}
    chosen = Settings(data_dir=folder, **quick)
    return ServerContext(
        database=database,
        storage=LocalStorage(folder / "storage"),
        notifier=notifier or LocalNotifier(),
        settings=chosen,
        family_rules=family_rules(chosen),
        process_id=ids.worker_id(),
        uploads=uploads,
        vitals=Vitals(slots=2),
    )


def scripted(folder: Path, script: Script, *, outputs: int = 1) -> Attempt:
    """Return an attempt that runs `script` and then writes small outputs."""

    @asynccontextmanager
    async def attempt(claimed: Claimed, report: Callable[[float], None]) -> AsyncIterator[Finished]:
        outcome = script(claimed)
        if asyncio.iscoroutine(outcome):
            await outcome
        report(0.5)
        name = f"{claimed.claim.item_id}-{claimed.claim.attempt}"
        paths = tuple(folder / f"{name}-{number}" for number in range(outputs))
        body = claimed.input.name.encode()
        for path in paths:
            path.write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        output = Output("out.txt", len(body), "text/plain", digest, zlib.crc32(body))
        yield Finished(Result(outputs=(output,) * outputs), paths, folder / "nothing")

    return attempt


def nothing_special(_claimed: Claimed) -> None:
    """Succeed."""


async def send(
    context: ServerContext,
    number: int,
    *,
    caller: Caller | None = None,
    pipeline: Pipeline = PIPELINE,
    **order: Any,
) -> BatchId:
    """Submit a batch of `number` small files and return its id."""
    caller = caller or Caller()
    async with drafted(context, caller) as batch_id:
        files = [a_file(context.uploads, f"{n}.txt") for n in range(number)]
        await accept(context, batch_id, caller, order=Order(pipeline, **order), files=files)
    return batch_id


async def send_many(context: ServerContext, number: int, **order: Any) -> BatchId:
    """Submit a batch of many items that share one stored file."""
    batch_id = await send(context, 1, keep_open=True, **order)
    (item,) = await items_of(context, batch_id)
    rest = [NewItem(each, item.input) for each in ids.item_ids(number - 1)]
    await context.database.run(append, batch_id, rest, open_ms=60_000)
    await batch_control.close(context, batch_id, owner_id=None)
    return batch_id


def a_file(folder: Path, name: str, body: bytes = b"hello") -> SentFile:
    """Write an uploaded file."""
    path = folder / f"{ids.worker_id()}"
    path.write_bytes(body)
    return SentFile(path, name, body, len(body), hashlib.sha256(body).hexdigest())


@asynccontextmanager
async def working(
    context: ServerContext, attempt: Attempt, *, slots: int = 2
) -> AsyncIterator[asyncio.Event]:
    """Run a worker with its sweep beside the block; then let it drain."""
    stopping = asyncio.Event()
    worker = WorkLoop(context, attempt, slots=slots)
    async with at_work(context, worker, slots=slots, stopping=stopping):
        yield stopping


async def claim_as(context: ServerContext, worker: str, *, most: int = 1) -> Sequence[Claimed]:
    """Claim as another worker does, which never says a word again."""
    worker_id = WorkerId(worker)
    lease: dict[str, Any] = {"slots": 1, "stats": {}, "lease_ms": 600_000}
    await context.database.run(workers.enter, worker_id, host="h", pid=1, **lease)
    asking = transitions.Asking(worker_id, slots=1, most=lambda _: most)
    return await context.database.run(claim_in_one, asking)


async def carry(context: ServerContext, claimed: Claimed, attempt: Attempt) -> None:
    """Carry one claimed item, and write what came of it, as a worker does."""
    keeper = LeaseKeeper(context)
    finisher = Finisher(context, keeper)
    await process_item(context, claimed, attempt, keeper=keeper, finisher=finisher)
    await finisher.end()


async def batch_of(context: ServerContext, batch_id: BatchId) -> Batch:
    """Read a batch."""
    batch = await context.database.read(batches.get, batch_id, owner_id=None)
    assert batch is not None
    return batch


async def items_of(context: ServerContext, batch_id: BatchId) -> Sequence[Item]:
    """Read all items of a batch."""
    return await context.database.read(listing.page, batch_id, limit=100_000)


async def until(
    context: ServerContext,
    batch_id: BatchId,
    wanted: Callable[[Batch], bool],
    *,
    limit_s: float = 60,
) -> Batch:
    """Wait until a batch is as wanted."""
    async with asyncio.timeout(limit_s):
        while not wanted(batch := await batch_of(context, batch_id)):
            await asyncio.sleep(0.01)
    return batch


async def until_ended(context: ServerContext, batch_id: BatchId, *, limit_s: float = 60) -> Batch:
    """Wait until a batch has ended."""
    return await until(context, batch_id, lambda batch: batch.status.ended, limit_s=limit_s)


async def swept(context: ServerContext) -> None:
    """Sweep once."""
    await sweep.sweep(context)


async def marked(context: ServerContext) -> None:
    """Mark all stores, as the start of a server does."""
    await stores.claim(context, [*stores.of_batches(context), *stores.of_uploads(context)])


async def a_day_later(context: ServerContext) -> None:
    """Let every orphan that is entered have been found a day earlier."""
    earlier = update(orphans).values(first_at=NOW - 2 * DAY_MS)
    await context.database.run(lambda conn: conn.execute(earlier))


def stored_files(folder: Path) -> list[Path]:
    """Return every file of batches in the storage."""
    return files_below(folder / "storage/batches")
