"""What a family of batches may change in the core; `api/compat` says it for the five dialects."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchmill.db.connect import Database
from batchmill.model.batch import Batch
from batchmill.model.item import ItemId
from batchmill.storage.base import Storage

AfterAttempt = Callable[[ItemId, str, Sequence[Path]], Awaitable[None]]
"""Gets an item, the name of its input and the files that an attempt made, before they are stored.

A repeat must change nothing. Raises ItemError to fail the attempt.
"""
EndWork = Callable[[Database, Storage, Batch], Awaitable[None]]
"""Does what is left once all items of a batch have ended, before the batch itself does.

It may be cancelled and begun again, elsewhere too, and a repeat must change nothing.
"""


@dataclass(frozen=True, slots=True)
class FamilyRules:
    """What holds for the batches of one family; None: as everywhere.

    `concurrency` is the most items in flight over all its batches, `crash_retries` replaces the
    tier's limit, `after_attempt` is called with the files of every attempt that succeeds,
    `end_work` with every batch whose items have ended, unless it was cancelled.
    """

    concurrency: int | None = None
    crash_retries: int | None = None
    after_attempt: AfterAttempt | None = None
    end_work: EndWork | None = None


PLAIN: Final = FamilyRules()
