"""What every notifier does, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

import databases
from batchmill.db.connect import Database
from batchmill.model.batch import BatchId
from batchmill.notifiers.base import Notifier
from batchmill.notifiers.bullmq import BullmqNotifier
from batchmill.notifiers.local import LocalNotifier
from batchmill.notifiers.postgresql import PostgresqlNotifier
from batchmill.worker import background
from support import redis_server

Maker = Callable[[], Notifier]
BATCHES = [BatchId("bat_1"), BatchId("bat_2")]


@contextmanager
def _local(_folder: Path) -> Iterator[Maker]:
    one = LocalNotifier()
    yield lambda: one


@contextmanager
def _bullmq(_folder: Path) -> Iterator[Maker]:
    with redis_server.own_queue() as (url, queue):
        yield lambda: BullmqNotifier(url, queue=queue)


@contextmanager
def _postgresql(folder: Path) -> Iterator[Maker]:
    with databases.new_database("postgresql", folder) as database:
        url = make_url(database.engine.url).render_as_string(hide_password=False)
        opened: list[Database] = []

        def make() -> Notifier:
            opened.append(Database(url))
            return PostgresqlNotifier(opened[-1])

        yield make
        for each in opened:
            asyncio.run(each.aclose())


MAKERS: dict[str, Callable[[Path], AbstractContextManager[Maker]]] = {
    "bullmq": _bullmq,
    "local": _local,
    "postgresql": _postgresql,
}


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    with MAKERS[request.param](tmp_path) as maker:
        yield maker


class Heard:
    """Counts notifications."""

    def __init__(self) -> None:
        self.number = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.number += 1
        self._changed.set()

    async def reaches(self, number: int) -> None:
        while self.number < number:
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def listening(notifier: Notifier) -> AsyncIterator[Heard]:
    """Listen beside the block, which begins once a notification is heard."""
    heard = Heard()
    async with asyncio.timeout(60), background(notifier.listen(heard)):
        while not heard.number:
            await notifier.notify(BATCHES[:1])
            await asyncio.sleep(0.05)
        yield heard


async def test_who_listens_hears_that_there_is_work(make: Maker) -> None:
    notifier = make()
    async with listening(notifier) as heard:
        before = heard.number
        await notifier.notify(BATCHES[1:])
        await heard.reaches(before + 1)
    assert heard.number > before
    await notifier.aclose()


async def test_what_another_process_says_is_heard(make: Maker) -> None:
    speaker, listener = make(), make()
    async with listening(listener) as heard:
        before = heard.number
        await speaker.notify(BATCHES)
        await heard.reaches(before + 1)
    assert heard.number > before
    await speaker.aclose()
    await listener.aclose()


async def test_nobody_hears_of_no_batch(make: Maker) -> None:
    notifier = make()
    async with listening(notifier) as heard:
        await asyncio.sleep(0.2)  # for what was said before
        before = heard.number
        await notifier.notify([])
        await asyncio.sleep(0.2)
        assert heard.number == before
    await notifier.aclose()


async def test_saying_something_that_nobody_listens_to_is_no_error(make: Maker) -> None:
    notifier = make()
    await notifier.notify(BATCHES)
    await notifier.notify(BATCHES)
    assert await notifier.check()
    await notifier.aclose()
    await notifier.aclose()


async def test_listening_ends_when_it_is_cancelled(make: Maker) -> None:
    notifier = make()
    async with listening(notifier) as heard:
        pass
    last = heard.number
    await notifier.notify(BATCHES)
    await asyncio.sleep(0.1)
    assert heard.number == last
    await notifier.aclose()
