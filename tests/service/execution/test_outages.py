"""An outage of the installation's own storage stops work, and fails nothing."""

import asyncio
import hashlib
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from batchmill.db import batches, workers
from batchmill.db.connect import Database
from batchmill.db.schema import batches as batch_rows
from batchmill.errors.outage import ModelUnavailableError, StorageUnavailableError
from batchmill.model.item import Spent
from batchmill.service.context import ServerContext
from batchmill.service.scheduling.transitions import Claimed
from batchmill.storage.local import LocalStorage
from support.server_contexts import (
    PIPELINE,
    batch_of,
    items_of,
    new_context,
    nothing_special,
    scripted,
    send,
    stored_files,
    swept,
    until,
    until_ended,
    working,
)


class AwayStorage(LocalStorage):
    """A bucket that takes and removes nothing while `away`.

    `is_read_only`: it answers all the same.
    """

    away, is_read_only = False, False

    puts_left = 10**9
    """It goes away by itself after so many files."""

    async def put(self, key: str, path: Path, **more: Any) -> None:
        self.away = self.away or self.puts_left <= 0
        self.puts_left -= 1
        if self.away:
            await asyncio.sleep(0.2)  # until what was stored beside it is known to be
            raise StorageUnavailableError(detail="connection refused")
        await super().put(key, path, **more)

    async def delete_prefix(self, prefix: str) -> int:
        if self.away:
            raise StorageUnavailableError(detail="connection refused")
        return await super().delete_prefix(prefix)

    async def free_bytes(self) -> int | None:
        if self.away and not self.is_read_only:
            raise StorageUnavailableError(detail="connection refused")
        return await super().free_bytes()


def with_storage(context: ServerContext, tmp_path: Path) -> tuple[ServerContext, AwayStorage]:
    storage = AwayStorage(tmp_path / "storage")
    return replace(context, storage=storage), storage


@pytest.mark.parametrize("is_read_only", [False, True], ids=["silent", "read-only"])
async def test_a_storage_that_is_away_uses_up_no_budget(
    database: Database, tmp_path: Path, *, is_read_only: bool
) -> None:
    context, storage = with_storage(new_context(database, tmp_path, renew_s=0.1), tmp_path)
    batch_id = await send(context, 5)
    storage.away, storage.is_read_only = True, is_read_only
    async with working(context, scripted(tmp_path, nothing_special)):
        async with asyncio.timeout(60):
            while not context.vitals.holding:
                await asyncio.sleep(0.01)
        await until(context, batch_id, lambda batch: batch.counts.pending == 5)
        await asyncio.sleep(1)
        assert (await batch_of(context, batch_id)).counts.unsuccessful == 0
        storage.away = False
        batch = await until_ended(context, batch_id)
    assert batch.counts.completed == 5
    assert [item.spent for item in await items_of(context, batch_id)] == [Spent()] * 5


async def test_files_at_work_when_an_outage_begins_use_up_nothing_either(
    database: Database, tmp_path: Path
) -> None:
    context, storage = with_storage(new_context(database, tmp_path, renew_s=0.1), tmp_path)
    batch_id = await send(context, 6, pipeline=replace(PIPELINE, retries=0))
    storage.puts_left = 1
    begun = asyncio.Barrier(2)

    async def together(_claimed: object) -> None:
        # One of two that began together is stored, the other is not.
        with suppress(asyncio.BrokenBarrierError):
            await begun.wait()

    async with working(context, scripted(tmp_path, together)):
        async with asyncio.timeout(60):
            while not context.vitals.holding:
                await asyncio.sleep(0.01)
        await begun.abort()
        storage.away, storage.puts_left = False, 10**9
        batch = await until_ended(context, batch_id)
    assert batch.counts.completed == 6


async def test_what_an_attempt_had_stored_before_the_outage_is_removed_after_it(
    database: Database, tmp_path: Path
) -> None:
    context, storage = with_storage(new_context(database, tmp_path, renew_s=0.1), tmp_path)
    batch_id = await send(context, 1)
    storage.puts_left = 1
    async with working(context, scripted(tmp_path, nothing_special, outputs=2)):
        async with asyncio.timeout(60):
            while not context.vitals.holding:
                await asyncio.sleep(0.01)
        storage.away, storage.puts_left = False, 10**9
        await until_ended(context, batch_id)
        async with asyncio.timeout(60):
            while len(stored_files(tmp_path)) > 3:  # the input and two outputs
                await asyncio.sleep(0.01)
    (item,) = await items_of(context, batch_id)
    assert item.result is not None
    assert all((tmp_path / "storage" / each.key).exists() for each in item.result.outputs)
    assert len(stored_files(tmp_path)) == 3


