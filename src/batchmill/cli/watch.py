"""Waits for files that appear in folders, and takes each once it has stopped changing."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

from batchmill.local.inputs import LocalInput

INTERVAL_S = 1.0
"""How often folders are looked at. Looking also works where a file system tells no events."""

_State = tuple[int, int]


class Watcher:
    """Returns new or changed files; `search` lists all that there are now."""

    def __init__(
        self,
        search: Callable[[], Iterable[LocalInput]],
        *,
        settle_s: float,
        known: Iterable[LocalInput] = (),
    ) -> None:
        """Files in `known` are returned only after they have changed."""
        self._search = search
        self._settle_s = settle_s
        self._taken = {item.key: _state(item) for item in known}
        self._settling: dict[str, tuple[_State, float]] = {}
        self._ready: deque[LocalInput] = deque()
        self._one_at_a_time = asyncio.Lock()

    async def next(self) -> LocalInput:
        """Return the next file; waits for ever."""
        async with self._one_at_a_time:
            while not self._ready:
                self._look(await asyncio.to_thread(lambda: list(self._search())))
                if not self._ready:
                    await asyncio.sleep(min(INTERVAL_S, self._settle_s or INTERVAL_S))
            return self._ready.popleft()

    def _look(self, items: list[LocalInput]) -> None:
        now = time.monotonic()
        settling: dict[str, tuple[_State, float]] = {}
        for item in items:
            state = _state(item)
            if self._taken.get(item.key) == state:
                continue
            before, since = self._settling.get(item.key, (state, now))
            since = since if before == state else now
            if now - since >= self._settle_s:
                self._taken[item.key] = state
                self._ready.append(item)
            else:
                settling[item.key] = (state, since)
        self._settling = settling


def _state(item: LocalInput) -> _State:
    return item.bytes, item.mtime_ns
