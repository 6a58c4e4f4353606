"""A claim is kept while its attempt runs, and an attempt ends when its claim is lost."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update
from sqlalchemy.engine import make_url

import databases
from batchmill.attempt.run import Finished
from batchmill.db import workers
from batchmill.db.connect import Database
from batchmill.db.schema import items as item_rows
from batchmill.db.schema import shares
from batchmill.errors.outage import DatabaseUnavailableError
from batchmill.model.batch import BatchId
from batchmill.model.item import IN_FLIGHT, AttemptKey, ItemId, Result, Spent, WorkerId
from batchmill.service import batch_control
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import claims, heartbeat, transitions
from batchmill.service.scheduling.leases import TICK_S, LeaseKeeper
from batchmill.service.scheduling.transitions import Claimed
from support.line import line_to
from support.pool_session import opened
from support.server_contexts import (
    claim_as,
    items_of,
    new_context,
    nothing_special,
    scripted,
    send,
    until,
    until_ended,
    working,
)

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


async def one_item(context: ServerContext) -> tuple[BatchId, ItemId]:
    batch_id = await send(context, 1)
    (item,) = await items_of(context, batch_id)
    return batch_id, item.id


def retake(conn: Connection, item_id: ItemId) -> None:
    """Make the claim of an item another worker's, as a rescue and a new claim do."""
    lease: dict[str, Any] = {"slots": 1, "stats": {}, "lease_ms": 600_000}
    workers.enter(conn, WorkerId("wrk_b"), host="h", pid=1, **lease)
    again = {"attempt": item_rows.c.attempt + 1, "worker_id": "wrk_b"}
    conn.execute(update(item_rows).where(item_rows.c.id == item_id).values(again))


async def test_an_attempt_that_takes_longer_than_a_lease_stays_one_attempt(
    database: Database, tmp_path: Path
) -> None:
    context, held = new_context(database, tmp_path, **SHORT), Held()
    async with working(context, scripted(tmp_path, held)):
        batch_id, _ = await one_item(context)
        await held.begun.wait()
        await asyncio.sleep(2 * SHORT["lease_s"])
        held.let_go.set()
        await until_ended(context, batch_id)
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.attempt) == ("completed", 1)


async def test_an_attempt_that_runs_for_more_than_a_moment_is_shown_as_processing(
    database: Database, tmp_path: Path
) -> None:
    context, held = new_context(database, tmp_path), Held()
    async with working(context, scripted(tmp_path, held), slots=1):
        batch_id = await send(context, 2)
        await held.begun.wait()
        batch = await until(context, batch_id, lambda batch: batch.counts.processing == 1)
        assert batch.counts.queued + batch.counts.pending == 1
        held.let_go.set()
        await until_ended(context, batch_id)
    first, second = await items_of(context, batch_id)
    assert first.started_at is not None
    assert first.run_ms is not None
    assert second.started_at is not None
    assert first.run_ms >= 1_000 > (second.run_ms or 0)


async def test_an_attempt_whose_item_was_taken_over_is_stopped_and_leaves_the_new_claim_alone(
    database: Database, tmp_path: Path
) -> None:
    context, held = new_context(database, tmp_path), Held()
    async with working(context, scripted(tmp_path, held)):
        batch_id, item_id = await one_item(context)
        await held.begun.wait()
        await database.run(retake, item_id)
        await asyncio.wait_for(held.stopped.wait(), WAIT_S)
        (item,) = await items_of(context, batch_id)
        assert (item.attempt, item.spent) == (2, Spent())
        assert item.status in IN_FLIGHT


