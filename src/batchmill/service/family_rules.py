"""What a family of batches may change in the core; `api/compat` says it for the five dialects."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from batchmill.attempt.run import Finished
from batchmill.db.connect import Database
from batchmill.model.batch import Batch
from batchmill.model.item import Claim
from batchmill.storage.base import Storage

AfterAttempt = Callable[[Claim, str, Finished], Awaitable[None]]
"""Gets a claim, the name of its input and what the attempt made, before that is stored.

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
