"""BullMQ on Redis or Valkey: servers and workers on any number of machines share one queue.

A job carries an item's id and a priority, nothing else. The keys are BullMQ's own: Bull Board
shows the queue, and programs in Node can notify too with a job whose data is `{"id": ITEM_ID}`.
What Redis loses the sweep submits again.

BullMQ's own worker loop is not used: it can't be cancelled while it closes, and takes a job more
after it was told to stop. Its fetching, locks and checks for stalled jobs are.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from bullmq import Job, Queue, Worker
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from batchmill import logs
from batchmill.engines.base import Handler
from batchmill.errors.outage import EngineUnavailableError
from batchmill.logs import Event
from batchmill.model.item import ItemId, QueueMessage

PATIENCE_S: Final = 3.0
"""How long Redis may take to answer: callers must not wait for what the sweep makes good."""
IDLE_S: Final = 5
"""How long one question for a job stays open in Redis."""
PAUSE_S: Final = 0.5
"""Time between two tries to reach a Redis that is away."""
STALLED_S: Final = 5
"""How often somebody looks for jobs whose worker let its lock run out."""
CHUNK: Final = 200
"""Jobs in one round trip; packing more of them would hold up the event loop."""
_WORKER: Final = {
    "autorun": False,
    "drainDelay": IDLE_S,
    "lockDuration": 15_000,
    "stalledInterval": STALLED_S * 1000,
    "maxStalledCount": 3,
}


class BullmqEngine:
    """One queue in Redis; its name tells several installations on one Redis apart."""

    def __init__(self, url: str, *, queue: str) -> None:
        # No socket timeout: it would break off the question for a job, which stays open.
        self._client: Redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=None,
            socket_connect_timeout=PATIENCE_S,
            retry=Retry(NoBackoff(), 1),
        )
        self._queue = Queue(queue, {"connection": self._client})

    async def submit(self, messages: Sequence[QueueMessage]) -> None:
        """See Engine.submit."""
        for first in range(0, len(messages), CHUNK):
            jobs = [_job(message) for message in messages[first : first + CHUNK]]
            async with _answered():
                await self._queue.addBulk(jobs)

    async def serve(self, handle: Handler, *, slots: int, stopping: asyncio.Event) -> None:
        """See Engine.serve."""
        worker = Worker(self._queue.name, None, {"connection": self._client, **_WORKER})
        worker.lockManager.start()
        try:
            async with asyncio.TaskGroup() as group:
                beside = (_check_stalled(worker), _stop_fetching(worker, stopping))
                tasks = [group.create_task(each) for each in beside]
                await _take_all(worker, handle, slots, stopping)
                for task in tasks:
                    task.cancel()
        finally:
            await worker.lockManager.close()

    async def missing(self, messages: Sequence[QueueMessage]) -> Sequence[QueueMessage]:
        """See Engine.missing."""
        async with _answered():
            asked = self._client.pipeline(transaction=False)
            for message in messages:
                asked.exists(self._queue.toKey(_job_id(message)))
            held = await asked.execute()
        return [message for message, known in zip(messages, held, strict=True) if not known]

    async def aclose(self) -> None:
        """See Engine.aclose."""
        await self._client.aclose()


def _job_id(message: QueueMessage) -> str:
    return f"{message.item_id}.{message.dispatch_no}"


def _job(message: QueueMessage) -> dict[str, Any]:
    # Priority 0 would be none at all: such a job overtakes all others.
    options = {
        "jobId": _job_id(message),
        "priority": max(1, message.priority),
        "removeOnComplete": True,
        "removeOnFail": True,
    }
    return {"name": "item", "data": {"id": message.item_id}, "opts": options}


async def _take_all(worker: Worker, handle: Handler, slots: int, stopping: asyncio.Event) -> None:
    """Hand each job to a task of its own while a slot is free."""
    free = asyncio.Semaphore(slots)
    async with asyncio.TaskGroup() as running:
        while True:
            await free.acquire()
            job = await _next(worker, stopping)
            if job is None:
                break
            running.create_task(_run(worker, job, handle, free))


async def _run(worker: Worker, job: Job, handle: Handler, free: asyncio.Semaphore) -> None:
    """Handle a job with its lock renewed. Whatever came of it, the database knows: it is done."""
    item_id = job.data.get("id") if isinstance(job.data, dict) else None  # others may notify too
    worker.lockManager.track_job(job.id, job.token, round(time.time() * 1000))
    try:
        await handle(ItemId(str(item_id or "")))
    finally:
        worker.lockManager.untrack_job(job.id)
        done = worker.backend.moveToCompleted(job, None, True, job.token, fetch_next=False)
        await _say(done)
        free.release()


async def _next(worker: Worker, stopping: asyncio.Event) -> Job | None:
    """Wait for a job, for as long as Redis is away too; None once `stopping` is set."""
    away = False
    while not stopping.is_set():
        try:
            async with _answered(within_s=IDLE_S + PATIENCE_S):
                job = await worker.getNextJob(f"{worker.id}:{time.monotonic_ns()}")
        except EngineUnavailableError as error:
            if not away:
                logs.warning(Event.ENGINE_AWAY, code=error.code, detail=error.detail)
            away = True
            await _pause(stopping)
            continue
        if away:
            logs.info(Event.ENGINE_BACK)
            away = False
        if job is not None and stopping.is_set():  # it came too late: to whoever goes on
            await _say(worker.backend.retryJob(job.id, False, job.token))
        elif job is not None:
            return job
    return None


async def _stop_fetching(worker: Worker, stopping: asyncio.Event) -> None:
    """End the open question for a job; one that is being answered must not be cut off."""
    await stopping.wait()
    worker.closing = True
    if worker.waiting:
        worker.waiting.cancel()


async def _check_stalled(worker: Worker) -> None:
    while True:
        await asyncio.sleep(STALLED_S)
        await worker.runStalledJobsCheck()


async def _pause(stopping: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(PAUSE_S):
            await stopping.wait()


async def _say(saying: Awaitable[object]) -> None:
    """Tell Redis something that may get lost: a job that it keeps stalls and finds nothing to do.

    A TypeError is what BullMQ raises for a job or a lock that is gone.
    """
    with suppress(EngineUnavailableError, TypeError):
        async with _answered():
            await saying


@asynccontextmanager
async def _answered(within_s: float = PATIENCE_S) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(within_s):
            yield
    except (RedisError, OSError) as error:  # a TimeoutError is an OSError
        raise EngineUnavailableError(detail=str(error) or "no answer") from error
