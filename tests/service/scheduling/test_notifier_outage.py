"""A notifier may be away or forget everything: what was accepted is done all the same."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import databases
from batchmill.db.connect import Database
from batchmill.model.batch import Batch
from batchmill.notifiers.bullmq import BullmqNotifier
from batchmill.service.context import ServerContext
from support import redis_server
from support.redis_server import PrivateRedis
from support.server_contexts import (
    batch_of,
    new_context,
    nothing_special,
    scripted,
    send,
    until,
    until_ended,
    working,
)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    with redis_server.private(tmp_path) as server:
        yield server


@pytest.fixture(params=databases.SERVERS)
def shared_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database that many machines could reach."""
    with databases.new_database(request.param, tmp_path) as database:
        yield database


def completed(number: int) -> Callable[[Batch], bool]:
    """Say whether so many items of a batch are completed."""
    return lambda batch: batch.counts.completed >= number


def on_redis(database: Database, folder: Path, redis: PrivateRedis) -> ServerContext:
    return new_context(database, folder, notifier=BullmqNotifier(redis.url, queue="q"))


async def test_what_is_accepted_without_redis_is_done_without_it(
    shared_database: Database, redis: PrivateRedis, tmp_path: Path
) -> None:
    context = on_redis(shared_database, tmp_path, redis)
    redis.kill()
    batch_id = await send(context, 5)
    assert (await batch_of(context, batch_id)).counts.pending == 5
    async with working(context, scripted(tmp_path, nothing_special)):
        batch = await until_ended(context, batch_id)
    assert batch.counts.completed == 5
    await context.notifier.aclose()


async def test_nothing_is_lost_when_redis_forgets_everything_again_and_again(
    shared_database: Database, redis: PrivateRedis, tmp_path: Path
) -> None:
    context = on_redis(shared_database, tmp_path, redis)
    async with working(context, scripted(tmp_path, nothing_special)):
        batch_id = await send(context, 60)
        for ended in (5, 20):
            await until(context, batch_id, completed(ended))
            await asyncio.to_thread(redis.client().flushall)
        batch = await until_ended(context, batch_id)
    assert batch.counts.completed == batch.counts.total == 60
    await context.notifier.aclose()
