"""Many finishers and dispatchers at once: the batch row first, then items; nobody stands still."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

import databases
from batchmill.db import batches
from batchmill.db.connect import Database
from batchmill.engines.memory import MemoryEngine
from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId, QueueMessage, Result
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import Completed
from support.server_contexts import batch_of, new_context, send_many

FINISHERS = DISPATCHERS = 8
ITEMS = 30


class Notifications(MemoryEngine):
    """An engine that keeps what it is told where finishers take it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[ItemId] = asyncio.Queue()

    async def submit(self, messages: Sequence[QueueMessage]) -> None:
        for each in messages:
            self.queue.put_nowait(each.item_id)

    async def aclose(self) -> None:
        pass


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


async def finish_all(context: ServerContext, notifications: Notifications) -> None:
    """Claim and settle whatever is rung for, until cancelled."""
    while True:
        item_id = await notifications.queue.get()
        claimed = await context.database.run(
            transitions.claim, item_id, worker_id=context.process_id, lease_ms=context.lease_ms
        )
        if claimed is not None:
            done = Completed(Result(outputs=()))
            settled = await context.database.run(
                transitions.finish, claimed, done, run_ms=1, retention_ms=60_000
            )
            assert settled is not None


async def dispatch_all(context: ServerContext, ids: list[BatchId]) -> None:
    """Dispatch every batch again and again, each dispatcher from another end, until cancelled."""
    while True:
        for batch_id in ids:
            taken = await context.database.run(transitions.queue_items, batch_id, window=7)
            await context.notify(taken.messages)
            await context.database.run(transitions.rescue, batch_id, limit=100)


async def test_eight_finishers_and_eight_dispatchers_end_every_item_once(
    two_databases: tuple[Database, Database], tmp_path: Path
) -> None:
    notifications = Notifications()
    contexts = [new_context(each, tmp_path, engine=notifications) for each in two_databases]
    ids = [await send_many(contexts[0], ITEMS) for _ in range(3)]
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(finish_all(contexts[number % 2], notifications))
            for number in range(FINISHERS)
        ] + [
            group.create_task(dispatch_all(contexts[number % 2], ids[:: 1 - number % 2 * 2]))
            for number in range(DISPATCHERS)
        ]
        while not all([(await batch_of(contexts[0], each)).status.ended for each in ids]):
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
    for batch_id in ids:
        counts = (await batch_of(contexts[0], batch_id)).counts
        assert counts.completed == counts.total == ITEMS


async def test_the_victim_of_a_deadlock_is_repeated(
    two_databases: tuple[Database, Database], tmp_path: Path
) -> None:
    """Two transactions take two batch rows in opposite order, which no code of ours does."""
    tries: list[BatchId] = []
    both_hold_one, other_ended = threading.Barrier(2), threading.Event()

    def lock_both(conn: Connection, first: BatchId, second: BatchId) -> None:
        tries.append(first)
        if tries.count(first) > 1:  # else the victim may take its row again before the other does
            other_ended.wait(60)
        batches.lock(conn, first)
        if tries.count(first) == 1:
            both_hold_one.wait(60)
        batches.lock(conn, second)

    async def locked(database: Database, first: BatchId, second: BatchId) -> None:
        await database.run(lock_both, first, second)
        other_ended.set()

    context = new_context(two_databases[0], tmp_path)
    one, two = await send_many(context, 1), await send_many(context, 1)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(locked(two_databases[0], one, two))
        group.create_task(locked(two_databases[1], two, one))
    assert len(tries) == 3
