"""Watches batches for every stream of this process: one query a tick, each message encoded once.

    tick: revisions of all watched batches ──► those that changed ──► messages ──► listeners

The database alone is asked, so a stream tells the truth whichever process does the work.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import BaseModel

from batchmill import logs
from batchmill.api import serialize
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import Batch, BatchId
from batchmill.model.item import Item, ItemId
from batchmill.service import changes
from batchmill.service.context import ServerContext

TICK_S = 0.25
LISTENER_S = 0.0025
"""Ten times what it costs to send one listener something: all of them take no more than a tenth."""
PROGRESS_TICKS = 4
"""Running items are looked at in every n-th tick: their progress is stored once a second."""
LONGEST_TICK_S = 2.0
HEARTBEAT_S = 15.0
ITEM_EVENTS = 50
"""Most item events of a batch and tick; with more, `items.changed` says to look again."""
DETAILED_BATCHES = 20
"""Most batches a tick whose items are read; of others only `items.changed` is told."""
LOOK_BACK = timedelta(seconds=5)
"""How much earlier than the last item told of an item may have ended that is seen later."""
REMEMBERED = 500
"""Where more items than this end in that time, those that are late are not looked for."""
IDS_AT_ONCE = 500
BACKLOG = 500
"""A listener that is further behind gets the present state instead of the past."""


@dataclass(eq=False, slots=True)
class Listener:
    """One stream's messages, and what it has been told: revisions, and the run that ended."""

    wanted: frozenset[BatchId]
    told: dict[BatchId, int] = field(default_factory=dict)
    ended: dict[BatchId, int] = field(default_factory=dict)
    messages: deque[bytes] = field(default_factory=deque)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    behind: bool = False

    def update(self, batch: Batch, updated: bytes, completed: bytes) -> None:
        """Tell of a batch, unless this or something newer was told already."""
        if self.told.get(batch.id, 0) >= batch.revision:
            return
        self.told[batch.id] = batch.revision
        self.push(updated)
        if not batch.status.ended:
            self.ended.pop(batch.id, None)
        elif self.ended.get(batch.id) != batch.run_no:
            self.ended[batch.id] = batch.run_no
            self.push(completed)

    def push(self, message: bytes) -> None:
        """Add a message; too many unread ones are dropped together."""
        if len(self.messages) >= BACKLOG:
            self.messages.clear()
            self.behind = True
        self.messages.append(message)
        self.woken.set()


@dataclass(slots=True)
class _Watched:
    """What was last seen of a batch and its items.

    Of `ended` items, those that ended at `since` or later were told of already. Where some were
    `skipped`, late ones may end before `since`: the next message says to look again.
    """

    revision: int
    since: datetime
    finished: int
    listeners: set[Listener] = field(default_factory=set)
    ended: dict[ItemId, datetime] = field(default_factory=dict)
    running: dict[ItemId, float] = field(default_factory=dict)
    busy: bool = False
    skipped: bool = False

    def news(self, ended: Sequence[Item], running: Sequence[Item]) -> tuple[list[Item], bool]:
        """Return items to tell of, and whether there is more than they say."""
        fresh = [item for item in ended if item.id not in self.ended]
        moved = [item for item in running if self.running.get(item.id) != item.progress]
        left = self.running.keys() - {item.id for item in (*running, *fresh)}
        self._remember(ended, running)
        told = [*moved, *fresh]
        if len(told) > ITEM_EVENTS:
            return [], True
        skipped, self.skipped = self.skipped, False
        return told, bool(left) or not told or skipped

    def skip(self, last_ended_at: datetime | None) -> None:
        """Go on behind what has ended, of which nothing was told by name."""
        self.since = last_ended_at or self.since
        self.ended.clear()
        self.running.clear()
        self.skipped = True

    def _remember(self, ended: Sequence[Item], running: Sequence[Item]) -> None:
        """Look back a little the next time: workers write side by side, and some of them late."""
        self.running = {item.id: item.progress for item in running}
        self.ended |= {item.id: item.ended_at for item in ended if item.ended_at is not None}
        if not self.ended:
            return
        last = max(self.ended.values())
        since = max(self.since, last - LOOK_BACK)
        if sum(at >= since for at in self.ended.values()) > REMEMBERED:
            since = last
        self.since = since
        self.ended = {item_id: at for item_id, at in self.ended.items() if at >= since}


