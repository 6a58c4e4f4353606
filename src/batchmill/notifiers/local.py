"""Notifications within one process; all others ask by themselves."""

import asyncio
from collections.abc import Collection

from batchmill.model.batch import BatchId
from batchmill.notifiers.base import OnWork


class LocalNotifier:
    """Needs nothing, and loses only what is said while no worker listens."""

    def __init__(self) -> None:
        self._listeners: set[OnWork] = set()

    async def notify(self, batch_ids: Collection[BatchId]) -> None:
        """See Notifier.notify."""
        for on_work in self._listeners if batch_ids else ():
            on_work()

    async def listen(self, on_work: OnWork) -> None:
        """See Notifier.listen."""
        self._listeners.add(on_work)
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.discard(on_work)

    async def check(self) -> str:
        """See Notifier.check."""
        return "workers of this process are told, all others ask twice a second"

    async def aclose(self) -> None:
        """See Notifier.aclose."""
