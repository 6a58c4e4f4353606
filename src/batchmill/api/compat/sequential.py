"""The dialect of reference 000: up to 50 images as one batch, one image at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from batchmill.api.compat import allowances, lookup, receive, result_tokens, server_files
from batchmill.api.compat.receive import Expected
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http import json_body
from batchmill.api.http.idempotency import Keep, respond_once
from batchmill.api.http.problems import checked
from batchmill.api.submission import form_files, orders, submissions
from batchmill.errors.request import InvalidFieldError, WrongFileCountError
from batchmill.model.batch import Batch, BatchStatus
from batchmill.model.families import SEQUENTIAL
from batchmill.model.item import Item, ItemStatus, Output, StepOptions
from batchmill.model.media import Family, MediaType, sniff
from batchmill.model.pipeline import Pipeline
from batchmill.model.progress import progress
from batchmill.operations import presets, registry
from batchmill.service import batch_control, figures
from batchmill.service.submission.store_files import AbsentFile, SentFile
from batchmill.service.submission.submit import Order
from batchmill.settings.compat import SequentialSettings
from batchmill.settings.fields import Settings

router = APIRouter(prefix="/api/sequential-batch", tags=["reference: sequential"])

STEP: Final = "compress"
FORMATS: Final = {"jpg": "jpeg", "tif": "tiff"}
"""Names of formats here that are ours under another name."""
STATES: Final = {
    BatchStatus.PROCESSING: "processing",
    BatchStatus.FINALIZING: "processing",
    BatchStatus.COMPLETED: "completed",
    BatchStatus.COMPLETED_WITH_ERRORS: "completed",
    BatchStatus.FAILED: "failed",
    BatchStatus.CANCELLING: "cancelled",
    BatchStatus.CANCELLED: "cancelled",
}
"""Every other status is `queued` here."""
FILE_STATES: Final = {
    ItemStatus.PROCESSING: "processing",
    ItemStatus.FAILED: "failed",
    ItemStatus.QUARANTINED: "failed",
    ItemStatus.CANCELLED: "skipped",
}
"""Every other status of a file without a result is `pending` here."""


class NewFile(BaseModel):
    """A file of a batch: where it lies on the server, and what it wants to be different."""

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    file_path: str | None = Field(None, alias="filePath", min_length=1, max_length=4_096)
    file_name: str | None = Field(None, alias="fileName", min_length=1, max_length=1_024)
    options: dict[str, Any] = {}


class NewSequential(BaseModel):
    """A batch asked for; in a form, `files` describe the uploaded files in their order."""

    files: list[NewFile] = []
    output_format: str | None = Field(None, alias="outputFormat")
    user_tier: str | None = Field(None, alias="userTier")


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request as it was read: what it asks for, its files, and a digest of both."""

    wanted: NewSequential
    files: Sequence[SentFile | AbsentFile]
    sha256: str


@router.post("/submit")
async def submit(request: Request, ctx: Ctx) -> Response:
    """Send files, as a form or by their paths in `input_dirs`; they are compressed in turn."""
    usage = await allowances.count_anonymous(request, ctx)
    async with form_files.landing(ctx) as folder:
        sent = await _read(request, ctx, folder)
        order = _order(ctx.server.settings.sequential, sent.wanted)
        sender = receive.lowered(ctx, sent.wanted.user_tier)

        async def make(_: Keep) -> Response:
            batch = await receive.start(sender, order, sent.files)
            address = f"{router.prefix}/status/{batch.id}"
            return lookup.tell({"success": True, "batchId": batch.id, "statusUrl": address})

        response = await respond_once(request, ctx, sent.sha256, make)
    response.headers.update(usage)
    return response


