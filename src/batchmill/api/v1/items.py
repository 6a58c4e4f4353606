"""Items: pages of a batch's files, one file, what was made of it, and why files failed."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from batchmill.api import serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http import range_download
from batchmill.api.http.range_download import Download, read_output
from batchmill.api.originals import input_file
from batchmill.api.v1.batches import Cursor, Limit, group_number
from batchmill.errors.request import InvalidFieldError, NotFoundError
from batchmill.model.item import Item, ItemStatus, Output
from batchmill.service.queries import MOST, Wanted
from batchmill.wire import responses

router = APIRouter(prefix="/v1", tags=["items"])

MOST_WITH_DATA = 100
"""Items of a page with their data: that of a document can be megabytes."""
THUMBNAIL_SIDE_PX = 512
"""A picture up to this size may stand for its item in a list."""


Fields = Annotated[
    str | None,
    Query(
        max_length=400,
        description="Fields to give of each item, commas between them; without it all but `data`",
    ),
]


@router.get("/batches/{batch_id}/items", response_model=responses.ItemPage)
async def list_items(  # noqa: PLR0913 - each is a query parameter
    batch_id: str,
    request: Request,
    ctx: Ctx,
    *,
    status: ItemStatus | None = None,
    error: Annotated[str | None, Query(max_length=64, description="An error's code")] = None,
    group: Annotated[str | None, Query(max_length=16, description="A failure group's id")] = None,
    q: Annotated[str | None, Query(max_length=200, description="Start of the name")] = None,
    start: Annotated[int | None, Query(ge=0, le=MOST, description="Position to begin at")] = None,
    fields: Fields = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List a batch's items in the order sent, or by name under a prefix `q`.

    Without `fields` each has all but its `data`, which can be large; with `data` a page has 100
    items at most.
    """
    left_out = _left_out(fields, limit)
    batch = await ctx.reading.batch(batch_id)
    wanted = Wanted(
        status=status,
        error_code=error,
        failure_no=None if group is None else group_number(group),
        name_prefix=q or None,
    )
    found = await ctx.reading.items(batch, wanted, limit=limit, cursor=cursor, start=start)

    def describe(item: Item) -> responses.Item:
        return serialize.item(item, batch, ctx.base_url, with_data="data" not in left_out)

    def answer() -> Response:
        page = serialize.page(found, describe)
        named = responses.ItemPage(**dict(page), left_out=left_out)
        without = {"data": {"__all__": set(left_out)}} if fields is not None else None
        return serialize.conditional(request, named, without=without)

    # In a thread: a thousand items take the event loop's time from everybody else.
    return await asyncio.to_thread(answer)


def _left_out(fields: str | None, limit: int) -> list[str]:
    """Return which fields of items an answer has not.

    Raises:
        InvalidFieldError: one that is wanted does not exist, or too many items with their data.
    """
    if fields is None:
        return ["data"]
    known, wanted = list(responses.Item.model_fields), set(fields.split(","))
    for name in sorted(wanted.difference(known)):
        raise InvalidFieldError(f"`fields` has no field {name!r}. Known: {', '.join(known)}.")
    if "data" in wanted and limit > MOST_WITH_DATA:
        raise InvalidFieldError(f"With `data`, `limit` is at most {MOST_WITH_DATA}.")
    return [name for name in known if name not in wanted]


@router.get("/batches/{batch_id}/errors", response_model=responses.FailureGroups)
async def errors(batch_id: str, request: Request, ctx: Ctx) -> Response:
    """Group a batch's failures by cause, the most frequent first."""
    batch = await ctx.reading.batch(batch_id)
    found = await ctx.reading.failures(batch)
    groups = responses.FailureGroups(data=[serialize.failure_group(each) for each in found])
    return serialize.conditional(request, groups)


@router.get("/items/{item_id}", response_model=responses.Item)
async def get_item(item_id: str, request: Request, ctx: Ctx) -> Response:
    """Look at one item, its outputs and data."""
    item, batch = await ctx.reading.item(item_id)
    return serialize.conditional(request, serialize.item(item, batch, ctx.base_url))


@router.head("/items/{item_id}/input", include_in_schema=False)
@router.get("/items/{item_id}/input", response_class=Response)
async def original(item_id: str, request: Request, ctx: Ctx) -> Response:
    """Download the file as it was sent; takes Range, If-Range and If-None-Match."""
    item, batch = await ctx.reading.item(item_id)
    return await range_download.send(request, await input_file(request, ctx, item, batch))


@router.head("/items/{item_id}/outputs/{name:path}", include_in_schema=False)
@router.get("/items/{item_id}/outputs/{name:path}", response_class=Response)
async def output(item_id: str, name: str, request: Request, ctx: Ctx) -> Response:
    """Download a file that was made; takes Range, If-Range and If-None-Match.

    Where the server is set so, it answers 307 with an address of the bucket, valid for a while; but
    not to a picture's place on a page (`Accept: image/…`), which may show none of another host.
    """
    item, _ = await ctx.reading.item(item_id)
    for made in _outputs(item):
        if made.name == name:
            moved = await _at_the_bucket(request, ctx, made)
            return moved or await range_download.send(request, output_file(ctx, made))
    raise NotFoundError("output", name)


@router.head("/items/{item_id}/thumbnail", include_in_schema=False)
@router.get("/items/{item_id}/thumbnail", response_class=Response)
async def thumbnail(item_id: str, request: Request, ctx: Ctx) -> Response:
    """Download the smallest picture among the item's outputs; 404 when none is small."""
    item, _ = await ctx.reading.item(item_id)
    small = [made for made in _outputs(item) if _is_small_picture(made)]
    if not small:
        raise NotFoundError("thumbnail of item", item_id)
    return await range_download.send(
        request, output_file(ctx, min(small, key=lambda made: made.bytes))
    )


def output_file(ctx: RequestContext, made: Output) -> Download:
    """Describe a stored output for `download.send`."""
    read = read_output(ctx.server.storage, made)
    return Download(made.name, made.media_type, made.bytes, made.sha256, read)


async def _at_the_bucket(request: Request, ctx: RequestContext, made: Output) -> Response | None:
    """Send a download on to a signed address; None: the server has to answer it itself."""
    settings = ctx.server.settings
    known = serialize.has_current(request, f'"{made.sha256}"')
    if not settings.download_redirect or request.method != "GET" or known or _is_shown(request):
        return None
    address = await ctx.server.storage.address(made.key, expires_s=settings.signed_url_s)
    if address is None:
        return None
    return RedirectResponse(address, 307, {"Cache-Control": "private, no-store"})


def _is_shown(request: Request) -> bool:
    """Whether a page asks for a picture to show: `web.page.CSP` lets ours take none from elsewhere.

    Every browser says so in Accept; Sec-Fetch-Dest is missing where the page came without TLS.
    """
    return request.headers.get("accept", "").startswith("image/")


def _outputs(item: Item) -> tuple[Output, ...]:
    return item.result.outputs if item.result else ()


def _is_small_picture(made: Output) -> bool:
    sides = (made.width, made.height)
    return made.media_type.startswith("image/") and all(
        side is not None and side <= THUMBNAIL_SIDE_PX for side in sides
    )
