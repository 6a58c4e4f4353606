"""What is special about BullMQ: Redis may vanish, others may look in and ring too."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from batchmill.engines.bullmq import BullmqEngine
from batchmill.errors.outage import EngineUnavailableError
from batchmill.model.item import ItemId, QueueMessage
from support import parts, redis_server
from support.redis_server import PrivateRedis

Handled = list[str]


def messages(number: int, *, dispatch_no: int = 1) -> list[QueueMessage]:
    return [QueueMessage(ItemId(f"itm_{n}"), dispatch_no, 1050) for n in range(number)]


async def take(
    engine: BullmqEngine,
    number: int,
    *,
    slots: int = 1,
    meanwhile: Callable[[Handled], object] = lambda _: None,
) -> Handled:
    """Serve until `number` items were handled; tell `meanwhile` after each."""
    handled: Handled = []
    stopping = asyncio.Event()

    async def handle(item_id: ItemId) -> None:
        handled.append(item_id)
        await asyncio.to_thread(meanwhile, handled)
        if len(handled) >= number:
            stopping.set()

    async with asyncio.timeout(60):
        await engine.serve(handle, slots=slots, stopping=stopping)
    return handled


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    with redis_server.private(tmp_path) as server:
        yield server


@pytest.fixture
def shared() -> Iterator[tuple[str, str]]:
    with redis_server.own_queue() as place:
        yield place


async def test_a_redis_that_is_away_is_an_outage(redis: PrivateRedis) -> None:
    engine = BullmqEngine(redis.url, queue="q")
    await engine.submit(messages(1))
    redis.kill()
    with pytest.raises(EngineUnavailableError):
        await engine.submit(messages(1))
    with pytest.raises(EngineUnavailableError):
        await engine.missing(messages(1))
    await engine.aclose()


async def test_a_redis_that_hangs_holds_up_nobody_and_is_used_again(redis: PrivateRedis) -> None:
    engine = BullmqEngine(redis.url, queue="q")
    await engine.submit(messages(1))
    redis.freeze()
    async with asyncio.timeout(30):
        with pytest.raises(EngineUnavailableError):
            await engine.submit(messages(2))
    redis.thaw()
    await engine.submit(messages(2))
    assert await take(engine, 2) == ["itm_0", "itm_1"]
    await engine.aclose()


async def test_serving_goes_on_by_itself_after_redis_was_killed(redis: PrivateRedis) -> None:
    engine = BullmqEngine(redis.url, queue="q")
    loop, first = asyncio.get_running_loop(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        taking = group.create_task(
            take(engine, 3, meanwhile=lambda _: loop.call_soon_threadsafe(first.set))
        )
        await engine.submit(messages(1))
        await first.wait()
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(redis.start)
        await engine.submit(messages(2, dispatch_no=2))
    assert taking.result() == ["itm_0", "itm_0", "itm_1"]
    await engine.aclose()


async def test_what_redis_forgot_is_missing_until_it_is_submitted_again(
    redis: PrivateRedis,
) -> None:
    engine = BullmqEngine(redis.url, queue="q")
    sent = messages(450)
    await engine.submit(sent)
    assert list(await engine.missing(sent)) == []
    await asyncio.to_thread(redis.client().flushall)
    assert list(await engine.missing(sent)) == sent
    await engine.submit(sent[:1])
    assert list(await engine.missing(sent)) == sent[1:]
    await engine.aclose()


async def test_a_redis_that_is_emptied_while_an_item_runs_does_no_harm(redis: PrivateRedis) -> None:
    engine = BullmqEngine(redis.url, queue="q")
    await engine.submit(messages(1))

    def empty(handled: Handled) -> None:
        if len(handled) == 1:
            redis.client().flushall()
            asyncio.run_coroutine_threadsafe(engine.submit(messages(2)), loop).result(10)

    loop = asyncio.get_running_loop()
    assert await take(engine, 3, meanwhile=empty) == ["itm_0", "itm_0", "itm_1"]
    await engine.aclose()


async def test_what_comes_after_a_stop_goes_to_others_at_once(shared: tuple[str, str]) -> None:
    """A job that was fetched and dropped would come back only when its lock runs out, in 15 s."""

    url, queue = shared
    first, second = BullmqEngine(url, queue=queue), BullmqEngine(url, queue=queue)
    await first.submit(messages(40))
    handled = await take(first, 5, slots=4)
    with Redis.from_url(url) as client:
        assert client.llen(f"bull:{queue}:active") == 0
    async with asyncio.timeout(60):
        handled += await take(second, 40 - len(handled), slots=4)
    assert sorted(handled) == sorted(each.item_id for each in messages(40))
    await first.aclose()
    await second.aclose()


async def test_two_workers_share_the_queue_and_double_nothing(shared: tuple[str, str]) -> None:
    url, queue = shared
    engines = [BullmqEngine(url, queue=queue) for _ in range(2)]
    await engines[0].submit(messages(60))
    stopping, handled = asyncio.Event(), []

    async def handle(item_id: ItemId) -> None:
        await asyncio.sleep(0.002)
        handled.append(item_id)
        if len(handled) == 60:
            stopping.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for engine in engines:
            group.create_task(engine.serve(handle, slots=3, stopping=stopping))
    assert len(set(handled)) == len(handled) == 60
    for engine in engines:
        await engine.aclose()


async def test_redis_holds_ids_and_priorities_and_nothing_once_all_is_done(
    shared: tuple[str, str],
) -> None:
    url, queue = shared
    engine = BullmqEngine(url, queue=queue)
    await engine.submit(messages(3))
    with Redis.from_url(url, decode_responses=True) as client:
        job = client.hgetall(f"bull:{queue}:itm_0.1")
        assert json.loads(job.pop("data")) == {"id": "itm_0"}
        assert job["priority"] == "1050"
        assert set(job) <= {"name", "opts", "timestamp", "delay", "priority", "atm", "ats"}
        await take(engine, 3)
        left = {key.rpartition(":")[2] for key in client.scan_iter(f"bull:{queue}:*")}
    assert left <= {"id", "meta", "events", "marker", "stalled", "stalled-check", "pc"}
    await engine.aclose()


@pytest.mark.long
async def test_a_job_of_a_worker_that_died_is_taken_by_another(shared: tuple[str, str]) -> None:
    url, queue = shared
    dead, alive = BullmqEngine(url, queue=queue), BullmqEngine(url, queue=queue)
    await dead.submit(messages(1))
    started = asyncio.Event()

    async def hang(_item_id: ItemId) -> None:
        with Redis.from_url(url) as client:  # as if its time were over
            client.delete(f"bull:{queue}:itm_0.1:lock")
        started.set()
        await asyncio.sleep(600)

    serving = asyncio.ensure_future(dead.serve(hang, slots=1, stopping=asyncio.Event()))
    await started.wait()
    assert await take(alive, 1) == ["itm_0"]
    serving.cancel()
    await asyncio.wait({serving})
    await dead.aclose()
    await alive.aclose()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds its own BullMQ."""
    folder = tmp_path_factory.mktemp("node")
    for program in ("node", "npm"):
        parts.program(program, part="Node.js with npm")
    options = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
    done = subprocess.run(
        ["npm", "install", *options, "bullmq@5.81.5"], cwd=folder, capture_output=True, check=False
    )
    if done.returncode:
        parts.missing("packages from npm", "bullmq")
    return folder


