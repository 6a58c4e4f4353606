"""Many workers at once: the batch row first, then items; nobody stands still."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

import databases
from batchmill.db import batches, counters, failures, items, workers
from batchmill.db.connect import Database
from batchmill.model.batch import BatchId
from batchmill.model.item import ItemStatus, Result, WorkerId
from batchmill.service import sweep
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import claims, transitions
from batchmill.service.scheduling.transitions import Asking, Completed, EndedAttempt, Outcome
from support.rows import UNREADABLE, count_by_status
from support.server_contexts import batch_of, items_of, new_context, send_many

T = TypeVar("T")
WORKERS = 8
ITEMS = 60


@pytest.fixture(params=databases.SERVERS)
def two_databases(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Database, Database]]:
    """The same database, opened as by two processes."""
    with databases.new_database(request.param, tmp_path) as one:
        url = make_url(one.engine.url).render_as_string(hide_password=False)
        two = Database(url)
        yield one, two
        asyncio.run(two.aclose())


class Tries:
    """Keeps what the server said to a deadlock's victims, which run again."""

    def __init__(self) -> None:
        self.deadlocks: list[str] = []

    async def run(
        self, database: Database, function: Callable[..., T], *args: Any, **more: Any
    ) -> T:
        """Run a transaction, and note where it is chosen as a victim."""

        def noting(conn: Connection) -> T:
            try:
                return function(conn, *args, **more)
            except DBAPIError as error:
                if "deadlock" in str(error.orig).casefold():
                    self.deadlocks.append(str(error))
                raise

        return await database.run(noting)


async def work_on_all(context: ServerContext, number: int, tries: Tries) -> None:
    """Claim, begin and finish a few items again and again, until cancelled."""
    run, worker_id = partial(tries.run, context.database), WorkerId(f"wrk_{number}")
    await run(workers.enter, worker_id, host="h", pid=1, slots=1, stats={}, lease_ms=600_000)
    asking = Asking(worker_id, slots=1, most=lambda _: 1 + number % 4)
    while True:
        answer = await run(claims.claim, asking)
        while answer.passed is not None:
            answer = await run(claims.claim, replace(asking, passed=answer.passed))
        claimed = answer.claimed
        if not claimed:
            await asyncio.sleep(0.01)
            continue
        batch_id = claimed[0].claim.batch_id
        begun = {each.claim: 0 for each in claimed[::2]}
        await run(transitions.begin, batch_id, begun, by=worker_id)
        back = len(claimed) > 1 and number % 2
        if back:
            assert await run(transitions.hand_back, batch_id, [claimed[0].claim], by=worker_id) == 1
        ended = claimed[1:] if back else claimed
        outcomes: list[Outcome] = [Completed(Result()), UNREADABLE]
        done = [EndedAttempt(each, outcomes[n % 2], 1) for n, each in enumerate(ended)][::-1]
        for part, by in ((done[1:], worker_id), (done[:1], None)):
            if part:
                found = await run(transitions.finish, batch_id, part, retention_ms=60_000, by=by)
                assert None not in found


async def look_after_all(context: ServerContext, ids: list[BatchId]) -> None:
    """Rescue, and change the row of every batch, each from another end, until cancelled."""
    while True:
        await sweep.rescue_lost(context)
        for batch_id in ids:
            await context.database.run(batches.change, batch_id, concurrency=None)


async def test_eight_workers_and_those_who_look_after_them_end_every_item_once(
    two_databases: tuple[Database, Database], tmp_path: Path
) -> None:
    contexts = [new_context(each, tmp_path) for each in two_databases]
    ids, tries = [await send_many(contexts[0], ITEMS) for _ in range(3)], Tries()
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(work_on_all(contexts[number % 2], number, tries))
            for number in range(WORKERS)
        ] + [
            group.create_task(look_after_all(contexts[number % 2], ids[:: 1 - number % 2 * 2]))
            for number in range(2)
        ]
        while not all([(await batch_of(contexts[0], each)).status.ended for each in ids]):
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
    for batch_id in ids:
        counts = (await batch_of(contexts[0], batch_id)).counts
        assert counts.completed + counts.failed == counts.total == ITEMS
        from_rows = await contexts[0].database.read(count_by_status, batch_id)
        assert counts.completed == from_rows[ItemStatus.COMPLETED]
        groups = await contexts[0].database.read(failures.of_batch, batch_id)
        assert [group.count for group in groups] == [counts.failed]
    assert tries.deadlocks == []


async def test_the_end_of_a_batch_waits_for_no_counter_of_another(
    two_databases: tuple[Database, Database], tmp_path: Path
) -> None:
    context, holds, is_over = (
        new_context(two_databases[0], tmp_path),
        asyncio.Event(),
        threading.Event(),
    )
    ending, other = await send_many(context, 1), await send_many(context, 1)
    loop = asyncio.get_running_loop()

    def count(conn: Connection) -> None:
        for number in range(WORKERS):
            for batch_id in (ending, other):
                counters.add(conn, batch_id, WorkerId(f"wrk_{number}"), {})

    def hold(conn: Connection) -> None:
        counters.add(conn, other, WorkerId("wrk_3"), {})
        loop.call_soon_threadsafe(holds.set)
        is_over.wait(60)

    def end(conn: Connection) -> None:
        batches.lock(conn, ending)
        counters.fold(conn, ending)

    await context.database.run(count)
    held = asyncio.create_task(two_databases[1].run(hold))
    await holds.wait()
    try:
        async with asyncio.timeout(5):
            await context.database.run(end)
    finally:
        is_over.set()
        await held


async def test_the_items_of_a_batch_are_deleted_without_waiting_for_those_of_another(
    two_databases: tuple[Database, Database], tmp_path: Path
) -> None:
    context, holds, is_over = (
        new_context(two_databases[0], tmp_path),
        asyncio.Event(),
        threading.Event(),
    )
    going, other = await send_many(context, 300), await send_many(context, 30)
    (held, *_) = await items_of(context, other)
    loop = asyncio.get_running_loop()

    def hold(conn: Connection) -> None:
        items.lock(conn, [held.id])
        loop.call_soon_threadsafe(holds.set)
        is_over.wait(60)

    holding = asyncio.create_task(two_databases[1].run(hold))
    await holds.wait()
    try:
        async with asyncio.timeout(5):
            assert await context.database.run(items.delete_chunk, going, limit=1_000) == 300
    finally:
        is_over.set()
        await holding


async def test_the_victim_of_a_deadlock_is_repeated(
    two_databases: tuple[Database, Database], tmp_path: Path
) -> None:
    """Two transactions take two batch rows in opposite order, which no code of ours does."""
    begun: list[BatchId] = []
    tries = Tries()
    both_hold_one, other_ended = threading.Barrier(2), threading.Event()

    def lock_both(conn: Connection, first: BatchId, second: BatchId) -> None:
        begun.append(first)
        if begun.count(first) > 1:  # else the victim may take its row again before the other does
            other_ended.wait(60)
        batches.lock(conn, first)
        if begun.count(first) == 1:
            both_hold_one.wait(60)
        batches.lock(conn, second)

    async def locked(database: Database, first: BatchId, second: BatchId) -> None:
        await tries.run(database, lock_both, first, second)
        other_ended.set()

    context = new_context(two_databases[0], tmp_path)
    one, two = await send_many(context, 1), await send_many(context, 1)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(locked(two_databases[0], one, two))
        group.create_task(locked(two_databases[1], two, one))
    assert len(begun) == 3
    assert len(tries.deadlocks) == 1
