"""The dialect of reference 001: PDF, Excel and CSV files, analysed several at once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from batchmill.api import auth
from batchmill.api.compat import allowances, lookup, receive, result_tokens
from batchmill.api.compat.receive import Expected
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http.idempotency import Keep, respond_once
from batchmill.api.submission import form_files
from batchmill.errors.request import ForbiddenError
from batchmill.model.batch import Batch, BatchStatus
from batchmill.model.families import DOCUMENTS
from batchmill.model.item import UNSUCCESSFUL, Item, ItemStatus
from batchmill.model.media import TEXT, Family, MediaType
from batchmill.model.pipeline import Pipeline
from batchmill.model.priority import priority_name
from batchmill.operations import presets
from batchmill.service import figures
from batchmill.service.queries import BatchFilter
from batchmill.service.submission.store_files import SentFile
from batchmill.service.submission.submit import Order
from batchmill.settings.compat import DocumentsSettings

router = APIRouter(prefix="/api/batch", tags=["reference: documents"])

LABEL_CHARACTERS: Final = 100
SIZE_SETTING: Final = "BATCHMILL_DOCUMENTS_FILE_BYTES"


class JobStatus(StrEnum):
    """The four statuses of the document, for batches and files."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


BATCHES: Final = {
    BatchStatus.PROCESSING: JobStatus.PROCESSING,
    BatchStatus.FINALIZING: JobStatus.PROCESSING,
    BatchStatus.CANCELLING: JobStatus.PROCESSING,
    BatchStatus.COMPLETED: JobStatus.COMPLETED,
    BatchStatus.COMPLETED_WITH_ERRORS: JobStatus.COMPLETED,
    BatchStatus.FAILED: JobStatus.FAILED,
    BatchStatus.CANCELLED: JobStatus.FAILED,
    BatchStatus.EXPIRED: JobStatus.FAILED,
}
"""Every other status is pending; `db/views.py` says the same in SQL."""
FILES: Final = {
    ItemStatus.PROCESSING: JobStatus.PROCESSING,
    ItemStatus.COMPLETED: JobStatus.COMPLETED,
    ItemStatus.SKIPPED: JobStatus.COMPLETED,
    ItemStatus.FAILED: JobStatus.FAILED,
    ItemStatus.QUARANTINED: JobStatus.FAILED,
    ItemStatus.CANCELLED: JobStatus.FAILED,
}


@router.post("/upload")
async def upload(request: Request, ctx: Ctx) -> Response:
    """Send documents, in the field `file`; each is analysed, three at once by default."""
    settings = ctx.server.settings.documents
    if not settings.enabled:
        raise ForbiddenError("Document batches are switched off on this server.")
    async with allowances.counted_upload(request, ctx) as usage, form_files.landing(ctx) as folder:
        expected = Expected(
            ("file", "files"), settings.files_per_batch, settings.file_bytes, SIZE_SETTING
        )
        sent = await receive.receive(request, ctx, folder, expected)
        await receive.require_types(sent.files, _is_table_or_pdf, wanted="PDF, Excel and CSV files")
        order = Order(
            pipeline=_pipeline(settings),
            priority=sent.fields.get("priority") or "normal",
            tag=sent.fields.get("user_id", "")[:LABEL_CHARACTERS] or None,
        )

        async def make(_: Keep) -> Response:
            batch = await receive.start(ctx, order, sent.files)
            return lookup.tell({"success": True, "data": await _accepted(ctx, batch)})

        response = await respond_once(request, ctx, sent.sha256, make)
    response.headers.update(usage)
    return response


@router.get("/jobs")
async def list_batches(
    ctx: Ctx,
    *,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    status: JobStatus | None = None,
    user_id: Annotated[str | None, Query(alias="userId", max_length=LABEL_CHARACTERS)] = None,
) -> Response:
    """List the caller's batches, newest first; `userId` is the label that they were sent with."""
    auth.refuse_lists(ctx.caller)
    only = BatchFilter(tag=user_id, family=DOCUMENTS, among=_among(status))
    found = await figures.latest_batches(
        ctx.server, ctx.caller.owner_id, limit=limit, skip=offset, only=only
    )
    return lookup.tell({"success": True, "data": [_batch(batch) for batch in found]})


