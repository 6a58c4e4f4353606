"""Writes what has ended, many items in one statement, and clears away what is left behind.

What waits to be written is never dropped while the database is away: the fence decides, once it is
back, what still counts.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from batchmill import logs
from batchmill.db import items
from batchmill.errors.item import ResultUnstorableError
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import BatchId
from batchmill.model.item import Claim, Failure
from batchmill.model.retry import RetryPolicy
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.leases import LeaseKeeper
from batchmill.service.scheduling.transitions import (
    Claimed,
    Completed,
    EndedAttempt,
    Failed,
    FinishedItem,
)
from batchmill.storage import keys

WRITE_S: Final = 0.1
"""How long an item that has ended may wait for others, while others are at work."""
WRITE_ITEMS: Final = 50
"""With so many it waits no longer."""
MOST_WAITING: Final = 200
"""With more to be written nothing new is begun."""
PAUSE_S: Final = 0.5
"""Time between two tries while the database is away."""


class Finisher:
    """One per worker process; `run` must be running while items end."""

    def __init__(self, server: ServerContext, keeper: LeaseKeeper) -> None:
        self._server_context = server
        self._keeper = keeper
        self._waiting: list[EndedAttempt] = []
        self._came, self._due, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._writing = asyncio.Lock()

    async def add(self, ended: EndedAttempt) -> None:
        """Write an item soon; returns at once unless too much waits already."""
        self._waiting.append(ended)
        self._came.set()
        if self._is_due():
            self._due.set()
        if len(self._waiting) >= MOST_WAITING:
            self._room.clear()
        await self._room.wait()

    async def run(self) -> None:
        """Write what has ended; runs until cancelled."""
        while True:
            await self._came.wait()
            try:
                async with asyncio.timeout(WRITE_S):
                    await self._due.wait()
            except TimeoutError:
                pass
            try:
                is_written = await self.write_all()
            except Exception as error:  # a fault of ours must not end the worker
                logs.error(Event.INTERNAL_ERROR, exc_info=error)
                is_written = False
            if not is_written:
                await asyncio.sleep(PAUSE_S)

    async def write_all(self) -> bool:
        """Write all that waits, and clear away. False: the database is away; the rest waits on."""
        async with self._writing:
            return await self._write_all()

    async def _write_all(self) -> bool:
        self._came.clear()
        self._due.clear()
        taken, self._waiting = self._waiting, []
        by_batch: dict[BatchId, list[EndedAttempt]] = {}
        for ended in taken:
            by_batch.setdefault(ended.claimed.claim.batch_id, []).append(ended)
        try:
            for batch_id in list(by_batch):
                await self._write(batch_id, by_batch[batch_id])
                del by_batch[batch_id]
        except OutageError as error:
            logs.warning(Event.ITEM_INTERRUPTED, code=error.code, detail=error.detail)
            return False
        finally:
            left = [ended for each in by_batch.values() for ended in each]
            self._waiting = [*left, *self._waiting]
            if self._waiting:
                self._came.set()
            if len(self._waiting) < MOST_WAITING:
                self._room.set()
        return True

    def _is_due(self) -> bool:
        """Say whether waiting longer would bring no more, or holds up too much."""
        paid = any(_is_paid(each) for each in self._waiting[-1:])
        return paid or len(self._waiting) >= WRITE_ITEMS or self._keeper.unfinished == 0

    async def _write(self, batch_id: BatchId, ended: Sequence[EndedAttempt]) -> None:
        """Write attempts of one batch; a row that the database refuses fails alone.

        Raises:
            OutageError: the database is away.
        """
        retention_ms = self._server_context.settings.retention_s * 1000
        try:
            finished = await self._server_context.database.run(
                transitions.finish, batch_id, ended, retention_ms=retention_ms
            )
        except OutageError:
            raise
        except Exception as error:
            if len(ended) > 1:
                half = len(ended) // 2
                await self._write(batch_id, ended[:half])
                await self._write(batch_id, ended[half:])
                return
            (one,) = ended
            logs.error(Event.INTERNAL_ERROR, exc_info=error, item=one.claimed.claim.item_id)
            if isinstance(one.outcome, Failed):  # nothing is left to say: another attempt may
                self._keeper.forget(one.claimed.claim)
            else:
                await self._write(batch_id, [_unstorable(one)])
            return
        for each, done in zip(ended, finished, strict=True):
            self._keeper.forget(each.claimed.claim)
            await self._tidy(each, done)
        if any(each.claimed.is_capped for each in ended):
            await self._server_context.notify([batch_id])

    async def _tidy(self, ended: EndedAttempt, done: FinishedItem | None) -> None:
        """Remove files that are not needed; the batch's clean-up has what could not be removed."""
        try:
            if done is None:
                await discard(self._server_context, ended.claimed.claim)
                return
            if ended.claimed.was_tried:
                await _remove_earlier(self._server_context, ended.claimed.claim)
        except (OutageError, OSError) as error:
            detail = getattr(error, "detail", str(error))
            logs.warning(Event.ITEM_INTERRUPTED, item=ended.claimed.claim.item_id, detail=detail)
        if done is not None:
            _log(ended.claimed, done, ended.run_ms)


def _is_paid(ended: EndedAttempt) -> bool:
    """Say whether an attempt asked a model: what was paid for is written at once."""
    return isinstance(ended.outcome, Completed) and "usage" in ended.outcome.result.data


def _unstorable(ended: EndedAttempt) -> EndedAttempt:
    error = ResultUnstorableError(ended.claimed.input.name)
    failure = Failure(error.code, error.message, error.retryable)
    return EndedAttempt(ended.claimed, Failed(failure, "errors", RetryPolicy()), ended.run_ms)


def _log(claimed: Claimed, done: FinishedItem, run_ms: int) -> None:
    """Say which file of how many this was, what came of it, and how the batch ended."""
    logs.info(
        Event.ITEM_FINISHED,
        item=claimed.claim.item_id,
        place=f"{claimed.position + 1}/{claimed.total}",
        name=claimed.input.name,
        status=done.status,
        run_ms=run_ms,
    )
    if done.ended is not None:
        counts = done.counts
        logs.info(
            Event.BATCH_ENDED,
            batch=claimed.claim.batch_id,
            status=done.ended,
            succeeded=counts.completed + counts.skipped,
            failed=counts.unsuccessful,
        )


async def _remove_earlier(server: ServerContext, held: Claim) -> None:
    """Remove what attempts that were killed may have stored before they could be finished."""
    for attempt in range(1, held.attempt):
        prefix = keys.attempt_prefix(held.batch_id, held.item_id, attempt)
        await server.storage.delete_prefix(prefix)


async def discard(server: ServerContext, held: Claim) -> None:
    """Remove what a stale attempt stored, unless its row may name it after all."""
    logs.info(Event.ITEM_LOST, item=held.item_id, attempt=held.attempt)
    if not await server.database.read(items.superseded, [held]):
        return
    await server.storage.delete_prefix(
        keys.attempt_prefix(held.batch_id, held.item_id, held.attempt)
    )
