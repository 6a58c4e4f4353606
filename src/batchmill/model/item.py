"""An item: one file on its way through a pipeline.

    pending ──► queued ──► processing ──┬──► completed · skipped
       ▲          │            │        ├──► failed · quarantined
       └──────────┴── hand back┤        └──► cancelled
                               ▼
                            retrying ──► queued, once due

`queued` is claimed: a worker has the item and begins it soon. That it has begun is written for
those that run longer than a second; all others go from `queued` to their end. `retrying` is a
pending item that waits for `due_at`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType, NoReturn

from batchmill.errors.item import ProcessingError
from batchmill.model.batch import BatchId

ItemId = NewType("ItemId", str)
WorkerId = NewType("WorkerId", str)


class ItemStatus(StrEnum):
    """Where an item is."""

    PENDING = "pending"
    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"

    @property
    def final(self) -> bool:
        """True once only a person's retry can change the item."""
        return self in FINAL


WAITING = frozenset({ItemStatus.PENDING, ItemStatus.RETRYING})
IN_FLIGHT = frozenset({ItemStatus.QUEUED, ItemStatus.PROCESSING})
UNSUCCESSFUL = frozenset({ItemStatus.FAILED, ItemStatus.QUARANTINED})
FINAL = frozenset(ItemStatus) - WAITING - IN_FLIGHT


class SkipReason(StrEnum):
    """Why a file was deliberately not changed."""

    DUPLICATE = "duplicate"
    UNCHANGED = "unchanged"
    LARGER_THAN_SOURCE = "larger_than_source"
    FILTERED = "filtered"
    UNSUPPORTED = "unsupported"


StepOptions = Mapping[str, Mapping[str, Any]]
"""Options for steps named by their id or operation: what one file wants to be different."""


@dataclass(frozen=True, slots=True)
class Spent:
    """How often each retry budget of an item was used."""

    errors: int = 0
    crashes: int = 0
    timeouts: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one attempt of an item.

    `attempt` is the fencing token: it rises at every claim and is never reused, so a worker
    whose claim went stale can finish nothing.
    """

    item_id: ItemId
    batch_id: BatchId
    attempt: int
    spent: Spent = field(default_factory=Spent)

    @property
    def key(self) -> "AttemptKey":
        """What tells attempts apart: one item may be in hand twice while an old attempt stops."""
        return self.item_id, self.attempt


AttemptKey = tuple[ItemId, int]


@dataclass(frozen=True, slots=True)
class Input:
    """Where an item's bytes lie: a whole object, or one entry of a stored ZIP.

    There are none where `key` is empty; `absent` then says why they could not be fetched, or is
    `over_limit`'s text.
    """

    key: str
    name: str
    bytes: int
    sha256: str | None = None
    media_type: str | None = None
    entry: "ArchiveEntry | None" = None
    absent: str | None = None


_OVER_LIMIT = "over_limit "


def over_limit(limit_bytes: int) -> str:
    """Return what `Input.absent` says of a file that is larger than `limit_bytes`."""
    return f"{_OVER_LIMIT}{limit_bytes}"


def limit_passed(absent: str) -> int | None:
    """Return the limit, in bytes, that `over_limit` wrote; None for another reason."""
    limit = absent.removeprefix(_OVER_LIMIT)
    return int(limit) if limit != absent else None


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """The place of one entry inside a ZIP, so that exactly its range is read."""

    offset: int
    compressed_bytes: int
    method: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Output:
    """One file that an attempt made. `key` is empty until the bytes are in storage.

    Its checksums are made when the file is taken out of the child, which is not asked for them.
    """

    name: str
    bytes: int
    media_type: str
    sha256: str = ""
    crc32: int = 0
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    key: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return its fields, as the database keeps them."""
        return {name: getattr(self, name) for name in Output.__slots__}


@dataclass(frozen=True, slots=True)
class NewItem:
    """A file that was accepted: its bytes are in storage already.

    One that is `skipped` only lay beside the wanted ones, and has ended with that.
    """

    id: ItemId
    input: Input
    custom_id: str | None = None
    options: StepOptions | None = None
    skipped: SkipReason | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as stored on the item and shown to people."""

    code: str
    message: str
    retryable: bool = False
    step: str | None = None

    def raise_(self) -> NoReturn:
        """Raise the failure as a ProcessingError."""
        raise ProcessingError(
            self.message, code=self.code, retryable=self.retryable, step=self.step
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What a successful attempt leaves behind."""

    outputs: tuple[Output, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: SkipReason | None = None
    step_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """An item as the database holds it.

    `attempt` is the fence and rises with every claim; `begun` counts attempts that a child began.
    """

    id: ItemId
    batch_id: BatchId
    position: int
    status: ItemStatus
    input: Input
    attempt: int = 0
    begun: int = 0
    spent: Spent = field(default_factory=Spent)
    custom_id: str | None = None
    options: StepOptions | None = None
    progress: float = 0.0
    error: Failure | None = None
    result: Result | None = None
    due_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    run_ms: int | None = None