@router.get("/jobs/{batch_id}")
async def get_batch(batch_id: str, ctx: Ctx) -> Response:
    """Look at one batch and every file of it."""
    batch = await lookup.batch_of(ctx, batch_id, DOCUMENTS)
    items = await lookup.items_of(ctx, batch)
    described = {**_batch(batch), "progressPercent": _percent(batch)}
    files = [_file(item, batch) for item in items]
    data = {"batch": described, "files": files, "summary": _summary(items)}
    return lookup.tell({"success": True, "data": data})


def _among(status: JobStatus | None) -> tuple[BatchStatus, ...]:
    if status is None:
        return ()
    return tuple(each for each in BatchStatus if BATCHES.get(each, JobStatus.PENDING) is status)


# ---------------------------------------------------------------- sending


def _is_table_or_pdf(file: SentFile, media: MediaType) -> bool:
    """Say whether it is a document; of plain text only what its name calls a table.

    A CSV file of one column has no separator: nothing in it differs from other text.
    """
    if media is TEXT:
        return file.name.lower().endswith((".csv", ".tsv"))
    return media.family is Family.DOCUMENT


def _pipeline(settings: DocumentsSettings) -> Pipeline:
    return replace(
        presets.get("analyze"),
        family=DOCUMENTS,
        timeout_s=settings.timeout_ms / 1000,
        retries=settings.retries,
    )


async def _accepted(ctx: RequestContext, batch: Batch) -> Mapping[str, Any]:
    files = [
        {
            "id": item.id,
            "filename": item.input.name,
            "fileSize": item.input.bytes,
            "status": JobStatus.PENDING,
        }
        for item in await lookup.items_of(ctx, batch)
    ]
    return {
        "batchId": batch.id,
        "totalFiles": len(files),
        "status": JobStatus.PENDING,
        "files": files,
    }


# ---------------------------------------------------------------- telling


def _batch(batch: Batch) -> Mapping[str, Any]:
    status = BATCHES.get(batch.status, JobStatus.PENDING)
    return {
        "id": batch.id,
        "status": status,
        "total_files": batch.counts.total,
        "processed_files": batch.counts.finished,
        "failed_files": batch.counts.unsuccessful + batch.counts.cancelled,
        "priority": priority_name(batch.priority),
        "created_at": lookup.instant(batch.created_at),
        "started_at": lookup.instant(batch.started_at),
        "completed_at": lookup.instant(batch.ended_at),
        "error": "No file could be processed." if status is JobStatus.FAILED else None,
    }


def _percent(batch: Batch) -> int:
    counts = batch.counts
    return 100 * counts.finished // counts.total if counts.total else 0


def _file(item: Item, batch: Batch) -> Mapping[str, Any]:
    return {
        "id": item.id,
        "filename": item.input.name,
        "file_size": item.input.bytes,
        "status": FILES.get(item.status, JobStatus.PENDING),
        "progress": round(100 * item.progress),
        "result": json.dumps(_result(item, batch)) if result_tokens.succeeded(item) else None,
        "error": item.error.message if item.error else None,
        "retry_count": retry_count(item),
        "created_at": lookup.instant(batch.created_at),
        "started_at": lookup.instant(item.started_at),
        "completed_at": lookup.instant(item.ended_at),
    }


def retry_count(item: Item) -> int:
    """Count the attempts after the first; the failure that was the last one led to none."""
    spent = item.spent.errors + item.spent.crashes + item.spent.timeouts
    return spent - 1 if spent and item.status in UNSUCCESSFUL else spent


def _result(item: Item, batch: Batch) -> Mapping[str, Any]:
    data = item.result.data if item.result else {}
    made = zip(result_tokens.made_of(item), result_tokens.urls(batch, item), strict=True)
    return {**data, "files": [{"name": each.name, "url": url} for each, url in made]}


def _summary(items: Sequence[Item]) -> Mapping[str, int]:
    statuses = [FILES.get(item.status, JobStatus.PENDING) for item in items]
    return {"total": len(items), **{str(each): statuses.count(each) for each in JobStatus}}
