"""Writes what has ended, many items in one statement, and clears away what is left behind.

What waits to be written is never dropped while the database is away: the fence decides, once it is
back, what still counts.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from batchmill import logs
from batchmill.db import items
from batchmill.errors.item import ResultUnstorableError
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import BatchId
from batchmill.model.item import AttemptKey, Claim, Failure
from batchmill.model.retry import RetryPolicy
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import endings, transitions
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
WRITE_BYTES: Final = 4_000_000
"""No statement says more at once: MariaDB takes 16 MB."""
MOST_WAITING: Final = 200
"""With more to be written, or being written, nothing new is begun."""
SETTLE_S: Final = 1.0
"""How often the pace of a batch of which there is more is written into its row."""
PAUSE_S: Final = 0.5
"""Time between two tries while the database is away."""
MOST_LEFT_BEHIND: Final = 10_000
"""Of more attempts than this, which left files behind, the batch's own clean-up takes care."""
MOST_EARLIER: Final = 20
"""So many attempts before the one that counted are looked at; most were handed back unbegun."""
LAST_S: Final = 5.0
"""How long a worker that stops removes what was left behind."""


class Finisher:
    """One per worker process; `run` must be running while items end."""

    def __init__(self, server: ServerContext, keeper: LeaseKeeper) -> None:
        self._server_context = server
        self._keeper = keeper
        self._waiting: list[EndedAttempt] = []
        self._being_written = 0
        self._refused: set[AttemptKey] = set()
        self._unsettled: set[BatchId] = set()
        self._came, self._due, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._writing = asyncio.Lock()
        self._left_behind: deque[tuple[Claimed, bool]] = deque(maxlen=MOST_LEFT_BEHIND)
        self._clearing = asyncio.Lock()
        self._leaves = asyncio.Event()

    async def add(self, ended: EndedAttempt) -> None:
        """Write an item soon; returns at once unless too much waits already."""
        self._waiting.append(ended)
        self._came.set()
        if self._is_due():
            self._due.set()
        self._make_room()
        await self._room.wait()

    def leave_files(self, claimed: Claimed) -> None:
        """Clear away what an attempt has stored that an outage broke off, once that is over."""
        self._left_behind.append((claimed, True))
        self._leaves.set()

    async def run(self) -> None:
        """Write what has ended, and beside it clear away; runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_clearing())
            group.create_task(self._keep_settling())
            group.create_task(self._keep_writing())

    async def end(self) -> None:
        """Write and clear away all that is left, as far as the database and the storage answer."""
        await self.write_all()
        try:
            async with asyncio.timeout(LAST_S):
                await self._clear()
        except TimeoutError:
            pass  # the batch's own clean-up has the rest

    async def _keep_writing(self) -> None:
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

    async def _keep_settling(self) -> None:
        """Note now and then until when batches were worked on, beside the writes: this may wait."""
        while True:
            await asyncio.sleep(SETTLE_S)
            try:
                while self._unsettled:
                    batch_id = self._unsettled.pop()
                    await self._server_context.database.run(endings.settle, batch_id)
            except OutageError as error:
                logs.warning(Event.ITEM_INTERRUPTED, code=error.code, detail=error.detail)
            except Exception as error:  # a fault of ours must not end the worker
                logs.error(Event.INTERNAL_ERROR, exc_info=error)

    async def write_all(self) -> bool:
        """Write all that waits. False: the database is away; what it did not take waits on."""
        async with self._writing:
            return await self._write_all()

    async def _write_all(self) -> bool:
        self._came.clear()
        self._due.clear()
        taken, self._waiting = self._waiting, []
        self._being_written = len(taken)
        by_batch: dict[BatchId, list[EndedAttempt]] = {}
        for ended in taken:
            by_batch.setdefault(ended.claimed.claim.batch_id, []).append(ended)
        left = {each.claimed.claim.key: each for each in taken}
        is_written = True
        try:
            for batch_id, own in by_batch.items():
                for portion in _portions(own):
                    is_written &= await self._try_write(batch_id, portion, left)
        finally:
            self._waiting, self._being_written = [*left.values(), *self._waiting], 0
            if self._waiting:
                self._came.set()
            self._make_room()
        return is_written

    async def _try_write(
        self,
        batch_id: BatchId,
        ended: Sequence[EndedAttempt],
        left: dict[AttemptKey, EndedAttempt],
    ) -> bool:
        """Write attempts and take them out of `left`; False: not now."""
        try:
            await self._write(batch_id, ended)
        except OutageError as error:  # of this batch's row perhaps alone: the others go on
            logs.warning(Event.ITEM_INTERRUPTED, code=error.code, detail=error.detail)
            return False
        for each in ended:
            del left[each.claimed.claim.key]
        return True

    def _make_room(self) -> None:
        if len(self._waiting) + self._being_written < MOST_WAITING:
            self._room.set()
        else:
            self._room.clear()

    def _is_due(self) -> bool:
        """Say whether waiting longer would bring no more, or holds up too much."""
        paid = any(_is_paid(each) for each in self._waiting[-1:])
        return paid or len(self._waiting) >= WRITE_ITEMS or self._keeper.unfinished == 0

    async def _write(self, batch_id: BatchId, ended: Sequence[EndedAttempt]) -> None:
        """Write attempts of one batch; a row that the database refuses fails alone.

        Raises:
            OutageError: the database is away.
        """
        server = self._server_context
        retention_ms = server.settings.retention_s * 1000
        # Others may write beside this worker while it has more of the batch; its last finish, and
        # one that may be the last of all, goes alone.
        by = server.worker_id if self._keeper.has_more_of(batch_id) else None
        try:
            finished = await server.database.run(
                transitions.finish, batch_id, ended, retention_ms=retention_ms, by=by
            )
        except OutageError:
            raise
        except Exception as error:
            await self._write_refused(batch_id, ended, error)
            return
        if by is not None:
            self._unsettled.add(batch_id)
        for each, done in zip(ended, finished, strict=True):
            self._note_written(each, done)
        if any(done.is_stopping for done in finished if done is not None):
            self._keeper.begin_no_more(batch_id)
        if any(each.claimed.is_capped or each.claimed.is_suspect for each in ended):
            await server.notify([batch_id])  # what was refused because of these is due

    async def _write_refused(
        self, batch_id: BatchId, ended: Sequence[EndedAttempt], refusal: Exception
    ) -> None:
        """Find the one that the database does not take, and write that in its place."""
        if len(ended) > 1:
            half = len(ended) // 2
            await self._write(batch_id, ended[:half])
            await self._write(batch_id, ended[half:])
            return
        (one,) = ended
        logs.error(Event.INTERNAL_ERROR, exc_info=refusal, item=one.claimed.claim.item_id)
        if _is_unstorable(one):  # nothing is left to say: another attempt may
            self._keeper.forget(one.claimed.claim)
        elif one.claimed.claim.key in self._refused:
            self._refused.discard(one.claimed.claim.key)
            await self._write(batch_id, [_unstorable(one)])
        else:  # once more: a fault of a moment must not cost a result
            self._refused.add(one.claimed.claim.key)
            await self._write(batch_id, ended)
            self._refused.discard(one.claimed.claim.key)

    def _note_written(self, ended: EndedAttempt, done: FinishedItem | None) -> None:
        self._keeper.forget(ended.claimed.claim)
        if done is not None:
            tell(ended, done)
        if done is None or ended.claimed.was_tried:
            self._left_behind.append((ended.claimed, done is None))
            self._leaves.set()

    async def _keep_clearing(self) -> None:
        while True:
            await self._leaves.wait()
            if self._server_context.vitals.storage_is_away:
                await asyncio.sleep(PAUSE_S)
                continue
            self._leaves.clear()
            await self._clear()

    async def _clear(self) -> None:
        """Remove files that no row names or will name.

        Never beside a write's lock: a bucket may hang. The batch's own clean-up has what could
        not be removed.
        """
        async with self._clearing:
            while self._left_behind:
                claimed, is_stale = self._left_behind.popleft()
                claim = claimed.claim
                try:
                    if is_stale:
                        await discard(self._server_context, claim)
                    if claimed.was_tried:
                        await _remove_earlier(self._server_context, claim)
                except (OutageError, OSError) as error:
                    detail = getattr(error, "detail", str(error))
                    logs.warning(Event.ITEM_INTERRUPTED, item=claim.item_id, detail=detail)
                except Exception as error:  # a fault of ours must not end the worker
                    logs.error(Event.INTERNAL_ERROR, exc_info=error, item=claim.item_id)


def _portions(ended: Iterable[EndedAttempt]) -> Iterator[Sequence[EndedAttempt]]:
    """Split what is to be written into statements of at most `WRITE_BYTES`, or one attempt.

    Only what operations tell of a file has no bound of its own.
    """
    portion: list[EndedAttempt] = []
    size_bytes = 0
    for each in ended:
        told = isinstance(each.outcome, Completed) and each.outcome.result.data
        each_bytes = len(json.dumps(told)) if told else 0
        if portion and size_bytes + each_bytes > WRITE_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(each)
        size_bytes += each_bytes
    yield portion


def _is_paid(ended: EndedAttempt) -> bool:
    """Say whether an attempt asked a model: what was paid for is written at once."""
    return isinstance(ended.outcome, Completed) and "usage" in ended.outcome.result.data


def _is_unstorable(ended: EndedAttempt) -> bool:
    outcome = ended.outcome
    return isinstance(outcome, Failed) and outcome.failure.code == ResultUnstorableError.code


def _unstorable(ended: EndedAttempt) -> EndedAttempt:
    error = ResultUnstorableError(ended.claimed.input.name)
    failure = Failure(error.code, error.message, error.retryable)
    return EndedAttempt(ended.claimed, Failed(failure, "errors", RetryPolicy()), ended.run_ms)


def tell(ended: EndedAttempt, done: FinishedItem) -> None:
    """Log which file of how many this was, what came of it, and how the batch ended."""
    claimed, outcome = ended.claimed, ended.outcome
    failure = outcome.failure if isinstance(outcome, Failed) else None
    logs.info(
        Event.ITEM_FINISHED,
        batch=claimed.claim.batch_id,
        item=claimed.claim.item_id,
        place=f"[{claimed.position + 1}/{claimed.total}]",
        name=claimed.input.name,
        status=done.status,
        run_s=round(ended.run_ms / 1000, 2),
        **({"code": failure.code, "error": failure.message} if failure else {}),
    )
    endings.tell(done.ended)


async def _remove_earlier(server: ServerContext, held: Claim) -> None:
    """Remove what attempts that were killed may have stored before they could be finished."""
    for attempt in range(max(1, held.attempt - MOST_EARLIER), held.attempt):
        prefix = keys.attempt_prefix(held.batch_id, held.item_id, attempt)
        await server.storage.delete_prefix(prefix)


def tell_all(ended: Iterable[tuple[EndedAttempt, FinishedItem | None]]) -> None:
    """Log what became of items that ended without an attempt that came to its end."""
    for each, done in ended:
        if done is not None:
            tell(each, done)


async def discard(server: ServerContext, held: Claim) -> None:
    """Remove what a stale attempt stored, unless its row may name it after all."""
    logs.info(Event.ITEM_LOST, item=held.item_id, attempt=held.attempt)
    if not await server.database.read(items.superseded, [held]):
        return
    await server.storage.delete_prefix(
        keys.attempt_prefix(held.batch_id, held.item_id, held.attempt)
    )
