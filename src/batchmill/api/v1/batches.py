"""Batches: submit, look, change, stop, go on, remove."""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated
from zlib import crc32

from fastapi import APIRouter, Query, Request, Response

from batchmill.api import serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http import openapi_bodies, rate_limits
from batchmill.api.http.idempotency import Keep, respond_once
from batchmill.api.http.problems import checked
from batchmill.api.submission import form_files, orders, submissions
from batchmill.errors.request import InvalidFieldError
from batchmill.model.batch import ENDED, Batch, BatchStatus
from batchmill.model.item import ItemId
from batchmill.service import batch_control
from batchmill.service.batch_control import RetryScope
from batchmill.service.queries import MOST, BatchFilter, ResultPage, stands
from batchmill.wire import requests, responses

router = APIRouter(prefix="/v1/batches", tags=["batches"])

Limit = Annotated[int, Query(ge=1, le=1_000, description="Most objects of a page")]
Cursor = Annotated[str | None, Query(max_length=8_000, description="`next_cursor` of a page")]
_GROUP = re.compile("[0-9a-f]{1,16}")
Text = Annotated[str | None, Query(max_length=200)]


@router.post(
    "", status_code=202, response_model=responses.Batch, openapi_extra=openapi_bodies.NEW_BATCH
)
async def create(request: Request, ctx: Ctx) -> Response:
    """Send files and a pipeline; the batch starts at once."""
    usage = await rate_limits.count_submission(request, ctx)
    async with form_files.landing(ctx) as folder:
        sent = await submissions.read(request, ctx, folder)
        response = await submissions.accept(request, ctx, sent)
    response.headers.update(usage)
    return response


