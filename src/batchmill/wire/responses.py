"""JSON shapes of /v1 that answers have, shared by the API and the client.

Names are the glossary's, sizes are bytes, instants are RFC 3339 in UTC. An answer may get more
fields, so clients ignore those that they do not know.
"""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from batchmill.model.batch import BatchStatus
from batchmill.model.item import ItemStatus, SkipReason
from batchmill.model.webhook import DeliveryStatus

T = TypeVar("T")


class ResponseModel(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True)


class Page(ResponseModel, Generic[T]):
    """Some objects of a list, and where to go on."""

    data: list[T]
    has_more: bool
    next_cursor: str | None


class ItemCounts(ResponseModel):
    """Items by status; together they are `total`."""

    total: int
    pending: int
    queued: int
    processing: int
    retrying: int
    completed: int
    failed: int
    skipped: int
    cancelled: int
    quarantined: int


class ProgressState(ResponseModel):
    """How far a batch is. `percent` never goes back within a run and is null while it is open."""

    percent: float | None
    items_per_second: float | None
    eta_seconds: int | None
    eta_low_seconds: int | None
    eta_high_seconds: int | None
    bytes_in: int
    bytes_out: int
    bytes_saved: int
    position: int | None = Field(description="Place among the waiting batches, from 1")


class Batch(ResponseModel):
    """A batch."""

    id: str
    owner: str
    status: BatchStatus
    paused: bool
    pause_reason: str | None = Field(
        description="Why it is paused or waits; also while nothing of anybody is started"
    )
    outage_since: datetime | None = Field(
        default=None,
        description="Since when something that the files need is away, such as a model's server;"
        " `pause_reason` names it",
    )
    open: bool
    name: str | None
    tag: str | None
    metadata: dict[str, Any]
    pipeline: dict[str, Any]
    priority: int
    concurrency: int | None
    halt_after_pct: float | None
    webhook: str | None = None
    counts: ItemCounts
    progress: ProgressState
    run: int
    revision: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None


class Input(ResponseModel):
    """The file as it was sent."""

    path: str
    bytes: int
    sha256: str | None
    type: str | None


class Output(ResponseModel):
    """A file that was made."""

    name: str
    url: str
    expires_at: datetime | None
    bytes: int
    type: str
    width: int | None
    height: int | None
    sha256: str


class ItemFailure(ResponseModel):
    """Why an item failed, and what to do."""

    code: str
    message: str
    remedy: str
    retryable: bool
    step: str | None
    attempt: int


class Skipped(ResponseModel):
    """Why an item was left as it was."""

    reason: SkipReason


class Timings(ResponseModel):
    """How long an item waited and ran; `steps` by the step's id."""

    queued_ms: int | None
    run_ms: int | None
    steps: dict[str, float]


class ResultLine(ResponseModel):
    """One line of a report."""

    custom_id: str | None
    item_id: str
    status: ItemStatus
    input: Input
    outputs: list[Output]
    data: dict[str, Any]
    error: ItemFailure | None
    attempts: int
    timings: Timings


class Item(ResponseModel):
    """An item; lists leave out `data`, which can be large, unless `fields` asks for it."""

    id: str
    batch_id: str
    custom_id: str | None
    position: int
    status: ItemStatus
    progress: float
    attempts: int
    input: Input
    outputs: list[Output]
    data: dict[str, Any] | None
    warnings: list[str]
    skipped: Skipped | None
    error: ItemFailure | None
    timings: Timings
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class ItemPage(Page[Item]):
    """Some items of a batch; `left_out` names fields that this answer does not give of them."""

    left_out: list[str]


class ItemEvent(ResponseModel):
    """What a stream tells about an item."""

    id: str
    batch_id: str
    custom_id: str | None
    position: int
    name: str
    status: ItemStatus
    progress: float
    attempts: int
    error: ItemFailure | None


class Sample(ResponseModel):
    """One item of a failure group."""

    item_id: str
    name: str
    message: str


class FailureGroup(ResponseModel):
    """Items that failed for the same cause."""

    id: str
    code: str
    message: str
    remedy: str
    retryable: bool
    count: int
    first_at: datetime
    last_at: datetime
    samples: list[Sample]


class FailureGroups(ResponseModel):
    """The causes of a batch's failures, the most frequent first."""

    data: list[FailureGroup]


class Retried(ResponseModel):
    """How many items run again."""

    retried: int
    batch: Batch


class Added(ResponseModel):
    """How many files were added."""

    added: int
    batch: Batch


class DirectUpload(ResponseModel):
    """An upload whose bytes go to the bucket: its `id` is the `upload_id` of an input."""

    id: str
    url: str = Field(description="Presigned address of the bucket that takes this one file")
    method: Literal["PUT"]
    headers: dict[str, str] = Field(description="What the request must have, as signed")
    expires_at: datetime = Field(description="The address and the upload end then")


class Operation(ResponseModel):
    """An operation; `options` is the JSON Schema of its options."""

    name: str
    summary: str
    version: int
    accepts: list[str]
    options: dict[str, Any]


class Preset(ResponseModel):
    """A named pipeline, complete; `options` has one JSON Schema for each of its steps."""

    name: str
    summary: str
    pipeline: dict[str, Any]
    options: dict[str, dict[str, Any]]


class Listing(ResponseModel, Generic[T]):
    """A short list that needs no pages."""

    data: list[T]


class Worker(ResponseModel):
    """A living process; one that only serves has no slots."""

    id: str
    host: str | None = Field(description="For administrators alone")
    pid: int | None = Field(description="For administrators alone")
    slots: int
    draining: bool
    paused: bool = Field(False, description="By an administrator: it starts nothing new")
    pause_reason: str | None = None
    started_at: datetime
    lease_until: datetime
    seen_at: datetime
    running: int = Field(description="Items in hand")
    stats: dict[str, Any]


class TypeCount(ResponseModel):
    """How many files of one type, and their bytes."""

    type: str
    files: int
    bytes: int


class SampledFile(ResponseModel):
    """One of the files; `problem` says why it would fail."""

    name: str
    type: str
    bytes: int
    problem: str | None


class Estimate(ResponseModel):
    """What a batch will probably take, judged by `known_files` of earlier ones with its pipeline.

    `cost_usd` is null where the pipeline costs nothing, or no prices are known.
    """

    low_seconds: float
    high_seconds: float
    slots: int
    known_files: int
    cost_usd: float | None


class Plan(ResponseModel):
    """What a batch would be; nothing of it is kept. No estimate: nothing like it ran before."""

    files: int
    bytes: int
    types: list[TypeCount]
    pipeline: dict[str, Any]
    problems: list[str]
    sample: list[SampledFile]
    estimate: Estimate | None


class Problem(ResponseModel):
    """An error, as RFC 9457 shapes it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str


class Key(ResponseModel):
    """An API key; the secret itself is kept nowhere."""

    id: str
    name: str
    owner: str
    tier: str
    scopes: list[str]
    created_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


class MadeKey(Key):
    """A key just made: the only time that its secret is shown."""

    secret: str


class Webhook(ResponseModel):
    """An address that is told when a batch ends."""

    id: str
    url: str
    every_batch: bool
    created_at: datetime


class MadeWebhook(Webhook):
    """A webhook just made: the only time that its secret is shown."""

    secret: str


class WebhookDelivery(ResponseModel):
    """One delivery and what became of it; `tries` counts calls, `answered` is the last status."""

    id: str
    batch_id: str
    status: DeliveryStatus
    tries: int
    answered: int | None
    error: str | None
    body: dict[str, Any]
    created_at: datetime
    due_at: datetime
    ended_at: datetime | None