@pytest.mark.long
async def test_attempts_that_take_long_to_end_are_stopped_once_and_the_worker_goes_on(
    database: Database, tmp_path: Path
) -> None:
    """The first is lost to another worker, the second when the database is away too."""
    away = Unreachable(database.engine.url.render_as_string(hide_password=False))
    context = new_context(away, tmp_path, **SHORT)
    begun, stopped = asyncio.Queue[ItemId](), asyncio.Queue[ItemId]()
    is_over = False

    async def slow_to_end(claimed: Claimed) -> None:
        if is_over:
            return
        begun.put_nowait(claimed.claim.item_id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.put_nowait(claimed.claim.item_id)
            await asyncio.sleep(5 * TICK_S)
            raise

    async with asyncio.timeout(2 * WAIT_S), working(context, scripted(tmp_path, slow_to_end)):
        batch_id = await send(context, 2)
        first, second = [item.id for item in await items_of(context, batch_id)]
        assert {await begun.get(), await begun.get()} == {first, second}
        await database.run(retake, first)
        assert await stopped.get() == first
        away.away = True
        assert await stopped.get() == second
        is_over, away.away = True, False
        await database.run(lambda conn: conn.execute(update(item_rows).values(worker_id="gone")))
        batch = await until_ended(context, batch_id)
    assert batch.counts.completed == 2
    assert stopped.empty()
    await away.aclose()


async def test_how_far_an_attempt_is_reaches_the_row_and_never_goes_back(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, drain_s=0)
    told: asyncio.Queue[float] = asyncio.Queue()

    @asynccontextmanager
    async def attempt(
        _claimed: Claimed, report: Callable[[float], None]
    ) -> AsyncIterator[Finished]:
        while True:
            report(await told.get())
            told.task_done()
        yield Finished(Result(), (), tmp_path)

    async with asyncio.timeout(WAIT_S), working(context, attempt):
        batch_id, _ = await one_item(context)
        for fractions, stored in (((0.4, 0.2), 0.4), ((7.0,), 1.0)):
            for fraction in fractions:
                told.put_nowait(fraction)
            await told.join()
            while (await items_of(context, batch_id))[0].progress != stored:
                await asyncio.sleep(0.05)


async def test_a_worker_without_its_database_stops_its_attempt_and_does_it_anew_once_it_is_back(
    tmp_path: Path, database: Database
) -> None:
    away = Unreachable(database.engine.url.render_as_string(hide_password=False))
    context, held = new_context(away, tmp_path, **SHORT), Held()
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, held)):
        batch_id, _ = await one_item(context)
        await held.begun.wait()
        away.away = True
        await held.stopped.wait()
        held.let_go.set()
        away.away = False
        batch = await until_ended(context, batch_id)
    assert batch.counts.completed == 1
    (item,) = await items_of(context, batch_id)
    assert item.attempt > 1
    assert item.spent == Spent()
    await away.aclose()


async def test_a_worker_whose_lease_was_over_goes_on_under_another_id(
    database: Database, tmp_path: Path
) -> None:
    """As one that was stopped for a while: what it had is no longer its own."""
    context, held = new_context(database, tmp_path, **SHORT), Held()
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, held)):
        batch_id, _ = await one_item(context)
        await held.begun.wait()
        before = context.worker_id
        await database.run(workers.end_all)
        await held.stopped.wait()
        held.let_go.set()
        await until_ended(context, batch_id)
        assert context.worker_id != before
        alive = [row.id for row in await database.read(workers.alive)]
        assert alive == [context.worker_id]
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.begun) == ("completed", 1)


async def test_what_a_worker_has_not_begun_of_a_paused_batch_goes_back(
    database: Database, tmp_path: Path
) -> None:
    context, held = new_context(database, tmp_path), Held()
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, held), slots=1):
        batch_id = await send(context, 5)
        await held.begun.wait()
        await batch_control.pause(context, batch_id, owner_id=None)
        batch = await until(context, batch_id, lambda batch: batch.counts.pending == 4)
        assert batch.counts.in_flight == 1
        held.let_go.set()
        await until(context, batch_id, lambda batch: batch.counts.completed == 1)
        await batch_control.resume(context, batch_id, owner_id=None)
        await until_ended(context, batch_id)


async def test_what_waits_behind_a_long_file_goes_back_to_others(
    database: Database, tmp_path: Path
) -> None:
    context, held = new_context(database, tmp_path), Held()
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, held), slots=1):
        batch_id = await send(context, 5)
        await held.begun.wait()
        await until(context, batch_id, lambda batch: batch.counts.queued > 0)
        batch = await until(context, batch_id, lambda batch: batch.counts.pending == 4)
        assert batch.counts.in_flight == 1
        held.let_go.set()
        await until_ended(context, batch_id)


async def test_what_owners_have_of_a_worker_is_known_although_it_may_claim_nothing_more(
    database: Database, tmp_path: Path
) -> None:
    def in_use(conn: Connection) -> int:
        return int(conn.scalar(select(func.sum(shares.c.slots))) or 0)

    async def until_in_use(number: int) -> None:
        while await database.read(in_use) != number:
            await asyncio.sleep(0.05)

    context, held = new_context(database, tmp_path, lease_s=180, renew_s=60), Held()
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, held), slots=1):
        batch_id, _ = await one_item(context)
        await until_in_use(1)
        context.vitals.short_of = "only 0.1 GB of disk are free"
        held.let_go.set()
        batch = await until_ended(context, batch_id)
        await until_in_use(0)
    assert batch.counts.completed == 1


