"""Addresses that are signed for one object and a short time: whoever has one may read it."""

import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from batchmill.api.http.range_download import SANDBOX, joined
from batchmill.model.media import JPEG
from batchmill.service.context import ServerContext
from batchmill.service.execution.budget import SIGNED

router = APIRouter(tags=["signed"])


@router.get(SIGNED + "/{token}/{key:path}", response_class=Response, include_in_schema=False)
async def signed(token: str, key: str, request: Request) -> Response:
    """Send a picture to the model that is to describe it.

    Raises:
        ForbiddenError: the address is not signed for this object, or not any more.
        NotFoundError: the object is gone.
    """
    server: ServerContext = request.app.state.server
    server.signer.check(token, "GET", key, now_s=time.time())
    pieces = server.storage.read(key)
    first = await anext(pieces)  # an error here still becomes a problem

    headers = {"Cache-Control": "no-store", "Content-Security-Policy": SANDBOX}
    return StreamingResponse(joined(first, pieces), headers=headers, media_type=JPEG.mime)
