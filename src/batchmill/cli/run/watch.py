"""Waits for files that appear in folders, and takes each once it has stopped changing."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

from batchmill.local.inputs import LocalInput

INTERVAL_S = 1.0
"""How often folders are looked at. Looking also works where a file system tells no events."""

_State = tuple[int, int]


class Settling:
    """Tells which files have stopped changing; time is an argument."""

    def __init__(self, settle_s: float, known: Iterable[LocalInput] = ()) -> None:
        """Files in `known` are told of only after they have changed."""
        self._settle_s = settle_s
        self._taken = {item.key: _state(item) for item in known}
        self._since: dict[str, tuple[_State, float]] = {}

    def settled(self, items: Iterable[LocalInput], now_s: float) -> list[LocalInput]:
        """Return those of all present files that have been as they are long enough, each once."""
        ready = []
        since: dict[str, tuple[_State, float]] = {}
        for item in items:
            state = _state(item)
            if self._taken.get(item.key) == state:
                continue
            before, start_s = self._since.get(item.key, (state, now_s))
            start_s = start_s if before == state else now_s
            if now_s - start_s >= self._settle_s:
                self._taken[item.key] = state
                ready.append(item)
            else:
                since[item.key] = (state, start_s)
        self._since = since
        return ready


class Watcher:
    """Returns new and changed files; `search` lists all that there are now."""

    def __init__(
        self, search: Callable[[], Iterable[LocalInput]], settling: Settling, *, interval_s: float
    ) -> None:
        self._search = search
        self._settling = settling
        self._interval_s = interval_s
        self._ready: deque[LocalInput] = deque()
        self._one_at_a_time = asyncio.Lock()

    async def next(self) -> LocalInput:
        """Return the next file; waits for ever."""
        async with self._one_at_a_time:
            while not self._ready:
                items = await asyncio.to_thread(lambda: list(self._search()))
                self._ready.extend(self._settling.settled(items, time.monotonic()))
                if not self._ready:
                    await asyncio.sleep(self._interval_s)
            return self._ready.popleft()


def _state(item: LocalInput) -> _State:
    return item.bytes, item.mtime_ns
