"""The contract of an engine: it carries item ids from the API to the workers.

An engine may lose, delay, repeat and reorder messages: the database is the truth, a claim
makes repeats harmless, and the sweep submits again what `missing` names. So everything in an
engine can be thrown away at any time.

To add one, write a module whose class passes `tests/engines/test_engine_contract.py` and name
it in `bootstrap.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from batchmill.model.item import ItemId, QueueMessage

Handler = Callable[[ItemId], Awaitable[None]]


class Engine(Protocol):
    """Delivers item ids; lower priority first, then first come first served."""

    async def submit(self, messages: Sequence[QueueMessage]) -> None:
        """Ask for each item to be handled. One that is already waiting is not doubled.

        Raises:
            OutageError: the engine cannot be reached; the sweep will submit again.
        """
        ...

    async def serve(self, handle: Handler, *, slots: int, stopping: asyncio.Event) -> None:
        """Call `handle` for each message, at most `slots` at once; `handle` never raises.

        Once `stopping` is set it takes no more messages and returns when the running
        handlers have ended; when cancelled, it cancels them and waits for them.
        """
        ...

    async def missing(self, messages: Sequence[QueueMessage]) -> Sequence[QueueMessage]:
        """Return those messages that the engine neither holds nor is handling."""
        ...

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""
        ...