@router.get("/status/{batch_id}")
async def status(batch_id: str, ctx: Ctx) -> Response:
    """Look at a batch: how far it is, which file is being worked on, and every file's result."""
    batch = await lookup.batch_of(ctx, batch_id, SEQUENTIAL)
    items = await lookup.items_of(ctx, batch)
    return lookup.tell(
        {
            "success": True,
            "batchId": batch.id,
            "status": _state(batch.status, has_reason=batch.pause_reason is not None),
            "error": batch.pause_reason,
            "progress": _progress(items),
            "currentFile": _current(items),
            "timing": {"estimatedRemainingSeconds": _remaining_s(batch)},
            "results": _results(batch),
            "files": [_file(item, batch, ctx.server.settings) for item in items],
        }
    )


@router.post("/cancel/{batch_id}")
async def cancel(batch_id: str, ctx: Ctx) -> Response:
    """Stop the running file and skip those behind it; finished results stay."""
    batch = await lookup.batch_of(ctx, batch_id, SEQUENTIAL)
    after = await batch_control.cancel(ctx.server, batch.id, owner_id=ctx.sees)
    skipped = after.counts.cancelled
    return lookup.tell({"success": True, "batchId": after.id, "skipped": skipped})


@router.get("/queue-stats")
async def queue_stats(ctx: Ctx) -> Response:
    """Count the batches that wait, run, are completed, failed and cancelled."""
    found = await figures.batches_by_status(ctx.server, SEQUENTIAL)
    names = {"queued": "waiting", "processing": "active"}
    counts = dict.fromkeys(("waiting", "active", "completed", "failed", "cancelled"), 0)
    for (each, has_reason), number in found.items():
        state = _state(each, has_reason=has_reason)
        counts[names.get(state, state)] += number
    return lookup.tell({"success": True, "queue": counts})


# ---------------------------------------------------------------- sending


async def _read(request: Request, ctx: RequestContext, folder: Path) -> _Sent:
    settings = ctx.server.settings.sequential
    if json_body.media_type(request) == form_files.FORM:
        return await _read_form(request, ctx, folder)
    parsed = await submissions.read_json(request, ctx)
    wanted: NewSequential = checked(NewSequential, parsed.value, "The request")
    if not 0 < len(wanted.files) <= settings.files_per_batch:
        raise WrongFileCountError(settings.files_per_batch)
    named = [server_files.Named(_path(each), each.file_name, each.id) for each in wanted.files]
    files = await server_files.copied(named, ctx, folder, file_bytes=settings.file_bytes)
    return _Sent(wanted, _with_options(files, wanted), parsed.sha256)


async def _read_form(request: Request, ctx: RequestContext, folder: Path) -> _Sent:
    settings = ctx.server.settings.sequential
    most, setting = settings.files_per_batch, server_files.SIZE_SETTING
    expected = Expected(("files", "file"), most, settings.file_bytes, setting)
    sent = await receive.receive(request, ctx, folder, expected)
    await receive.require_types(sent.files, _is_image, wanted="single images")
    described = json_body.parse(sent.fields.get("files", "[]"))
    fields = {name: sent.fields.get(name) for name in ("outputFormat", "userTier")}
    wanted: NewSequential = checked(NewSequential, {**fields, "files": described}, "The form")
    if wanted.files and len(wanted.files) != len(sent.files):
        raise InvalidFieldError("`files` must describe as many files as were uploaded, or none.")
    return _Sent(wanted, _with_options(sent.files, wanted), sent.sha256)


def _path(file: NewFile) -> str:
    if file.file_path is None:
        raise InvalidFieldError("`filePath` is missing; send the file itself as a form instead.")
    return file.file_path


def _is_image(_: SentFile, media: MediaType) -> bool:
    return media.family is Family.IMAGE


def _with_options(
    files: Sequence[SentFile | AbsentFile], wanted: NewSequential
) -> Sequence[SentFile | AbsentFile]:
    """Give every file the options and the id that the request has for it."""
    described = wanted.files or [NewFile() for _ in files]
    return [
        replace(file, custom_id=each.id, options=_options(each, file.head, wanted.output_format))
        if isinstance(file, SentFile)
        else replace(file, custom_id=each.id)
        for file, each in zip(files, described, strict=True)
    ]


