"""A claim is kept while its attempt runs, and an attempt ends when its claim is lost."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update
from sqlalchemy.engine import make_url

import databases
from batchmill.attempt.run import Finished
from batchmill.db import items
from batchmill.db.connect import Database
from batchmill.db.schema import items as item_rows
from batchmill.db.types import NOW, to_ms
from batchmill.errors.outage import DatabaseUnavailableError
from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId, Result, Spent, WorkerId
from batchmill.service import sweep
from batchmill.service.context import ServerContext
from batchmill.service.execution.process_item import Attempt, process_item
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.leases import TICK_S, LeaseKeeper
from batchmill.service.scheduling.transitions import Claimed
from batchmill.worker import background
from support.line import line_to
from support.pool_session import opened
from support.rows import LEASE_MS
from support.server_contexts import items_of, new_context, scripted, send

# SQL is the subject: all databases

WAIT_S = 60
SHORT: dict[str, Any] = {"lease_s": 3, "renew_s": 1}


class Unreachable(Database):
    """A database that is away while `away` is set."""

    away = False

    async def run(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        self._look()
        return await super().run(function, *args, **more)

    async def read(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        self._look()
        return await super().read(function, *args, **more)

    def _look(self) -> None:
        if self.away:
            raise DatabaseUnavailableError("The database does not answer.")


class Held:
    """An attempt that goes on until it is let go, or stopped."""

    def __init__(self) -> None:
        self.begun, self.let_go, self.stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, _claimed: Claimed) -> None:
        self.begun.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise


@asynccontextmanager
async def working_on(
    context: ServerContext, attempt: Attempt, item_id: ItemId
) -> AsyncIterator[asyncio.Task[None]]:
    """Work on one item beside the block, with its lease kept."""
    keeper = LeaseKeeper(context)
    async with background(keeper.run()), asyncio.timeout(WAIT_S):
        work = asyncio.create_task(process_item(context, keeper, attempt, item_id))
        try:
            yield work
        finally:
            work.cancel()
            await asyncio.wait({work})


async def one_item(context: ServerContext) -> tuple[BatchId, ItemId]:
    batch_id = await send(context, 1)
    (item,) = await items_of(context, batch_id)
    return batch_id, item.id


async def lease_of(database: Database, item_id: ItemId) -> tuple[datetime | None, int]:
    """Return until when an item's lease holds, and the database's time."""

    def look(conn: Connection) -> tuple[datetime | None, int]:
        query = select(item_rows.c.lease_until, NOW).where(item_rows.c.id == item_id)
        row = conn.execute(query).one()
        return row[0], row[1]

    return await database.read(look)


async def take_over(database: Database, batch_id: BatchId, item_id: ItemId) -> None:
    """Let the lease end and another worker claim the item."""
    await database.run(items.expire_leases, batch_id)
    assert await database.run(transitions.rescue, batch_id, limit=10) == 1
    await database.run(transitions.queue_items, batch_id, window=9)
    claimed = await database.run(
        transitions.claim, item_id, worker_id=WorkerId("wrk_b"), lease_ms=LEASE_MS
    )
    assert claimed is not None


def retake(conn: Connection, item_id: ItemId) -> None:
    """Make the claim of an item another worker's, as a rescue and a new claim do."""
    again = {"attempt": item_rows.c.attempt + 1, "worker_id": "wrk_b"}
    conn.execute(update(item_rows).where(item_rows.c.id == item_id).values(again))


async def test_an_attempt_that_takes_longer_than_its_lease_stays_one_attempt(
    database: Database, tmp_path: Path
) -> None:
    context, held = new_context(database, tmp_path, **SHORT), Held()
    batch_id, item_id = await one_item(context)
    async with working_on(context, scripted(tmp_path, held), item_id) as work:
        await held.begun.wait()
        first, now_ms = await lease_of(database, item_id)
        assert first is not None
        while now_ms <= to_ms(first):
            await asyncio.sleep(0.05)
            _, now_ms = await lease_of(database, item_id)
        await sweep.rescue_expired(context)
        held.let_go.set()
        await work
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.attempt) == ("completed", 1)