def in_node(folder: Path, program: str, url: str, queue: str) -> str:
    """Run a program that has a queue `q` and return what it prints."""
    head = (
        "const { Queue } = require('bullmq');"
        "const { hostname, port, pathname } = new URL(process.argv[1]);"
        "const connection = { host: hostname, port, db: pathname.slice(1) || 0 };"
        "const q = new Queue(process.argv[2], { connection });"
    )
    whole = f"{head}(async () => {{ {program}; await q.close(); }})()"
    done = subprocess.run(
        ["node", "-e", whole, url, queue], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_node_reads_the_queue_as_bull_board_does(node: Path, shared: tuple[str, str]) -> None:
    engine = BullmqEngine(shared[0], queue=shared[1])
    await engine.submit(messages(7))
    program = "console.log(JSON.stringify(await q.getJobCounts()))"
    counts = json.loads(in_node(node, program, *shared))
    assert counts["prioritized"] == 7
    program = "for (const j of await q.getJobs(['prioritized'])) console.log(j.id, j.data.id)"
    assert "itm_0.1 itm_0" in in_node(node, program, *shared).splitlines()
    await engine.aclose()


async def test_a_job_from_a_node_producer_is_taken(node: Path, shared: tuple[str, str]) -> None:
    engine = BullmqEngine(shared[0], queue=shared[1])
    program = "await q.add('anything', { id: 'itm_x' }); await q.add('odd', 'no object')"
    await asyncio.to_thread(in_node, node, program, *shared)
    assert await take(engine, 2) == ["itm_x", ""]
    await engine.aclose()
