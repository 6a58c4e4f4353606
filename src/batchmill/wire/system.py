"""JSON shapes of /v1 about the server itself: its queue, its health, its settings, who asks."""

from datetime import datetime

from pydantic import Field

from batchmill.wire.responses import ItemCounts, Key, ResponseModel


class Lane(ResponseModel):
    """The batches of one family, tier and priority that have not ended."""

    family: str
    tier: str
    rank: str = Field(description="high, normal or low, within the tier")
    batches: int
    oldest_at: datetime | None = Field(
        description="When the oldest of them was sent that has items to start"
    )
    counts: ItemCounts


class Ended(ResponseModel):
    """How many items ended lately."""

    minute: int
    hour: int


class Queue(ResponseModel):
    """What waits and runs, and how much can run at once; an admin's key sees everybody's."""

    counts: ItemCounts
    slots: int
    workers: int
    paused: bool = Field(description="No item of anybody is started")
    pause_reason: str | None
    paused_at: datetime | None
    standstill: str | None = Field(
        None, description="Why nothing is started although it is not paused, as a lack of memory"
    )
    cleanup_pause_reason: str | None = Field(
        None, description="Why files of no known batch are not removed, where that is so"
    )
    families: dict[str, ItemCounts] = Field(
        default_factory=dict, description="The items of all batches that are kept, by family"
    )
    lanes: list[Lane] = Field(description="What has not ended, who runs first first")
    ended: Ended
    last_day: ItemCounts = Field(description="The items of batches sent within the last 24 hours")
    free_bytes: int | None = Field(description="Space left for files; null where none is told")


class Orphan(ResponseModel):
    """A batch's folder, or an upload's files, that no known batch or upload has."""

    kind: str = Field(description="batches, uploads or direct uploads")
    name: str
    found_at: datetime = Field(description="It is removed a day later")
    confirmed: bool = Field(description="An administrator has seen it and let it go")


class Cleanup(ResponseModel):
    """What is to be removed because nothing that is known has it."""

    paused: bool = Field(description="Only what is confirmed is removed")
    pause_reason: str | None
    paused_at: datetime | None
    orphans: int
    oldest: list[Orphan] = Field(description="The first 100 that were found")


class Session(ResponseModel):
    """Who the server takes the caller for; `key` is null for callers without one."""

    owner: str
    tier: str
    admin: bool
    lists: bool = Field(description="Whether the caller may list what it has sent")
    key: Key | None


class SettingValue(ResponseModel):
    """A setting as it holds; the values of secrets are not told."""

    name: str
    variable: str
    meaning: str
    takes: str
    secret: bool
    given: bool = Field(description="Whether it has a value; all that is told of a secret")
    value: str | None
    default: str | None
    origin: str = Field(description="flag, environment, file or default")
    given_by: str | None = Field(description="The flag, variable or line that set it")


class Check(ResponseModel):
    """Whether one thing that the server needs is there."""

    name: str
    ok: bool
    message: str


class Readiness(ResponseModel):
    """Whether the server can take work."""

    ready: bool
    checks: list[Check]