async def test_an_attempt_whose_item_was_taken_over_is_stopped_and_leaves_the_new_claim_alone(
    database: Database, tmp_path: Path
) -> None:
    context, held = new_context(database, tmp_path), Held()
    batch_id, item_id = await one_item(context)
    async with working_on(context, scripted(tmp_path, held), item_id) as work:
        await held.begun.wait()
        await take_over(database, batch_id, item_id)
        await held.stopped.wait()
        await work
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.attempt, item.spent) == ("processing", 2, Spent())


async def test_attempts_that_take_long_to_end_are_stopped_once_and_the_worker_goes_on(
    database: Database, tmp_path: Path
) -> None:
    """The first is lost to another worker, the second when the database is away too."""
    away = Unreachable(database.engine.url.render_as_string(hide_password=False))
    context = new_context(away, tmp_path, **SHORT)
    batch_id = await send(context, 2)
    begun, stopped = asyncio.Queue[ItemId](), asyncio.Queue[ItemId]()

    async def slow_to_end(claimed: Claimed) -> None:
        begun.put_nowait(claimed.claim.item_id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.put_nowait(claimed.claim.item_id)
            await asyncio.sleep(5 * TICK_S)
            raise

    keeper = LeaseKeeper(context)
    attempt = scripted(tmp_path, slow_to_end)
    async with background(keeper.run()), asyncio.timeout(WAIT_S):
        first, second = [item.id for item in await items_of(context, batch_id)]
        works = [
            asyncio.create_task(process_item(context, keeper, attempt, item_id))
            for item_id in (first, second)
        ]
        assert {await begun.get(), await begun.get()} == {first, second}
        await database.run(retake, first)
        assert await stopped.get() == first
        away.away = True
        assert await stopped.get() == second
        await asyncio.wait(works)
        away.away = False
    assert [work.exception() for work in works] == [None, None]
    assert stopped.empty()
    await away.aclose()


async def test_how_far_an_attempt_is_reaches_the_row_and_never_goes_back(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id, item_id = await one_item(context)
    told: asyncio.Queue[float] = asyncio.Queue()

    @asynccontextmanager
    async def attempt(
        _claimed: Claimed, report: Callable[[float], None]
    ) -> AsyncIterator[Finished]:
        while True:
            report(await told.get())
            told.task_done()
        yield Finished(Result(), (), tmp_path)

    async with working_on(context, attempt, item_id):
        for fractions, stored in (((0.4, 0.2), 0.4), ((7.0,), 1.0)):
            for fraction in fractions:
                told.put_nowait(fraction)
            await told.join()
            while (await items_of(context, batch_id))[0].progress != stored:
                await asyncio.sleep(0.05)


async def test_a_worker_without_its_database_stops_its_attempt_and_the_next_one_finishes_the_item(
    tmp_path: Path, database: Database
) -> None:
    away = Unreachable(database.engine.url.render_as_string(hide_password=False))
    context, held = new_context(away, tmp_path, **SHORT), Held()
    batch_id, item_id = await one_item(context)
    async with working_on(context, scripted(tmp_path, held), item_id) as work:
        await held.begun.wait()
        away.away = True
        await held.stopped.wait()
        await asyncio.wait({work})
        assert work.exception() is None, "an outage is no fault of the worker"
        away.away = False
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.attempt) == ("processing", 1)
    await take_over(database, batch_id, item_id)
    await away.aclose()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(params=databases.SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database to which there is a line."""
    with databases.new_database(request.param, tmp_path) as database:
        yield database


@pytest.mark.parametrize("how", ["cut", "go_dead"])
async def test_a_worker_that_loses_the_line_to_its_database_kills_the_child_that_works_for_it(
    server: Database, tmp_path: Path, how: str
) -> None:
    url = make_url(server.engine.url)

    async with (
        line_to(url.host or "", url.port or 0) as line,
        opened(tmp_path / "scratch") as pool,
    ):
        far = Database(
            url.set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        )
        context = new_context(far, tmp_path, **SHORT)
        _, item_id = await one_item(context)

        @asynccontextmanager
        async def attempt(
            _claimed: Claimed, _report: Callable[[float], None]
        ) -> AsyncIterator[Finished]:
            await pool.run("hang")
            yield Finished(Result(), (), tmp_path)

        async with working_on(context, attempt, item_id) as work:
            await pool.busy()
            (child,) = pool.pids()
            getattr(line, how)()
            while is_alive(child):
                await asyncio.sleep(0.05)
            line.mend()
            await asyncio.wait({work})
        await far.aclose()
