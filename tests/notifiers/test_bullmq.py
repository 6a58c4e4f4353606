"""What is special about BullMQ: Redis may vanish, others may look in and notify too."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from batchmill.errors.outage import NotifierUnavailableError
from batchmill.model.batch import BatchId
from batchmill.notifiers.bullmq import BullmqNotifier
from batchmill.worker import background
from support import parts, redis_server
from support.redis_server import PrivateRedis


def batches(number: int) -> list[BatchId]:
    return [BatchId(f"bat_{n}") for n in range(number)]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    with redis_server.private(tmp_path) as server:
        yield server


@pytest.fixture
def shared() -> Iterator[tuple[str, str]]:
    with redis_server.own_queue() as place:
        yield place


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.02)


async def test_a_redis_that_is_away_is_an_outage(redis: PrivateRedis) -> None:
    notifier = BullmqNotifier(redis.url, queue="q")
    await notifier.notify(batches(1))
    redis.kill()
    with pytest.raises(NotifierUnavailableError):
        await notifier.notify(batches(1))
    with pytest.raises(NotifierUnavailableError):
        await notifier.check()
    await notifier.aclose()


async def test_a_redis_that_hangs_holds_up_nobody_and_is_used_again(redis: PrivateRedis) -> None:
    notifier, heard = BullmqNotifier(redis.url, queue="q"), list[int]()
    await notifier.notify(batches(1))
    redis.freeze()
    async with asyncio.timeout(30):
        with pytest.raises(NotifierUnavailableError):
            await notifier.notify(batches(2))
    redis.thaw()
    await notifier.notify(batches(2))
    async with background(notifier.listen(lambda: heard.append(1))):
        await until(lambda: len(heard) >= 2)
    assert len(heard) >= 2
    await notifier.aclose()


async def test_listening_goes_on_by_itself_after_redis_was_killed(redis: PrivateRedis) -> None:
    notifier, heard = BullmqNotifier(redis.url, queue="q"), list[int]()
    async with background(notifier.listen(lambda: heard.append(1))):
        await notifier.notify(batches(1))
        await until(lambda: len(heard) == 1)
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(redis.start)
        await notifier.notify(batches(2))
        await until(lambda: len(heard) >= 3)
    assert len(heard) == 3
    await notifier.aclose()


async def test_a_redis_that_is_emptied_meanwhile_does_no_harm(redis: PrivateRedis) -> None:
    notifier, heard = BullmqNotifier(redis.url, queue="q"), list[int]()
    await notifier.notify(batches(3))
    await asyncio.to_thread(redis.client().flushall)
    async with background(notifier.listen(lambda: heard.append(1))):
        await notifier.notify(batches(1))
        await until(lambda: len(heard) == 1)
    assert len(heard) == 1
    await notifier.aclose()


async def test_a_batch_that_waits_to_be_told_of_is_one_job(shared: tuple[str, str]) -> None:
    url, queue = shared
    notifier = BullmqNotifier(url, queue=queue)
    for _ in range(3):
        await notifier.notify(batches(2))
    with Redis.from_url(url) as client:
        assert client.llen(f"bull:{queue}:wait") == 2
    await notifier.aclose()


async def test_redis_holds_ids_and_nothing_once_all_is_told(shared: tuple[str, str]) -> None:
    url, queue = shared
    notifier, heard = BullmqNotifier(url, queue=queue), list[int]()
    await notifier.notify(batches(3))
    with Redis.from_url(url, decode_responses=True) as client:
        job = client.hgetall(f"bull:{queue}:bat_0")
        assert json.loads(job.pop("data")) == {"id": "bat_0"}
        assert set(job) <= {"name", "opts", "timestamp", "delay", "priority", "atm", "ats"}

        def left() -> set[str]:
            return {key.rpartition(":")[2] for key in client.scan_iter(f"bull:{queue}:*")}

        async with background(notifier.listen(lambda: heard.append(1))):
            known = {"id", "meta", "events", "marker", "stalled", "stalled-check", "pc"}
            await until(lambda: len(heard) == 3 and left() <= known)
    await notifier.aclose()


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
    notifier = BullmqNotifier(shared[0], queue=shared[1])
    await notifier.notify(batches(7))
    program = "console.log(JSON.stringify(await q.getJobCounts()))"
    counts = json.loads(in_node(node, program, *shared))
    assert counts["waiting"] == 7
    program = "for (const j of await q.getJobs(['waiting'])) console.log(j.id, j.data.id)"
    assert "bat_1 bat_1" in in_node(node, program, *shared).splitlines()
    await notifier.aclose()


async def test_a_job_from_a_node_producer_counts_too(node: Path, shared: tuple[str, str]) -> None:
    notifier, heard = BullmqNotifier(shared[0], queue=shared[1]), list[int]()
    program = "await q.add('anything', { id: 'itm_x' }); await q.add('odd', 'no object')"
    await asyncio.to_thread(in_node, node, program, *shared)
    async with background(notifier.listen(lambda: heard.append(1))):
        await until(lambda: len(heard) == 2)
    assert len(heard) == 2
    await notifier.aclose()