class EventHub:
    """The watcher of one process; `run` must be running while somebody listens."""

    def __init__(self, server: ServerContext, closing: asyncio.Event) -> None:
        self._server_context = server
        self._closing = closing
        self._watched: dict[BatchId, _Watched] = {}
        self._wanted = asyncio.Event()
        self._standstill: str | None = None

    @property
    def listeners(self) -> set[Listener]:
        """Return every open stream."""
        return {each for watched in self._watched.values() for each in watched.listeners}

    async def run(self) -> None:
        """Look every `tick_s` while there are listeners; at the server's end, end all streams."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            await self._closing.wait()
            watching.cancel()
        for listener in self.listeners:
            listener.woken.set()

    @contextmanager
    def listen(self, known: Iterable[Batch]) -> Iterator[Listener]:
        """Collect messages about batches, first of all their present state."""
        known = list(known)
        listener = Listener(frozenset(batch.id for batch in known))
        for batch in known:
            since = batch.settled_at or batch.created_at
            new = _Watched(batch.revision, since, batch.counts.finished)
            watched = self._watched.setdefault(batch.id, new)
            watched.listeners.add(listener)
            watched.busy = watched.busy or batch.counts.processing > 0
            listener.update(batch, *_batch_messages(batch))
        self._wanted.set()
        try:
            yield listener
        finally:
            for batch_id in listener.wanted:
                self._forget(batch_id, listener)

    async def messages(self, listener: Listener, *, until_ended: bool) -> AsyncIterator[bytes]:
        """Yield messages as they come, those of a tick together.

        With many listeners each part that is sent costs more than what it says. A comment comes
        when no message came for `HEARTBEAT_S`.
        """
        while True:
            while listener.messages and not listener.behind:
                together = b"".join(listener.messages)
                listener.messages.clear()
                yield together
            if listener.behind:
                await self._catch_up(listener)
                continue
            if self._closing.is_set() or (until_ended and listener.ended.keys() == listener.wanted):
                return
            listener.woken.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await listener.woken.wait()
            except TimeoutError:
                yield b": still here\n\n"

    async def wait_ended(self, batch: Batch, *, timeout_s: float) -> bool:
        """Wait until a batch has ended; False: it has not within `timeout_s`."""
        with self.listen([batch]) as listener:
            try:
                async with asyncio.timeout(timeout_s):
                    async for _ in self.messages(listener, until_ended=True):
                        pass
            except TimeoutError:
                return False
        return listener.ended.keys() == listener.wanted

    async def _watch(self) -> None:
        for number in itertools.count():
            await self._wanted.wait()
            try:
                await self._tick(with_progress=number % PROGRESS_TICKS == 0)
            except OutageError as error:
                logs.warning(Event.REQUEST_FAILED, code=error.code, detail=error.detail)
            await asyncio.sleep(tick_s(len(self.listeners)))

    def _forget(self, batch_id: BatchId, listener: Listener) -> None:
        watched = self._watched.get(batch_id)
        if watched is None:
            return
        watched.listeners.discard(listener)
        if not watched.listeners:
            del self._watched[batch_id]
        if not self._watched:
            self._wanted.clear()

    async def _catch_up(self, listener: Listener) -> None:
        listener.messages.clear()
        listener.behind = False
        listener.told.clear()
        for batch in await changes.several(self._server_context, sorted(listener.wanted)):
            listener.update(batch, *_batch_messages(batch))
            listener.push(_items_changed(batch.id, batch.revision))

    async def _tick(self, *, with_progress: bool) -> None:
        revisions: dict[BatchId, int] = {}
        for chunk in _chunks(sorted(self._watched)):
            revisions |= await changes.revisions(self._server_context, chunk)
        is_other = self._stands_otherwise()
        changed = []
        for batch_id, watched in list(self._watched.items()):
            if batch_id not in revisions:
                self._tell_deleted(batch_id, watched)
            elif (
                is_other
                or revisions[batch_id] != watched.revision
                or (watched.busy and with_progress)
            ):
                changed.append(batch_id)
        for chunk in _chunks(changed):
            for batch in await changes.several(self._server_context, chunk):
                await self._tell(batch, detailed=changed.index(batch.id) < DETAILED_BATCHES)

    def _stands_otherwise(self) -> bool:
        """Say whether all began to stand still since the last look, or goes on."""
        was, self._standstill = self._standstill, self._server_context.vitals.standstill
        if self._standstill == was:
            return False
        for listener in self.listeners:
            listener.told.clear()  # the batches have no other revision, but are told of again
        return True

    async def _tell(self, batch: Batch, *, detailed: bool) -> None:
        watched = self._watched.get(batch.id)
        if watched is None:
            return
        moved, watched.revision = batch.revision != watched.revision, batch.revision
        watched.busy = batch.counts.processing > 0
        items = await self._item_messages(batch, watched, moved=moved) if detailed else []
        if not detailed:
            items = [_items_changed(batch.id, batch.revision)]
        updated = _batch_messages(batch)
        for listener in list(watched.listeners):
            for message in items:
                listener.push(message)
            listener.update(batch, *updated)

    async def _item_messages(
        self, batch: Batch, watched: _Watched, *, moved: bool
    ) -> Sequence[bytes]:
        grown = batch.counts.finished - watched.finished
        watched.finished = batch.counts.finished
        if grown > ITEM_EVENTS:  # none is told of by name, so none is read
            watched.skip(await changes.last_ended_at(self._server_context, batch.id))
            return [_items_changed(batch.id, batch.revision)]
        ended, running = await changes.moved_items(
            self._server_context,
            batch.id,
            watched.since,
            limit=ITEM_EVENTS + 1 + len(watched.ended),
            running=ITEM_EVENTS + 1,
        )
        told, more = watched.news(ended, running)
        messages = [
            _message(f"item.{item.status}", batch.revision, serialize.item_event(item))
            for item in told
        ]
        if more and moved:
            messages.append(_items_changed(batch.id, batch.revision))
        return messages

    @staticmethod
    def items_changed(batch: Batch) -> bytes:
        """Return the message that says to look at a batch's items again."""
        return _items_changed(batch.id, batch.revision)

    def _tell_deleted(self, batch_id: BatchId, watched: _Watched) -> None:
        message = f'event: batch.deleted\ndata: {{"id":"{batch_id}"}}\n\n'.encode()
        del self._watched[batch_id]
        for listener in watched.listeners:
            listener.ended[batch_id] = 0
            listener.push(message)


def tick_s(listeners: int) -> float:
    """Return the time between two looks: longer with more than a hundred listeners."""
    return min(LONGEST_TICK_S, max(TICK_S, LISTENER_S * listeners))


def _batch_messages(batch: Batch) -> tuple[bytes, bytes]:
    described = serialize.batch(batch)
    updated = _message("batch.updated", batch.revision, described)
    return updated, _message("batch.completed", batch.revision, described)


def _items_changed(batch_id: BatchId, revision: int) -> bytes:
    return f'event: items.changed\nid: {revision}\ndata: {{"batch_id":"{batch_id}"}}\n\n'.encode()


def _message(name: str, revision: int, body: BaseModel) -> bytes:
    return f"event: {name}\nid: {revision}\ndata: {body.model_dump_json()}\n\n".encode()


def _chunks(ids: Sequence[BatchId]) -> Iterator[Sequence[BatchId]]:
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ids[start : start + IDS_AT_ONCE]
