"""A batch: a set of files sent with one pipeline."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

BatchId = NewType("BatchId", str)
OwnerId = NewType("OwnerId", str)

LOCAL_OWNER = OwnerId("local")
"""The one owner of everything sent without a key from the machine itself."""


class BatchStatus(StrEnum):
    """Where a batch is; `paused` is a separate flag that can stand beside any of these."""

    UPLOADING = "uploading"
    VALIDATING = "validating"
    QUEUED = "queued"
    PROCESSING = "processing"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """True once nothing but a retry can start work in this batch again."""
        return self in ENDED


ENDED = frozenset(
    {
        BatchStatus.COMPLETED,
        BatchStatus.COMPLETED_WITH_ERRORS,
        BatchStatus.FAILED,
        BatchStatus.CANCELLED,
        BatchStatus.EXPIRED,
    }
)
RUNNABLE = frozenset({BatchStatus.QUEUED, BatchStatus.PROCESSING})


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items are in each status; they always sum to `total`."""

    pending: int = 0
    queued: int = 0
    processing: int = 0
    retrying: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    quarantined: int = 0

    @property
    def total(self) -> int:
        """All items of the batch."""
        return self.unfinished + self.finished

    @property
    def in_flight(self) -> int:
        """Items that fill the window."""
        return self.queued + self.processing

    @property
    def waiting(self) -> int:
        """Items that dispatch may still take, now or once they are due."""
        return self.pending + self.retrying

    @property
    def unfinished(self) -> int:
        """Items that can still change by themselves."""
        return self.waiting + self.in_flight

    @property
    def finished(self) -> int:
        """Items in a final status."""
        return self.completed + self.skipped + self.unsuccessful + self.cancelled

    @property
    def unsuccessful(self) -> int:
        """Items that ended without a result although nobody cancelled them."""
        return self.failed + self.quarantined


def final_status(counts: Counts, *, cancelled: bool) -> BatchStatus:
    """Name the status that a batch with no unfinished items ends in.

    `failed` means that no file succeeded; a batch of nothing but skipped files is completed.
    """
    if cancelled:
        return BatchStatus.CANCELLED
    if not counts.unsuccessful:
        return BatchStatus.COMPLETED
    if counts.completed + counts.skipped:
        return BatchStatus.COMPLETED_WITH_ERRORS
    return BatchStatus.FAILED