def _options(file: NewFile, head: bytes, output_format: str | None) -> StepOptions | None:
    """Check a file's options; a format that it does not have yet is given it, even if larger."""
    options = _known(file.options) if file.options else {}
    named = options.get("format") or _format(output_format or "auto")
    media = sniff(head)
    if named != "auto" and (media is None or media.mime != f"image/{named}"):
        options.setdefault("never_larger", False)
    return {STEP: options} if options else None


def _order(settings: SequentialSettings, wanted: NewSequential) -> Order:
    return Order(
        pipeline=_pipeline(settings, wanted.output_format),
        concurrency=1,
        time_limit_s=round(settings.batch_timeout_s),
    )


def _pipeline(settings: SequentialSettings, output_format: str | None) -> Pipeline:
    compress = presets.get(STEP)
    if output_format:
        compress = orders.with_options(compress, {STEP: _known({"format": output_format})})
    return registry.check(replace(compress, family=SEQUENTIAL))


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options of the step and give the format the name that we have for it.

    Raises:
        InvalidOptionError: an option is unknown or out of range.
    """
    given = dict(options)
    if isinstance(given.get("format"), str):
        given["format"] = _format(given["format"])
    registry.options(STEP, given)
    return given


def _format(name: str) -> str:
    return FORMATS.get(name.lower(), name.lower())


# ---------------------------------------------------------------- telling


def _state(status: BatchStatus, *, has_reason: bool) -> str:
    """Name a batch's status; one with a reason was stopped by the server, and has failed then."""
    state = STATES.get(status, "queued")
    if state == "cancelled" and has_reason:
        return "failed" if status.ended else "processing"
    return state


def _progress(items: Sequence[Item]) -> Mapping[str, int]:
    """Count the files that were taken and are done with; what was skipped untouched is not."""
    taken = sum(item.status.final and _was_begun(item) for item in items)
    percentage = 100 * taken // len(items) if items else 0
    return {"current": taken, "total": len(items), "percentage": percentage}


def _was_begun(item: Item) -> bool:
    return item.status is not ItemStatus.CANCELLED or item.started_at is not None


def _current(items: Sequence[Item]) -> Mapping[str, Any] | None:
    for item in items:
        if item.status is ItemStatus.PROCESSING:
            return {"index": item.position + 1, "name": item.input.name}
    return None


def _remaining_s(batch: Batch) -> int | None:
    if batch.status.ended:
        return 0
    found = progress(batch, datetime.now(UTC))
    if found.items_per_second is None:
        return None
    plain_s = batch.counts.unfinished / found.items_per_second  # one or two files say no more
    return round(found.eta_s or plain_s)


def _results(batch: Batch) -> Mapping[str, int]:
    counts = batch.counts
    return {
        "successful": counts.completed + counts.skipped,
        "failed": counts.unsuccessful,
        "pending": counts.unfinished,
        "skipped": counts.cancelled,
    }


def _file(item: Item, batch: Batch, settings: Settings) -> Mapping[str, Any]:
    made = result_tokens.made_of(item)[0] if result_tokens.succeeded(item) else None
    size = item.input.bytes
    return {
        "id": item.custom_id or item.id,
        "fileName": item.input.name,
        "status": "completed" if made else FILE_STATES.get(item.status, "pending"),
        "progress": round(100 * item.progress),
        "originalSize": size,
        "compressedSize": made.bytes if made else None,
        "compressionRatio": lookup.saved_pct(size, made.bytes) if made else None,
        "downloadUrl": _url(item, batch, settings) if made else None,
        "storage": _storage(made, settings) if made else None,
        "warnings": list(item.result.warnings) if item.result else [],
        "error": item.error.message if item.error else None,
    }


def _url(item: Item, batch: Batch, settings: Settings) -> str:
    """Return the result's address at the CDN, or else at the server."""
    made = result_tokens.made_of(item)[0]
    return result_tokens.cdn_url(settings, made) or result_tokens.urls(batch, item)[0]


def _storage(made: Output, settings: Settings) -> str:
    return "bucket" if result_tokens.is_in_bucket(settings, made) else "local"
