"""Notifications through a BullMQ queue on Redis or Valkey, for those who have one.

A job says that a batch has work, and nothing else; a worker that takes it asks the database. The
keys are BullMQ's own: Bull Board shows the queue, and jobs that programs in Node add count too.

BullMQ's own worker loop is not used: it can't be cancelled while it closes. Its fetching, locks and
checks for stalled jobs are.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from bullmq import Job, Queue, Worker
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from batchmill import logs
from batchmill.errors.outage import NotifierUnavailableError
from batchmill.logs import Event
from batchmill.model.batch import BatchId
from batchmill.notifiers.base import OnWork

PATIENCE_S: Final = 3.0
"""How long Redis may take to answer: callers must not wait for what workers find by themselves."""
IDLE_S: Final = 5
"""How long one question for a job stays open in Redis."""
PAUSE_S: Final = 0.5
"""Time between two tries to reach a Redis that is away."""
STALLED_S: Final = 5
"""How often a worker looks for jobs whose worker let its lock run out."""
_WORKER: Final = {
    "autorun": False,
    "drainDelay": IDLE_S,
    "lockDuration": 15_000,
    "stalledInterval": STALLED_S * 1000,
    "maxStalledCount": 3,
}


class BullmqNotifier:
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

    async def notify(self, batch_ids: Collection[BatchId]) -> None:
        """See Notifier.notify. A batch that waits to be told of is not doubled."""
        if batch_ids:
            async with _answered():
                await self._queue.addBulk([_job(batch_id) for batch_id in sorted(batch_ids)])

    async def listen(self, on_work: OnWork) -> None:
        """See Notifier.listen."""
        worker = Worker(self._queue.name, None, {"connection": self._client, **_WORKER})
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_check_stalled(worker))
                while True:
                    job = await _next(worker)
                    on_work()
                    await _say(_done(worker, job))
        finally:
            await worker.lockManager.close()

    async def check(self) -> str:
        """See Notifier.check."""
        async with _answered():
            await self._client.ping()
        return "answers"

    async def aclose(self) -> None:
        """See Notifier.aclose."""
        await self._client.aclose()


def _job(batch_id: BatchId) -> dict[str, Any]:
    options = {"jobId": batch_id, "removeOnComplete": True, "removeOnFail": True}
    return {"name": "batch", "data": {"id": batch_id}, "opts": options}


def _done(worker: Worker, job: Job) -> Awaitable[object]:
    """Take a job out at once: what is left of its batch the database knows."""
    done: Awaitable[object] = worker.backend.moveToCompleted(
        job, None, True, job.token, fetch_next=False
    )
    return done


async def _next(worker: Worker) -> Job:
    """Wait for a job, for as long as Redis is away too."""
    is_away = False
    while True:
        try:
            async with _answered(within_s=IDLE_S + PATIENCE_S):
                job = await worker.getNextJob(f"{worker.id}:{time.monotonic_ns()}")
        except Exception as error:  # BullMQ raises what it likes for a job that it can't read
            if not is_away:
                logs.warning(Event.NOTIFIER_AWAY, detail=getattr(error, "detail", str(error)))
            is_away = True
            await asyncio.sleep(PAUSE_S)
            continue
        if is_away:
            logs.info(Event.NOTIFIER_BACK)
            is_away = False
        if job is not None:
            return job


async def _check_stalled(worker: Worker) -> None:
    while True:
        await asyncio.sleep(STALLED_S)
        with suppress(RedisError, OSError):
            await worker.runStalledJobsCheck()


async def _say(saying: Awaitable[object]) -> None:
    """Tell Redis something that may get lost: a job that it keeps stalls, and comes once more."""
    # BullMQ raises what it likes, a TypeError for a lock that is gone: no job may end the worker.
    with suppress(Exception):
        async with _answered():
            await saying


@asynccontextmanager
async def _answered(within_s: float = PATIENCE_S) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(within_s):
            yield
    except (RedisError, OSError) as error:  # a TimeoutError is an OSError
        raise NotifierUnavailableError(detail=str(error) or "no answer") from error
