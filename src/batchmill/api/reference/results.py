"""Addresses of results in the reference dialects: whoever knows one may read it, until it is gone.

Such an address holds 128 random bits that were made for the batch; ids alone open nothing.
"""

from hmac import compare_digest
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from batchmill.api import download
from batchmill.api.download import Download, read_output
from batchmill.errors.request import NotFoundError
from batchmill.model.batch import Batch
from batchmill.model.item import Item, ItemStatus, Output
from batchmill.service.mill import Mill
from batchmill.service.query import Reading

router = APIRouter(prefix="/api", tags=["reference: results"])

CACHING: Final = {
    "Cache-Control": "public, max-age=3600",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""A result never changes, and pages elsewhere may show it: its address is its key."""


@router.api_route("/results/{token}/{item_id}/{name:path}", methods=["GET", "HEAD"])
async def output(token: str, item_id: str, name: str, request: Request) -> Response:
    """Download a result by the address that a status answer gave."""
    for made in await outputs(request, token, item_id):
        if made.name == name:
            return await send(request, made)
    raise NotFoundError("result", name)


async def outputs(request: Request, token: str, item_id: str) -> tuple[Output, ...]:
    """Return what was made of an item, for whoever knows its batch's token.

    Raises:
        NotFoundError: there is no such item, or the token is not its own.
    """
    item, batch = await Reading(request.app.state.mill, None).item(item_id)
    if batch.result_token is None or not compare_digest(
        batch.result_token.encode(), token.encode()
    ):
        raise NotFoundError("item", item_id)
    return made_of(item)


async def send(request: Request, made: Output) -> Response:
    """Answer with a result; browsers and caches may keep it."""
    mill: Mill = request.app.state.mill
    file = Download(
        made.name, made.media_type, made.bytes, made.sha256, read_output(mill.storage, made)
    )
    response = await download.send(request, file)
    if response.status_code < 400:  # noqa: PLR2004 - what is wrong is not kept
        response.headers.update(CACHING)
    return response


def made_of(item: Item) -> tuple[Output, ...]:
    """Return an item's outputs; none unless it succeeded."""
    return item.result.outputs if item.result else ()


def succeeded(item: Item) -> bool:
    """Say whether there is a result; a file that could not be made smaller comes as it was."""
    delivered = item.status is ItemStatus.SKIPPED and bool(made_of(item))
    return delivered or item.status is ItemStatus.COMPLETED


def url(batch: Batch, item: Item, made: Output) -> str:
    """Return the address of a result, without the server's name."""
    return f"/api/results/{batch.result_token}/{item.id}/{quote(made.name)}"