class Forgetful(Database):
    """A database whose answers to some calls get lost, each once."""

    def __init__(self, url: str, *functions: Callable[..., Any]) -> None:
        super().__init__(url)
        self.to_lose = list(functions)

    async def run(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        answer = await super().run(function, *args, **more)
        if function in self.to_lose and getattr(answer, "claimed", answer):
            self.to_lose.remove(function)
            raise DatabaseUnavailableError("The line broke.")
        return answer


@pytest.mark.parametrize("function", [claims.claim, transitions.finish])
async def test_an_answer_that_is_lost_loses_no_item_and_no_output(
    database: Database, tmp_path: Path, function: Callable[..., Any]
) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    forgetful = Forgetful(url, function)
    context = new_context(forgetful, tmp_path)
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 3)
        batch = await until_ended(context, batch_id)
    assert forgetful.to_lose == []
    assert batch.counts.completed == 3
    for item in await items_of(context, batch_id):
        assert item.begun == 1
        assert item.result is not None
        for output in item.result.outputs:
            assert (tmp_path / "storage" / output.key).exists()
    await forgetful.aclose()


async def test_what_could_not_be_given_back_while_the_database_was_away_is_done_once_it_is_back(
    database: Database, tmp_path: Path
) -> None:
    away = Unreachable(database.engine.url.render_as_string(hide_password=False))
    context, held = new_context(away, tmp_path), Held()
    ids = [await send(context, 1) for _ in range(3)]
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, held), slots=1):
        await held.begun.wait()
        for batch_id in ids:
            await until(context, batch_id, lambda batch: batch.counts.in_flight == 1)
        away.away, context.vitals.short_of = True, "only 0.1 GB of disk are free"
        await asyncio.sleep(1.5)
        away.away, context.vitals.short_of = False, None
        held.let_go.set()
        for batch_id in ids:
            assert (await until_ended(context, batch_id)).counts.completed == 1
    await away.aclose()


async def test_what_ended_while_the_database_was_away_is_kept_and_written_once_it_is_back(
    database: Database, tmp_path: Path
) -> None:
    away = Unreachable(database.engine.url.render_as_string(hide_password=False))
    context, held = new_context(away, tmp_path), Held()
    async with asyncio.timeout(WAIT_S), working(context, scripted(tmp_path, held)):
        batch_id, _ = await one_item(context)
        await held.begun.wait()
        away.away = True
        held.let_go.set()
        await asyncio.sleep(2)
        away.away = False
        await until_ended(context, batch_id)
    (item,) = await items_of(context, batch_id)
    assert (item.status, item.attempt) == ("completed", 1)
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


@pytest.mark.parametrize("how", ["cut", pytest.param("go_dead", marks=pytest.mark.long)])
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
        context = new_context(far, tmp_path, **SHORT, drain_s=0)

        @asynccontextmanager
        async def attempt(
            _claimed: Claimed, _report: Callable[[float], None]
        ) -> AsyncIterator[Finished]:
            await pool.run("hang")
            yield Finished(Result(), (), tmp_path)

        async with working(context, attempt):
            await one_item(context)
            await pool.busy()
            (child,) = pool.pids()
            getattr(line, how)()
            while is_alive(child):
                await asyncio.sleep(0.05)
            line.mend()
            await pool.busy()
        await far.aclose()


async def test_a_lease_that_was_over_is_replaced_once_all_that_was_done_under_it_has_stopped(
    database: Database, tmp_path: Path
) -> None:
    context, under = new_context(database, tmp_path), list[WorkerId]()

    async def stop_all() -> None:
        under.append(context.worker_id)

    await heartbeat.enter(context, slots=1)
    first = context.worker_id
    await heartbeat.renew(context, slots=1, on_lost=stop_all)
    assert under == []
    await database.run(workers.end_all)
    await heartbeat.renew(context, slots=1, on_lost=stop_all)
    assert under == [first]
    assert context.worker_id != first


async def test_the_next_check_gives_back_what_has_not_begun_of_a_paused_batch(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id, keeper = await send(context, 2), LeaseKeeper(context)
    waiting: list[AttemptKey] = []
    keeper.on_waiting_lost = waiting.extend
    claimed = await claim_as(context, str(context.worker_id), most=2)
    keeper.take(claimed)
    await batch_control.pause(context, batch_id, owner_id=None)
    checking = asyncio.create_task(keeper.run())
    await until(context, batch_id, lambda batch: batch.counts.pending == 2)
    checking.cancel()
    assert sorted(waiting) == sorted(each.claim.key for each in claimed)
