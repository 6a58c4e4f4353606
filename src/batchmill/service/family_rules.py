"""What a family of batches may change in the core; `api/compat` says it for the five dialects."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchmill.model.item import ItemId

AfterAttempt = Callable[[ItemId, str, Sequence[Path]], Awaitable[None]]
"""Gets an item, the name of its input and the files that an attempt made, before they are stored.

A repeat must change nothing. Raises ItemError to fail the attempt.
"""


@dataclass(frozen=True, slots=True)
class FamilyRules:
    """What holds for the batches of one family; None: as everywhere.

    `concurrency` is the most items in flight over all its batches, `crash_retries` replaces the
    tier's limit, `after_attempt` is called with the files of every attempt that succeeds.
    """

    concurrency: int | None = None
    crash_retries: int | None = None
    after_attempt: AfterAttempt | None = None


PLAIN: Final = FamilyRules()