REFUSED = hashlib.sha256(b"0.txt").hexdigest()
"""The output of the file 0.txt, as `scripted` makes it."""


class PickyStorage(LocalStorage):
    """A bucket that refuses one file, as one that is archived or too large."""

    async def put(self, key: str, path: Path, **more: Any) -> None:
        if more.get("sha256") == REFUSED:
            await asyncio.sleep(0.2)  # until another was stored
            raise StorageUnavailableError(detail="403")
        await super().put(key, path, **more)


async def test_a_file_that_the_storage_refuses_while_it_takes_others_fails_in_the_end(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, renew_s=0.1)
    context = replace(context, storage=PickyStorage(tmp_path / "storage"))
    batch_id = await send(context, 200, pipeline=replace(PIPELINE, retries=0))
    async with working(context, scripted(tmp_path, nothing_special)):
        batch = await until_ended(context, batch_id)
    assert (batch.counts.completed, batch.counts.failed) == (199, 1)


async def test_a_storage_that_is_away_is_said_to_be_so_by_its_worker(
    database: Database, tmp_path: Path
) -> None:
    context, storage = with_storage(new_context(database, tmp_path, renew_s=0.1), tmp_path)
    await send(context, 1)
    storage.away = True

    async def told() -> str | None:
        (worker,) = await database.read(workers.alive)
        return worker.stats.get("short_of")

    async with working(context, scripted(tmp_path, nothing_special)), asyncio.timeout(60):
        while await told() is None:
            await asyncio.sleep(0.05)
        assert await told() == "the storage does not answer"
        storage.away = False
        while await told() is not None:
            await asyncio.sleep(0.05)


async def test_a_storage_that_took_nothing_for_a_day_fails_its_files(
    database: Database, tmp_path: Path
) -> None:
    context, storage = with_storage(new_context(database, tmp_path, renew_s=0.1), tmp_path)
    context.vitals.storage_failed_s = time.monotonic()
    context.vitals.storage_failing_since_s = context.vitals.storage_failed_s - 86_401
    batch_id = await send(context, 1, pipeline=replace(PIPELINE, retries=1))
    storage.away = True
    async with working(context, scripted(tmp_path, nothing_special)):
        batch = await until_ended(context, batch_id)
    assert batch.counts.failed == 1
    (item,) = await items_of(context, batch_id)
    assert item.error is not None
    assert item.error.code == "storage_unavailable"


async def test_a_submission_that_an_outage_refused_is_in_no_list_and_goes_once_it_is_over(
    database: Database, tmp_path: Path
) -> None:
    context, storage = with_storage(new_context(database, tmp_path), tmp_path)
    storage.away = True
    with pytest.raises(StorageUnavailableError):
        await send(context, 1)

    def rows(conn: Connection) -> int:
        return int(conn.scalar(select(func.count()).select_from(batch_rows)) or 0)

    assert await database.read(batches.page, None, limit=10) == []
    assert await database.read(rows) == 1
    storage.away = False
    await swept(context)
    assert await database.read(rows) == 0


async def test_a_model_that_comes_back_costs_no_file_a_retry(
    database: Database, tmp_path: Path
) -> None:
    asked: list[str] = []

    def model(claimed: Claimed) -> None:
        asked.append(claimed.claim.item_id)
        if len(asked) <= 2:
            raise ModelUnavailableError(claimed.input.name, "could not be reached", unasked=True)

    context = new_context(database, tmp_path)
    async with working(context, scripted(tmp_path, model)):
        batch_id = await send(context, 5)
        batch = await until(context, batch_id, lambda batch: batch.outage_since is not None)
        assert batch.pause_reason == "the model's server does not answer"
        batch = await until_ended(context, batch_id)
    assert (batch.counts.completed, batch.pause_reason) == (5, None)
    assert {item.spent.errors for item in await items_of(context, batch_id)} == {0}
