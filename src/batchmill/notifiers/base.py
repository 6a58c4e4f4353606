"""The contract of a notifier: it tells workers that a batch has work, so that they ask at once.

A notification may be lost, repeated or late: workers ask by themselves twice a second, and what
they claim the database decides. So everything in a notifier can be thrown away at any time.

To add one, write a module whose class passes `tests/notifiers/test_notifier_contract.py` and name
it in `bootstrap.py`.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from batchmill.model.batch import BatchId

OnWork = Callable[[], None]
"""Called in the event loop whenever there may be work."""


class Notifier(Protocol):
    """Tells workers that there is work, in this process or on other machines."""

    async def notify(self, batch_ids: Collection[BatchId]) -> None:
        """Say that these batches have work; at least one worker that listens hears of it.

        Raises:
            OutageError: no worker can be told now.
        """
        ...

    async def listen(self, on_work: OnWork) -> None:
        """Call `on_work` for every notification; runs until cancelled, and through outages."""
        ...

    async def check(self) -> str:
        """Say in a few words that it works.

        Raises:
            OutageError: it does not.
        """
        ...

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""
        ...
