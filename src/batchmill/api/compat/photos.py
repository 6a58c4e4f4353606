"""The dialect of reference 002: archives of photos, and a square crop of the face in each."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from batchmill.api.compat import allowances, lookup, receive
from batchmill.api.compat.receive import Expected
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http import json_body
from batchmill.api.http.idempotency import Keep, respond_once
from batchmill.api.http.problems import checked
from batchmill.api.submission import form_files, orders, submissions
from batchmill.api.submission import json_inputs as from_json
from batchmill.errors.item import ItemError
from batchmill.errors.request import InvalidFieldError, NotFoundError, WrongFileCountError
from batchmill.model.batch import Batch, BatchStatus, Counts
from batchmill.model.families import PHOTOS
from batchmill.model.item import Item
from batchmill.model.media import SNIFF_BYTES, ZIP, Family, MediaType
from batchmill.model.pipeline import Pipeline
from batchmill.operations import presets, registry
from batchmill.service import batch_control, figures
from batchmill.service.execution.attempts import stage_input
from batchmill.service.submission import submit
from batchmill.service.submission.store_files import AbsentFile, SentFile
from batchmill.service.submission.submit import Order
from batchmill.service.submission.uploads import UploadedFile
from batchmill.settings.compat import PhotosSettings
from batchmill.settings.fields import tier_variable
from batchmill.wire.requests import NewInput

router = APIRouter(prefix="/api/batch", tags=["reference: photos"])

CROP: Final = "face_crop"
LABELS: Final = frozenset({"sessionId", "userId", "userTier", "user_id"})
"""Fields that clients of these systems send beside the others; the key says who asks."""
ZIP_SETTING: Final = "BATCHMILL_PHOTOS_ZIP_BYTES"
LABEL_CHARACTERS: Final = 100
UNPACK_S: Final = 60.0
STATES: Final = {
    BatchStatus.PROCESSING: "processing",
    BatchStatus.FINALIZING: "processing",
    BatchStatus.CANCELLING: "cancelled",
    BatchStatus.CANCELLED: "cancelled",
    BatchStatus.COMPLETED: "completed",
    BatchStatus.COMPLETED_WITH_ERRORS: "completed",
    BatchStatus.FAILED: "failed",
}
"""Every other status is `queued` here."""

_Text = Annotated[str, Field(min_length=1, max_length=200)]


class NewImage(BaseModel):
    """A photo: its bytes, its address, or a record whose photo is to be looked at again."""

    record_id: _Text | None = Field(None, alias="recordId")
    name: Annotated[str, Field(min_length=1, max_length=1_024)] | None = None
    url: str | None = None
    data: str | None = None

    @property
    def is_record(self) -> bool:
        """True when nothing but the record says which photo is meant."""
        return self.url is None and self.data is None


class NewPhotos(BaseModel):
    """Photos to work on; with `batchId` they join a batch that was sent with `keepOpen`.

    Options of `face_crop` stand in `options`, or beside the other fields.
    """

    model_config = ConfigDict(extra="allow")

    images: list[NewImage] = []
    project_id: str | None = Field(None, alias="projectId")
    priority: str | int | None = None
    batch_id: str | None = Field(None, alias="batchId")
    keep_open: bool | None = Field(None, alias="keepOpen")
    options: dict[str, Any] = {}

    @property
    def crop(self) -> Mapping[str, Any]:
        """What the sender wants of `face_crop`; not checked yet."""
        beside = (self.model_extra or {}).items()
        return {**self.options, **{name: value for name, value in beside if name not in LABELS}}


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request as it was read: what it asks for, its photos, and a digest of both."""

    wanted: NewPhotos
    files: Sequence[SentFile | AbsentFile]
    sha256: str


