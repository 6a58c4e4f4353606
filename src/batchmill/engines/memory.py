"""An engine in the memory of one process: nothing to install, everything may be lost.

Among messages of one priority it keeps a line in which each owner's first item comes before
anybody's second: start-time fair queueing (Goyal, Vin and Cheng, 1996). A message's place is
the place reached plus how far back `ahead` puts it. Places taken only rise, so
nobody's stream of single items, however steady, can hold back what stands in line.
"""

import asyncio
import heapq
import itertools
from collections import defaultdict
from collections.abc import Sequence

from batchmill.engines.base import Handler
from batchmill.model.item import ItemId, QueueMessage


class MemoryEngine:
    """A priority queue; the sweep fills it again after a start."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, ItemId]] = []
        self._reached: defaultdict[int, int] = defaultdict(int)
        self._waiting: set[ItemId] = set()
        self._running: set[ItemId] = set()
        self._order = itertools.count()
        self._arrived = asyncio.Condition()

    async def submit(self, messages: Sequence[QueueMessage]) -> None:
        """See Engine.submit."""
        async with self._arrived:
            for message in messages:
                if message.item_id not in self._waiting:
                    self._waiting.add(message.item_id)
                    place = self._reached[message.priority] + 1 + message.ahead
                    entry = (message.priority, place, next(self._order), message.item_id)
                    heapq.heappush(self._heap, entry)
            self._arrived.notify(len(messages))

    async def serve(self, handle: Handler, *, slots: int, stopping: asyncio.Event) -> None:
        """See Engine.serve."""
        async with asyncio.TaskGroup() as group:
            waker = group.create_task(self._wake_at(stopping))
            async with asyncio.TaskGroup() as slot_group:
                for _ in range(slots):
                    slot_group.create_task(self._serve_one_by_one(handle, stopping))
            waker.cancel()

    async def missing(self, messages: Sequence[QueueMessage]) -> Sequence[QueueMessage]:
        """See Engine.missing."""
        held = self._waiting | self._running
        return [message for message in messages if message.item_id not in held]

    async def aclose(self) -> None:
        """See Engine.aclose."""

    async def _serve_one_by_one(self, handle: Handler, stopping: asyncio.Event) -> None:
        while (item_id := await self._next(stopping)) is not None:
            self._running.add(item_id)
            try:
                await handle(item_id)
            finally:
                self._running.discard(item_id)

    async def _next(self, stopping: asyncio.Event) -> ItemId | None:
        async with self._arrived:
            await self._arrived.wait_for(lambda: self._heap or stopping.is_set())
            if stopping.is_set():
                return None
            priority, place, _, item_id = heapq.heappop(self._heap)
            self._reached[priority] = max(place, self._reached[priority])
            self._waiting.discard(item_id)
            return item_id

    async def _wake_at(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        async with self._arrived:
            self._arrived.notify_all()
