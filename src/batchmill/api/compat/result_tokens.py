"""Addresses of results in the reference dialects: whoever knows one may read it, until it is gone.

Such an address holds 128 random bits that were made for the batch; ids alone open nothing.
"""

import re
from hmac import compare_digest
from pathlib import PurePosixPath
from typing import Final

from fastapi import APIRouter, Request, Response

from batchmill.api.http import range_download
from batchmill.api.http.range_download import Download, read_output
from batchmill.errors.request import NotFoundError
from batchmill.model.batch import Batch
from batchmill.model.item import Item, ItemStatus, Output
from batchmill.service.context import ServerContext
from batchmill.service.queries import Reading
from batchmill.settings.fields import Settings
from batchmill.storage.keys import RESULTS

router = APIRouter(prefix="/api", tags=["reference: results"])

CACHING: Final = {
    "Cache-Control": "public, max-age=3600",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""A result never changes, and pages elsewhere may show it: its address is its key."""
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}")


@router.head("/results/{token}/{item_id}/{name}", include_in_schema=False)
@router.get("/results/{token}/{item_id}/{name}", response_class=Response)
async def output(token: str, item_id: str, name: str, request: Request) -> Response:
    """Download a result by the address that a status answer gave; takes Range, If-None-Match."""
    found = await outputs(request, token, item_id)
    number = name.partition(".")[0]
    if not _NUMBER.fullmatch(number) or int(number) > len(found):
        raise NotFoundError("result", name)
    return await send(request, found[int(number) - 1])


async def outputs(request: Request, token: str, item_id: str) -> tuple[Output, ...]:
    """Return what was made of an item, for whoever knows its batch's token.

    Raises:
        NotFoundError: there is no such item, or the token is not its own.
    """
    item, batch = await Reading(request.app.state.server, None).item(item_id)
    if batch.result_token is None or not compare_digest(
        batch.result_token.encode(), token.encode()
    ):
        raise NotFoundError("item", item_id)
    return made_of(item)


async def send(request: Request, made: Output) -> Response:
    """Answer with a result; browsers and caches may keep it."""
    server: ServerContext = request.app.state.server
    file = Download(
        made.name, made.media_type, made.bytes, made.sha256, read_output(server.storage, made)
    )
    response = await range_download.send(request, file)
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


def is_in_bucket(settings: Settings, made: Output) -> bool:
    """Say whether a result lies in a bucket and not on the server."""
    main = settings.storage_url or ""
    return made.key.startswith(RESULTS) or ("://" in main and not main.startswith("file://"))


def cdn_url(settings: Settings, made: Output) -> str | None:
    """Return where a CDN serves a result; None: nowhere, as one that the bucket did not take."""
    apart = settings.results_url is None or made.key.startswith(RESULTS)
    if settings.cdn_url is None or not apart:
        return None
    return f"{settings.cdn_url.rstrip('/')}/{made.key.removeprefix(RESULTS)}"


def urls(batch: Batch, item: Item) -> list[str]:
    """Return the addresses of an item's results, without the server's name.

    Files are numbered from 1 there: the views of `db/views.py` write the same addresses.
    """
    folder = f"/api/results/{batch.result_token}/{item.id}"
    return [
        f"{folder}/{number}{PurePosixPath(made.name).suffix}"
        for number, made in enumerate(made_of(item), start=1)
    ]