@router.post("/upload-zip")
async def upload_zip(request: Request, ctx: Ctx) -> Response:
    """Send a ZIP archive, in the field `file`; every photo in it gets a crop of its main face.

    Options of `face_crop` may stand beside it, as fields or in `options`, as JSON.
    """
    usage = await allowances.count_anonymous(request, ctx)
    settings = ctx.server.settings.photos
    async with form_files.landing(ctx) as folder:
        most_bytes = min(settings.zip_bytes, ctx.limits.zip_bytes)
        is_own = settings.zip_bytes <= ctx.limits.zip_bytes
        setting = ZIP_SETTING if is_own else tier_variable(ctx.caller.tier, "zip_bytes")
        expected = Expected(("file", "zip"), 1, ctx.limits.file_bytes, setting, most_bytes)
        sent = await receive.receive(request, ctx, folder, expected)
        await receive.require_types(sent.files, _is_archive, wanted="a ZIP archive")
        order = _order(settings, _of_form(sent.fields))

        async def make(_: Keep) -> Response:
            batch = await receive.start(ctx, order, sent.files)
            number = batch.counts.total - batch.counts.skipped
            counts = {"imageCount": number, "queued": number}
            return lookup.tell({"success": True, "batchId": batch.id, **counts})

        response = await respond_once(request, ctx, sent.sha256, make)
    response.headers.update(usage)
    return response


@router.post("/add-images")
async def add_images(request: Request, ctx: Ctx) -> Response:
    """Send photos, as a form with `images` or in JSON; `batchId` adds them to an open batch.

    Options of `face_crop` may stand beside them, or in `options`.
    """
    usage = await allowances.count_anonymous(request, ctx)
    async with form_files.landing(ctx) as folder:
        sent = await _read(request, ctx, folder)
        await receive.require_types(sent.files, _is_image, wanted="images")

        async def make(_: Keep) -> Response:
            batch_id, queued = await _add(ctx, sent)
            return lookup.tell({"success": True, "batchId": batch_id, "queued": queued})

        response = await respond_once(request, ctx, sent.sha256, make)
    response.headers.update(usage)
    return response


@router.get("/status/{batch_id}")
async def status(batch_id: str, ctx: Ctx) -> Response:
    """Look at how far a batch is."""
    batch = await lookup.batch_of(ctx, batch_id, PHOTOS)
    return lookup.tell({"success": True, "batch": _batch(batch)})


@router.get("/queue-stats")
async def queue_stats(ctx: Ctx) -> Response:
    """Count the files that run, wait, are completed and failed, for each family of operations."""
    families = await figures.by_family(ctx.server)
    counted = {PHOTOS: Counts(), **families}
    return lookup.tell({"stats": {name: _stats(counts) for name, counts in counted.items()}})


# ---------------------------------------------------------------- sending


async def _read(request: Request, ctx: RequestContext, folder: Path) -> _Sent:
    most = ctx.limits.files_per_request
    if json_body.media_type(request) == form_files.FORM:
        setting = tier_variable(ctx.caller.tier, "file_bytes")
        expected = Expected(("images", "image"), most, ctx.limits.file_bytes, setting)
        sent = await receive.receive(request, ctx, folder, expected)
        return _Sent(_of_form(sent.fields), sent.files, sent.sha256)
    parsed = await submissions.read_json(request, ctx)
    wanted: NewPhotos = checked(NewPhotos, parsed.value, "The request")
    if not 0 < len(wanted.images) <= most:
        raise WrongFileCountError(most)
    return _Sent(wanted, await _photos(wanted.images, ctx, folder), parsed.sha256)


def _of_form(fields: Mapping[str, str]) -> NewPhotos:
    """Read the fields of a form; `options` is JSON there."""
    given: dict[str, Any] = dict(fields)
    if "options" in given:
        given["options"] = json_body.parse(given["options"])
    wanted: NewPhotos = checked(NewPhotos, given, "The form")
    return wanted


async def _photos(
    images: Sequence[NewImage], ctx: RequestContext, folder: Path
) -> Sequence[SentFile | AbsentFile]:
    sent = [each for each in images if not each.is_record]
    wanted = [
        NewInput(name=each.name, custom_id=each.record_id, data=each.data, url=each.url)
        for each in sent
    ]
    files = await from_json.take(wanted, ctx, folder)
    decoded = (file for file in files if not isinstance(file, UploadedFile))
    names = [each.record_id for each in images if each.is_record and each.record_id]
    records = await ctx.reading.records(names, PHOTOS) if names else {}
    return [
        await _again(each.record_id, records, ctx, folder) if each.is_record else next(decoded)
        for each in images
    ]


