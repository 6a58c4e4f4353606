"""What every engine does, whatever it is made of."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest

from batchmill.engines.base import Engine
from batchmill.engines.bullmq import BullmqEngine
from batchmill.engines.memory import MemoryEngine
from batchmill.model.item import ItemId, QueueMessage
from support import redis_server

Maker = Callable[[], Engine]


@contextmanager
def _memory() -> Iterator[Maker]:
    yield MemoryEngine


@contextmanager
def _bullmq() -> Iterator[Maker]:
    with redis_server.own_queue() as (url, queue):
        yield lambda: BullmqEngine(url, queue=queue)


MAKERS: dict[str, Callable[[], AbstractContextManager[Maker]]] = {
    "bullmq": _bullmq,
    "memory": _memory,
}


@pytest.fixture(params=sorted(MAKERS))
def make_engine(request: pytest.FixtureRequest) -> Iterator[Maker]:
    with MAKERS[request.param]() as make:
        yield make


def a_delivery(name: str, priority: int = 1050, dispatch_no: int = 1) -> QueueMessage:
    return QueueMessage(ItemId(name), dispatch_no, priority)


async def serve_until(engine: Engine, number: int, *, slots: int = 1) -> list[str]:
    """Serve until `number` deliveries were handled; return them in order."""
    handled: list[str] = []
    stopping = asyncio.Event()

    async def handle(item_id: ItemId) -> None:
        handled.append(item_id)
        if len(handled) == number:
            stopping.set()

    async with asyncio.timeout(30):
        await engine.serve(handle, slots=slots, stopping=stopping)
    return handled


async def test_every_delivery_is_handled(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    await engine.submit([a_delivery(f"itm_{n}") for n in range(20)])
    assert sorted(await serve_until(engine, 20, slots=3)) == sorted(f"itm_{n}" for n in range(20))
    await engine.aclose()


async def test_lower_priority_numbers_run_first_and_equal_ones_in_order(
    make_engine: Callable[[], Engine],
) -> None:
    engine = make_engine()
    await engine.submit([a_delivery("late", 1590), a_delivery("first", 1050)])
    await engine.submit([a_delivery("second", 1050), a_delivery("urgent", 110)])
    assert await serve_until(engine, 4) == ["urgent", "first", "second", "late"]
    await engine.aclose()


async def test_one_that_waits_is_not_doubled(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    await engine.submit([a_delivery("a"), a_delivery("a")])
    await engine.submit([a_delivery("a"), a_delivery("b")])
    assert await serve_until(engine, 2) == ["a", "b"]
    await engine.aclose()


async def test_a_handled_item_can_be_submitted_again(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    await engine.submit([a_delivery("a")])
    assert await serve_until(engine, 1) == ["a"]
    await engine.submit([a_delivery("a", dispatch_no=2)])
    assert await serve_until(engine, 1) == ["a"]
    await engine.aclose()


async def test_missing_names_what_the_engine_does_not_hold(
    make_engine: Callable[[], Engine],
) -> None:
    engine = make_engine()
    held, lost = a_delivery("held"), a_delivery("lost")
    await engine.submit([held])
    assert list(await engine.missing([held, lost])) == [lost]
    await engine.aclose()


async def test_an_item_that_is_being_handled_is_not_missing(
    make_engine: Callable[[], Engine],
) -> None:
    engine, stopping = make_engine(), asyncio.Event()
    running = a_delivery("running")
    found: list[QueueMessage] = []

    async def handle(_item_id: ItemId) -> None:
        found.extend(await engine.missing([running]))
        stopping.set()

    await engine.submit([running])
    async with asyncio.timeout(30):
        await engine.serve(handle, slots=1, stopping=stopping)
    assert found == []
    await engine.aclose()


async def test_no_more_than_the_slots_run_at_once(make_engine: Callable[[], Engine]) -> None:
    engine, stopping = make_engine(), asyncio.Event()
    running = most = ended = 0
    full = asyncio.Event()

    async def handle(_item_id: ItemId) -> None:
        nonlocal running, most, ended
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0.01)  # in which a fourth could begin
        running -= 1
        ended += 1
        if ended == 12:
            stopping.set()

    await engine.submit([a_delivery(f"itm_{n}") for n in range(12)])
    async with asyncio.timeout(30):
        await engine.serve(handle, slots=3, stopping=stopping)
    assert most == 3
    await engine.aclose()


async def test_stopping_lets_running_handlers_end_and_takes_nothing_new(
    make_engine: Callable[[], Engine],
) -> None:
    engine, stopping = make_engine(), asyncio.Event()
    ended: list[str] = []

    async def handle(item_id: ItemId) -> None:
        stopping.set()
        await asyncio.sleep(0.05)
        ended.append(item_id)

    await engine.submit([a_delivery("one"), a_delivery("two")])
    async with asyncio.timeout(30):
        await engine.serve(handle, slots=1, stopping=stopping)
    assert ended == ["one"]
    await engine.aclose()


async def test_cancelling_cancels_running_handlers(make_engine: Callable[[], Engine]) -> None:
    engine, stopping = make_engine(), asyncio.Event()
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(_item_id: ItemId) -> None:
        started.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await engine.submit([a_delivery("one")])
    serving = asyncio.ensure_future(engine.serve(handle, slots=1, stopping=stopping))
    await started.wait()
    serving.cancel()
    await asyncio.wait({serving})
    assert cancelled.is_set()
    await engine.aclose()


async def test_a_steady_stream_of_others_does_not_hold_back_who_stands_further_back(
    make_engine: Callable[[], Engine],
) -> None:
    engine = make_engine()
    handled: list[str] = []
    stopping = asyncio.Event()

    async def handle(item_id: ItemId) -> None:
        handled.append(item_id)
        if item_id == "last" or len(handled) == 50:
            stopping.set()
        await engine.submit([a_delivery(f"next{len(handled)}")])

    await engine.submit([a_delivery("first"), replace(a_delivery("last"), ahead=9)])
    async with asyncio.timeout(30):
        await engine.serve(handle, slots=1, stopping=stopping)
    await engine.aclose()
    assert "last" in handled