@router.get("", response_model=responses.Page[responses.Batch])
async def list_batches(  # noqa: PLR0913 - each is a query parameter
    request: Request,
    ctx: Ctx,
    *,
    status: BatchStatus | None = None,
    tag: Text = None,
    created_after: datetime | None = None,
    active: bool = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List batches, newest first; `active` leaves out those that have ended.

    Callers who share an owner with strangers see none: each knows the addresses of its own.
    """
    if not ctx.caller.may_list:
        return serialize.conditional(request, serialize.page(ResultPage((), None), serialize.batch))
    if created_after is not None and created_after.tzinfo is None:
        raise InvalidFieldError("`created_after` needs a time zone, as in 2026-01-31T12:00:00Z.")
    among = tuple(sorted(set(BatchStatus) - ENDED)) if active else ()
    only = BatchFilter(status=status, tag=tag, created_after=created_after, among=among)
    found = await ctx.reading.batches(only, limit=limit, cursor=cursor)
    places = await ctx.reading.positions(found.data)

    def describe(batch: Batch) -> responses.Batch:
        return serialize.batch(batch, places.get(batch.id))

    return serialize.conditional(request, serialize.page(found, describe))


@router.get("/{batch_id}", response_model=responses.Batch)
async def get_batch(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Look at one batch; `Retry-After` says when it is worth looking again."""
    batch = await ctx.reading.batch(batch_id)
    position = await ctx.reading.position(batch)
    tag = f'W/"{batch.revision}-{position or 0}"'
    if batch.pause_reason is not None:  # what stands still changes no revision
        tag = f'W/"{batch.revision}-{crc32((batch.pause_reason or "").encode()):x}"'
    if serialize.has_current(request, tag):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    described = serialize.batch(batch, position)
    return serialize.answer(described, headers={"ETag": tag, **serialize.poll_advice(described)})


@router.patch("/{batch_id}", response_model=responses.Batch, openapi_extra=openapi_bodies.CHANGE)
async def change(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Change a batch's name, tag, metadata or concurrency; what is left out stays."""
    sent = await submissions.read_json(request, ctx)
    wanted: requests.BatchChange = checked(requests.BatchChange, sent.value, "The request")
    values = wanted.model_dump(exclude_unset=True)
    orders.check_metadata(values.get("metadata") or {})
    if "metadata" in values:
        values["metadata"] = values["metadata"] or {}
    batch = await ctx.reading.batch(batch_id)
    changed = await batch_control.describe(ctx.server, batch.id, owner_id=ctx.sees, **values)
    return serialize.answer(serialize.batch(stands(ctx.server, changed)))


@router.delete("/{batch_id}", status_code=204)
async def delete(batch_id: str, ctx: Ctx) -> Response:
    """Remove a batch with its files and results; a running one is cancelled with it.

    It is gone at once; its files and rows are removed behind.
    """
    batch = await ctx.reading.batch(batch_id)
    await batch_control.delete(ctx.server, batch.id, owner_id=ctx.sees)
    return Response(status_code=204)


@router.post(
    "/{batch_id}/items",
    status_code=202,
    response_model=responses.Added,
    openapi_extra=openapi_bodies.MORE_FILES,
)
async def add(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Add files to a batch that was sent with `keep_open`."""
    batch = await ctx.reading.batch(batch_id)
    async with form_files.landing(ctx) as folder:
        sent = await submissions.read_more(request, ctx, folder)
        return await submissions.append(request, ctx, batch.id, sent)


@router.post("/{batch_id}/close", response_model=responses.Batch)
async def close(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Take no more files: the batch ends once its items have."""
    return await _control(batch_id, request, ctx, batch_control.close)


@router.post("/{batch_id}/pause", response_model=responses.Batch)
async def pause(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Start no more items; running ones finish."""
    return await _control(batch_id, request, ctx, batch_control.pause)


@router.post("/{batch_id}/resume", response_model=responses.Batch)
async def resume(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Go on with a paused batch."""
    return await _control(batch_id, request, ctx, batch_control.resume)


@router.post("/{batch_id}/cancel", response_model=responses.Batch)
async def cancel(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """End a batch: waiting items are cancelled, running ones stopped, results kept."""
    return await _control(batch_id, request, ctx, batch_control.cancel)


@router.post(
    "/{batch_id}/retry", response_model=responses.Retried, openapi_extra=openapi_bodies.RETRY
)
async def retry(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Run failed items again, as a new run: all of them, one group of failures, or some by id."""
    batch = await ctx.reading.batch(batch_id)
    sent = await submissions.read_json(request, ctx)
    scope = _scope(checked(requests.Retry, sent.value, "The request"))

    async def make(_: Keep) -> Response:
        number = await batch_control.retry(ctx.server, batch.id, scope, owner_id=ctx.sees)
        after = await ctx.reading.batch(batch_id)
        return serialize.answer(responses.Retried(retried=number, batch=serialize.batch(after)))

    return await respond_once(request, ctx, sent.sha256, make)


async def _control(
    batch_id: str,
    request: Request,
    ctx: RequestContext,
    act: Callable[..., Awaitable[Batch]],
) -> Response:
    batch = await ctx.reading.batch(batch_id)
    sent = await submissions.read_json(request, ctx)
    if sent.value:
        raise InvalidFieldError("This request takes no fields.")

    async def make(_: Keep) -> Response:
        after = stands(ctx.server, await act(ctx.server, batch.id, owner_id=ctx.sees))
        return serialize.answer(serialize.batch(after))

    return await respond_once(request, ctx, sent.sha256, make)


def _scope(wanted: requests.Retry) -> RetryScope:
    given = {name for name in ("group", "ids") if getattr(wanted, name) is not None}
    needed = {wanted.scope} - {"failed"}
    if given != needed:
        raise InvalidFieldError(
            "`scope` is `failed` alone, `group` with the `group`'s id, or `ids` with `ids`."
        )
    if wanted.group is not None:
        return RetryScope(failure_no=group_number(wanted.group))
    return RetryScope(ids=tuple(map(ItemId, wanted.ids)) if wanted.ids is not None else None)


def group_number(group: str) -> int:
    """Read the id of a failure group.

    Raises:
        InvalidFieldError: it is none.
    """
    number = int(group, 16) if _GROUP.fullmatch(group) else MOST + 1
    if number > MOST:
        raise InvalidFieldError("`group` must be the id of a failure group.")
    return number