async def _again(
    record_id: str | None, records: Mapping[str, Item], ctx: RequestContext, folder: Path
) -> SentFile:
    """Take the photo of a record that the caller has sent before.

    Raises:
        InvalidFieldError: nothing says which photo is meant.
        NotFoundError: there is no such record, or its photo is gone.
    """
    if record_id is None:
        raise InvalidFieldError("Every image needs `data`, `url` or `recordId`.")
    item = records.get(record_id)
    if item is None:
        raise NotFoundError("record", record_id)
    copy = folder / uuid4().hex
    bounds = ctx.limits.attempt(wall_s=UNPACK_S)
    try:
        await stage_input(ctx.server.storage, item.input, copy, limits=bounds)
    except ItemError as error:
        raise NotFoundError("photo of record", record_id) from error
    return await asyncio.to_thread(_measured, copy, item.input.name, item.custom_id or item.id)


def _measured(path: Path, name: str, record_id: str) -> SentFile:
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return SentFile(path, name, head, path.stat().st_size, sha256, record_id)


async def _add(ctx: RequestContext, sent: _Sent) -> tuple[str, int]:
    """Start a batch, or add to one; return its id and how many photos were queued."""
    wanted, server, caller = sent.wanted, ctx.server, ctx.caller
    if wanted.batch_id is None:
        batch = await receive.start(ctx, _order(server.settings.photos, wanted), sent.files)
        return batch.id, batch.counts.total
    batch = await lookup.batch_of(ctx, wanted.batch_id, PHOTOS)
    files = [_with_options(file, wanted.crop) for file in sent.files]
    queued = await submit.add_files(server, batch.id, caller, files)
    if wanted.keep_open is False:
        await batch_control.close(server, batch.id, owner_id=caller.owner_id)
    return batch.id, queued


def _with_options(file: SentFile | AbsentFile, options: Mapping[str, Any]) -> SentFile | AbsentFile:
    """Give a photo that joins a batch options of its own: the batch has its pipeline already."""
    if not options or isinstance(file, AbsentFile):
        return file
    registry.options(CROP, options)
    return replace(file, options={CROP: options})


def _order(settings: PhotosSettings, wanted: NewPhotos) -> Order:
    return Order(
        pipeline=pipeline(settings, wanted.crop),
        priority="normal" if wanted.priority in {None, ""} else wanted.priority,
        tag=(wanted.project_id or "")[:LABEL_CHARACTERS] or None,
        keep_open=bool(wanted.keep_open),
    )


def pipeline(settings: PhotosSettings, wanted: Mapping[str, Any]) -> Pipeline:
    """Return the preset `face-crop` with the options of the settings and those that are wanted.

    Raises:
        InvalidOptionError: one is unknown or out of range.
    """
    crop = {
        "width": settings.crop_px,
        "height": settings.crop_px,
        "padding_pct": settings.padding_pct,
        **dict(each.partition("=")[::2] for each in settings.options),
        **wanted,
    }
    cropping = orders.with_options(presets.get("face-crop"), {CROP: crop})
    return registry.check(replace(cropping, family=PHOTOS, retries=settings.retries))


def _is_archive(_: SentFile, media: MediaType) -> bool:
    return media is ZIP


def _is_image(_: SentFile, media: MediaType) -> bool:
    return media.family is Family.IMAGE


# ---------------------------------------------------------------- telling


def _batch(batch: Batch) -> Mapping[str, Any]:
    counts = batch.counts  # what is skipped is no image
    total, finished = counts.total - counts.skipped, counts.finished - counts.skipped
    percent = 1_000 * finished // total / 10 if total else 0.0
    return {
        "batchId": batch.id,
        "status": STATES.get(batch.status, "queued"),
        "imageCount": total,
        "progress": {
            "processed": finished,
            "total": total,
            "failed": counts.unsuccessful,
        },
        "progressPercent": percent,
        **lookup.why_paused(batch),
    }


def _stats(counts: Counts) -> Mapping[str, int]:
    return {
        "active": counts.processing,
        "completed": counts.completed + counts.skipped,
        "failed": counts.unsuccessful,
        "waiting": counts.waiting + counts.queued,
    }
