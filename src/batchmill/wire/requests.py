"""JSON shapes of /v1 that requests have, shared by the API and the client.

Names are the glossary's, sizes are bytes. A field that is not here is refused.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class RequestModel(BaseModel):
    """A part of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OnFailure(RequestModel):
    """When a batch gives up."""

    halt_after_pct: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None, description="Stop the batch once more than this share of its files failed"
    )


class BatchOptions(RequestModel):
    """What a caller may choose about a batch beside files and pipeline."""

    name: str | None = Field(None, min_length=1, max_length=200, description="Name for people")
    tag: str | None = Field(None, min_length=1, max_length=100, description="Label to filter by")
    metadata: dict[str, Any] = Field({}, description="Anything of yours, returned as it is")
    priority: Literal["high", "normal", "low"] | int = Field(
        "normal", description="Who runs first within your tier: a word, or 1 (first) to 15 (last)"
    )
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Files processed at once; 1 is one after another; default: all slots"
    )
    keep_open: bool = Field(
        default=False, description="Wait for more files until `close`, or until none come for long"
    )
    on_failure: OnFailure = OnFailure()
    webhook: str | None = Field(
        None, max_length=2_000, description="Id or address of a webhook of yours to be told"
    )
    step_options: dict[str, dict[str, Any]] = Field(
        {}, description="Options that replace those of the pipeline's steps, by step or operation"
    )


class NewInput(RequestModel):
    """A file inside a JSON request: its bytes, or where they are."""

    name: str | None = Field(None, min_length=1, max_length=1024, description="File name")
    custom_id: str | None = Field(None, min_length=1, max_length=200, description="Your own id")
    data: str | None = Field(None, description="The file's bytes in base 64")
    upload_id: str | None = Field(None, description="A finished upload")
    url: str | None = Field(None, description="Address to fetch the file from, before the answer")
    object: str | None = Field(
        None, description="Key of an object in the storage, in a folder that the server allows"
    )
    bytes: int | None = Field(
        None,
        ge=0,
        description="Size of a file that you keep, as it is over the limit: an item that failed",
    )


class NewBatch(BatchOptions):
    """A batch asked for in JSON."""

    pipeline: str | dict[str, Any] = Field(description="Name of a preset, or a pipeline")
    inputs: list[NewInput] = Field([], description="The files")


class BatchChange(RequestModel):
    """What may be changed of a batch that exists; what is left out stays."""

    name: str | None = Field(None, max_length=200)
    tag: str | None = Field(None, max_length=100)
    metadata: dict[str, Any] | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None


class MoreInputs(RequestModel):
    """Files for an open batch."""

    inputs: list[NewInput]


class Retry(RequestModel):
    """Which items to run again: all that failed, one group of failures, or some by id."""

    scope: Literal["failed", "group", "ids"] = "failed"
    group: str | None = Field(None, max_length=40, description="A group's id, for scope `group`")
    ids: list[str] | None = Field(None, max_length=1_000, description="Item ids, for scope `ids`")


class PlannedFile(RequestModel):
    """A file that would be sent."""

    name: str = Field(min_length=1, max_length=1024)
    bytes: int = Field(ge=0)


class NewPlan(BatchOptions):
    """A batch to be checked and not run."""

    pipeline: str | dict[str, Any]
    files: list[PlannedFile] = Field([], max_length=10_000)


class WorkPause(RequestModel):
    """Why all work, or one worker, is to wait."""

    reason: str = Field(
        "paused by the administrator",
        min_length=1,
        max_length=200,
        description="What all users are told",
    )


class CleanupConfirmed(RequestModel):
    """That what is found may be removed."""

    confirm: Literal[True] = Field(description="`true`: nothing else is a confirmation")


class SignIn(RequestModel):
    """The key that a browser is to be known by."""

    key: str = Field(min_length=1, max_length=200)


class NewKey(RequestModel):
    """An API key asked for."""

    name: str = Field(min_length=1, max_length=200, description="What the key is for")
    tier: str = Field("free", description="Tier of its holder; not above that of the asking key")
    scopes: list[Literal["read", "write", "admin"]] = Field(
        ["read", "write"], min_length=1, description="What the key permits"
    )
    owner: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9_-]{0,38}$",
        json_schema_extra={"allowed": "1 to 39 small letters, digits, `_` and `-`"},
        description="Whose batches it opens; only an admin may name another; default: your own",
    )


class NewDirectUpload(RequestModel):
    """A file that its sender puts into the server's bucket."""

    direct: Literal[True] = Field(description="The bytes do not go through the server")
    name: str = Field(min_length=1, max_length=1024, description="File name")
    bytes: int = Field(ge=1, lt=2**63, description="Exactly how long the file is")


class NewWebhook(RequestModel):
    """An address to be told of batches that have ended."""

    url: str = Field(max_length=2_000, description="Where deliveries are sent by POST")
    every_batch: bool = Field(
        default=False, description="Tell it of your every batch, not only of those that name it"
    )
