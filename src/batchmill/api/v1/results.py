"""Results of a whole batch: a report, one archive of all files; and one file processed at once."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from batchmill.api import report, serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http import openapi_bodies, range_download, rate_limits
from batchmill.api.http.idempotency import Keep, respond_once
from batchmill.api.http.range_download import Download
from batchmill.api.submission import form_files, plans, submissions
from batchmill.api.submission.submissions import Submission
from batchmill.api.v1.items import output_file
from batchmill.archives.layout import ArchiveRow
from batchmill.archives.stream import read_archive
from batchmill.errors.request import ConflictError, InvalidFieldError
from batchmill.model.filenames import disposition
from batchmill.model.item import ItemStatus
from batchmill.service.queries import ItemFilter
from batchmill.wire import responses

router = APIRouter(prefix="/v1", tags=["results"])

DEFAULT_WAIT_S, LONGEST_WAIT_S = 10, 60
Sample = Annotated[int, Query(ge=0, le=100, description="How many of the files to name")]
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})\b")
_JSON: Final = re.compile(r"\*/\*|application/(\*|json)")


@router.get("/batches/{batch_id}/report", response_class=StreamingResponse)
async def get_report(
    batch_id: str,
    ctx: Ctx,
    *,
    kind: Annotated[report.Format, Query(alias="format")] = "jsonl",
    status: ItemStatus | None = None,
) -> Response:
    """Write one line for each file: what was sent, what was made, or why it failed."""
    batch = await ctx.reading.batch(batch_id)
    ctx.reading.begin_list()

    async def pages() -> AsyncIterator[bytes]:
        yield report.head(kind)
        async for items in ctx.reading.every_item(batch, ItemFilter(status=status)):
            yield await asyncio.to_thread(report.lines, kind, items, batch, ctx.base_url)

    name = disposition(f"{batch.name or batch.id}.{report.EXTENSIONS[kind]}")
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    return StreamingResponse(pages(), headers=headers, media_type=report.MEDIA_TYPES[kind])


@router.head("/batches/{batch_id}/results.zip", include_in_schema=False)
@router.get(
    "/batches/{batch_id}/results.zip",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "The archive"}},
)
async def get_archive(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Download every result in one archive; a broken download goes on with Range."""
    batch = await ctx.reading.batch(batch_id)
    if not batch.status.ended or batch.ended_at is None:
        raise ConflictError(f"The batch is {batch.status}; its archive is there once it has ended.")
    ctx.reading.begin_list()

    async def rows(after: int) -> Sequence[ArchiveRow]:
        return await ctx.reading.archive_rows(batch, after)

    key = f"{batch.id}.{batch.revision}"
    layout = await ctx.archives.get(key, rows, modified_at=batch.ended_at)

    def read(start: int, stop: int) -> AsyncIterator[bytes]:
        return read_archive(layout, rows, ctx.server.storage, start=start, stop=stop)

    name = f"{batch.name or batch.id}.zip"
    file = Download(name, "application/zip", layout.bytes, layout.etag, read)
    return await range_download.send(request, file)


@router.post(
    "/process",
    response_model=responses.Item,
    openapi_extra=openapi_bodies.NEW_BATCH,
    responses={202: {"model": responses.Batch, "description": "It takes longer than the wait"}},
)
async def process(request: Request, ctx: Ctx, prefer: Annotated[str, Header()] = "") -> Response:
    """Process one file and answer with the result, or with 202 when `Prefer: wait=…` ends first.

    With an `Accept` that excludes JSON, such as `image/*`, the made file itself is the answer;
    422 with the item says that there is none, and why.
    """
    usage = await rate_limits.count_submission(request, ctx)
    async with form_files.landing(ctx) as folder:
        sent = await submissions.read(request, ctx, folder)
        if len(sent.files) != 1 or sent.order.keep_open:
            raise InvalidFieldError(
                "`files` must be exactly one file, and the batch not kept open."
            )
        wait_s = _wait_s(prefer)

        async def make(keep: Keep) -> Response:
            return await _processed(ctx, sent, keep, wait_s)

        response = await respond_once(request, ctx, sent.sha256, make)
    response.headers.update(usage)
    wants_json = _JSON.search(request.headers.get("accept", "*/*"))
    if wants_json or response.status_code != 200:  # noqa: PLR2004 - OK
        return response
    return await _made_file(request, ctx, bytes(response.body))


@router.post("/plans", response_model=responses.Plan, openapi_extra=openapi_bodies.NEW_PLAN)
async def plan(request: Request, ctx: Ctx, sample: Sample = 5) -> Response:
    """Check a batch without running it: its files, what will not work, and how long it will take.

    An estimate is there once files of yours went through the same steps.
    """
    async with form_files.landing(ctx) as folder:
        return serialize.answer(await plans.read(request, ctx, folder, sample=sample))


@router.get("/batches/{batch_id}/plan", response_model=responses.Plan)
async def plan_of(batch_id: str, ctx: Ctx, sample: Sample = 5) -> Response:
    """Look at a batch as a plan, for instance while it is still open or paused."""
    batch = await ctx.reading.batch(batch_id)
    return serialize.answer(await plans.of_batch(batch, ctx, sample=sample))


async def _processed(ctx: RequestContext, sent: Submission, keep: Keep, wait_s: float) -> Response:
    batch_id = await submissions.start(ctx, sent, keep)
    batch = await ctx.reading.batch(batch_id)
    if not await ctx.event_hub.wait_ended(batch, timeout_s=wait_s):
        return submissions.accepted(await ctx.reading.batch(batch_id))
    found = await ctx.reading.first_items(batch, limit=2)
    if len(found) != 1:  # an archive of several files
        return submissions.accepted(await ctx.reading.batch(batch_id))
    item = serialize.item(found[0], await ctx.reading.batch(batch_id), ctx.base_url)
    headers = {"Location": f"/v1/items/{item.id}", "Preference-Applied": f"wait={wait_s}"}
    return serialize.answer(item, headers=headers)


async def _made_file(request: Request, ctx: RequestContext, body: bytes) -> Response:
    described = responses.Item.model_validate_json(body)
    item, _ = await ctx.reading.item(described.id)
    if item.result is None or not item.result.outputs:
        return serialize.answer(described, 422)
    return await range_download.send(request, output_file(ctx, item.result.outputs[0]))


def _wait_s(prefer: str) -> int:
    wanted = _WAIT.search(prefer)
    return min(LONGEST_WAIT_S, int(wanted[1])) if wanted else DEFAULT_WAIT_S
