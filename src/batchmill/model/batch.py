"""A batch: a set of files sent with one pipeline."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

BatchId = NewType("BatchId", str)
OwnerId = NewType("OwnerId", str)

LOCAL_OWNER = OwnerId("local")
"""The one owner of everything sent without a key from the machine itself."""


class BatchStatus(StrEnum):
    """Where a batch is; `paused` is a separate flag that can stand beside any of these.

    VALIDATING is a word of the API, so clients know it; nothing is in this state, because files are
    looked at when they are worked on. EXPIRED is a batch that is being removed: no caller sees it.
    FINALIZING is a batch whose items have ended and whose end work has not.
    """

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


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the database holds it. `pipeline` is the JSON that `model.pipeline` reads.

    What the current run says about its pace: `run_base` items were finished before it and are
    not part of it; attempts took `run_ms` together, the squares of their seconds sum to
    `run_s2`; `busy_ms` passed up to the last settled attempt at `settled_at`, pauses left out.
    What its files need besides batchmill, as a model, is away since `outage_since`.
    With `end_work` something is left to do once all items have ended. Where it was read to be
    changed, `is_counted_apart` says whether workers have counted beside its row.
    """

    id: BatchId
    owner_id: OwnerId
    status: BatchStatus
    counts: Counts
    pipeline: dict[str, Any]
    pipeline_name: str
    family: str
    tier: str
    priority: int
    created_at: datetime
    paused: bool = False
    pause_reason: str | None = None
    open: bool = False
    name: str | None = None
    concurrency: int | None = None
    halt_after_pct: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    tag: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    revision: int = 1
    run_no: int = 1
    run_base: int = 0
    run_started_at: datetime | None = None
    bytes_in: int = 0
    bytes_done: int = 0
    bytes_out: int = 0
    bytes_saved: int = 0
    run_ms: int = 0
    run_s2: float = 0.0
    busy_ms: int = 0
    settled_at: datetime | None = None
    outage_since: datetime | None = None
    end_work: bool = False
    is_counted_apart: bool = False
    result_token: str | None = None
    webhook_id: str | None = None

    @property
    def runnable(self) -> bool:
        """True while dispatch and claim may start items of this batch."""
        return self.status in RUNNABLE and not self.paused

    def window(self, default: int) -> int:
        """Return how many items may be queued or processing at once."""
        return self.concurrency or default


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """What somebody asks for, checked: the pipeline exists and its options are complete."""

    pipeline: dict[str, Any]
    pipeline_name: str
    family: str
    tier: str
    priority: int
    concurrency: int | None = None
    name: str | None = None
    tag: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    halt_after_pct: float | None = None
    time_limit_s: int | None = None
    keep_open: bool = False
    end_work: bool = False
    result_token: str | None = None
    webhook_id: str | None = None


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
