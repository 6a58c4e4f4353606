"""What has ended is written whatever else hangs, and a row that is refused fails alone."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.db import counters
from batchmill.db.connect import Database
from batchmill.errors.outage import DatabaseUnavailableError
from batchmill.model import ids
from batchmill.model.batch import BatchId
from batchmill.model.item import Failure, Result
from batchmill.model.retry import RetryPolicy
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import finishing, transitions
from batchmill.service.scheduling.finishing import Finisher
from batchmill.service.scheduling.leases import LeaseKeeper
from batchmill.service.scheduling.transitions import (
    Claimed,
    Completed,
    EndedAttempt,
    Failed,
    Outcome,
)
from batchmill.storage.local import LocalStorage
from support.server_contexts import batch_of, claim_as, items_of, new_context, send

DONE = Completed(Result())


def told(characters: int) -> Completed:
    """Say so much about a file."""
    return Completed(Result(data={"text": "x" * characters}))


def failed(message: str) -> Failed:
    return Failed(Failure("unreadable_file", message), "errors", RetryPolicy())


async def claimed_of(context: ServerContext, number: int) -> Sequence[Claimed]:
    """Send a batch of so many items and claim them all."""
    await send(context, number)
    return await claim_as(context, str(ids.worker_id()), most=number)


async def finish(context: ServerContext, ended: Sequence[tuple[Claimed, Outcome]]) -> None:
    """Write what came of items, all at once."""
    finisher = Finisher(context, LeaseKeeper(context))
    for claimed, outcome in ended:
        await finisher.add(EndedAttempt(claimed, outcome, run_ms=1))
    await finisher.write_all()


class Picky(Database):
    """Refuses rows that say a word, and counts how many it is given at once."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sizes: list[int] = []

    async def run(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if function is transitions.finish:
            self.sizes.append(len(args[1]))
            if "refused" in repr(args[1]):
                raise ValueError("not this one")
        return await super().run(function, *args, **more)


@pytest.mark.parametrize("outcome", [Completed(Result(data={"a": "refused"})), failed("refused")])
async def test_a_row_that_the_database_refuses_fails_alone_and_once(
    database: Database, tmp_path: Path, outcome: Outcome
) -> None:
    picky = Picky(database.address)
    context = new_context(picky, tmp_path)
    claimed = await claimed_of(context, 5)
    await finish(context, [(each, DONE if n else outcome) for n, each in enumerate(claimed)])

    items = await items_of(context, claimed[0].claim.batch_id)
    assert [item.status for item in items] == ["failed", *["completed"] * 4]
    assert items[0].error is not None
    assert items[0].error.code == "result_unstorable"
    await picky.aclose()


async def test_no_statement_says_more_than_a_server_takes(
    database: Database, tmp_path: Path
) -> None:
    picky = Picky(database.address)
    context = new_context(picky, tmp_path)
    claimed = await claimed_of(context, 5)
    third = told(finishing.WRITE_BYTES // 3)
    await finish(context, [(each, third) for each in claimed])

    assert picky.sizes == [2, 2, 1]
    assert (await batch_of(context, claimed[0].claim.batch_id)).counts.completed == 5
    await picky.aclose()


class Locked(Database):
    """A database in which one batch's row is held by a process that is frozen."""

    held: BatchId | None = None

    async def run(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if function is transitions.finish and args[0] == self.held:
            raise DatabaseUnavailableError("The database does not answer.")
        return await super().run(function, *args, **more)


async def test_what_ends_of_other_batches_is_written_while_one_is_locked(
    database: Database, tmp_path: Path
) -> None:
    locked = Locked(database.address)
    context = new_context(locked, tmp_path)
    first, second = await claimed_of(context, 1), await claimed_of(context, 1)
    locked.held = first[0].claim.batch_id
    finisher = Finisher(context, LeaseKeeper(context))
    for (claimed,) in (first, second):
        await finisher.add(EndedAttempt(claimed, DONE, run_ms=1))

    assert not await finisher.write_all()
    assert (await batch_of(context, second[0].claim.batch_id)).counts.completed == 1
    locked.held = None
    assert await finisher.write_all()
    assert (await batch_of(context, first[0].claim.batch_id)).counts.completed == 1
    await locked.aclose()


class HangingStorage(LocalStorage):
    """A bucket that never answers when something is to be removed."""

    async def delete_prefix(self, prefix: str) -> int:
        await asyncio.sleep(3600)
        return 0


async def test_a_storage_that_hangs_holds_up_no_result(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    context = replace(context, storage=HangingStorage(tmp_path / "storage"))
    claimed = await claimed_of(context, 2)
    finisher = Finisher(context, LeaseKeeper(context))
    running = asyncio.create_task(finisher.run())
    async with asyncio.timeout(60):
        for each in claimed:
            await finisher.add(EndedAttempt(replace(each, was_tried=True), DONE, run_ms=1))
            while not await _is_ended(context, each):
                await asyncio.sleep(0.01)
    running.cancel()
    assert (await batch_of(context, claimed[0].claim.batch_id)).counts.completed == 2


async def _is_ended(context: ServerContext, claimed: Claimed) -> bool:
    items = await items_of(context, claimed.claim.batch_id)
    return any(item.id == claimed.claim.item_id and item.status == "completed" for item in items)


async def test_the_last_finish_of_a_worker_ends_the_batch_and_those_before_only_tell_its_pace(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    claimed = await claimed_of(context, 2)
    batch_id, keeper = claimed[0].claim.batch_id, LeaseKeeper(context)
    finisher = Finisher(context, keeper)
    keeper.take(claimed)
    running = asyncio.create_task(finisher.run())
    async with asyncio.timeout(60):
        await _end(keeper, finisher, claimed[0])
        while (await batch_of(context, batch_id)).settled_at is None:
            await asyncio.sleep(0.01)
        assert await database.read(counters.left_behind), "it was counted beside the batch's row"
        assert not (await batch_of(context, batch_id)).status.ended
        await _end(keeper, finisher, claimed[1])
        while not (await batch_of(context, batch_id)).status.ended:
            await asyncio.sleep(0.01)
    running.cancel()
    assert not await database.read(counters.left_behind)


async def _end(keeper: LeaseKeeper, finisher: Finisher, claimed: Claimed) -> None:
    async with asyncio.timeout(None) as scope:
        with keeper.running(claimed, scope):
            await asyncio.sleep(0)
    await finisher.add(EndedAttempt(claimed, DONE, run_ms=1))
