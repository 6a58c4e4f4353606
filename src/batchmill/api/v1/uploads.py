"""Uploads that survive a broken line: the tus protocol 1.0, https://tus.io/protocols/resumable-upload.

Offered: creation, creation-with-upload, termination, checksum, expiration. With a JSON body an
upload goes past the server, into the bucket. A finished upload is named in `inputs` of a batch,
which takes it.
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import format_datetime
from typing import Final, NoReturn

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from batchmill import logs
from batchmill.api import serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http import json_body, openapi_bodies
from batchmill.api.http.host_guard import with_headers
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.errors.outage import OutageError
from batchmill.errors.request import (
    MalformedRequestError,
    UploadVersionError,
    WrongMediaTypeError,
    WrongMethodError,
)
from batchmill.logs import Event
from batchmill.model.upload import Upload, UploadId
from batchmill.service.context import ServerContext
from batchmill.service.submission import uploads
from batchmill.storage import keys
from batchmill.storage.growing import ALGORITHMS, Checksum
from batchmill.wire import requests, responses

VERSION: Final = {"Tus-Resumable": "1.0.0"}
EXTENSIONS: Final = "creation,creation-with-upload,termination,checksum,expiration"
JSON: Final = "application/json"
MEDIA_TYPE: Final = "application/offset+octet-stream"
METADATA_CHARACTERS: Final = 4_000
NAMES: Final = ("relativePath", "filename", "name")
"""Where clients put a file's name, the most telling first."""
READABLE_HEADERS: Final = (
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    *("Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Expires"),
)


class TusRoute(APIRoute):
    """A route whose answers, errors too, name the version of the protocol."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await super().handle(scope, receive, with_headers(send, VERSION))


router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=TusRoute)


async def keep_tidy(server: ServerContext) -> None:
    """Remove what is left of uploads now and then; runs until cancelled."""
    await asyncio.to_thread(server.settings.uploads_folder.mkdir, parents=True, exist_ok=True)
    while True:
        try:
            await uploads.tidy(server)
        except (OutageError, OSError) as error:
            logs.warning(Event.SWEEP_INTERRUPTED, detail=str(error))
        await asyncio.sleep(server.settings.cleanup_interval_ms / 1000)


@router.options("", status_code=204)
async def offers(ctx: Ctx) -> Response:
    """Say which parts of tus are spoken here, and how large an upload may be."""
    offered = {
        "Tus-Version": VERSION["Tus-Resumable"],
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(max(ctx.limits.file_bytes, ctx.limits.zip_bytes)),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=offered)


@router.post(
    "",
    status_code=201,
    response_class=Response,
    openapi_extra=openapi_bodies.NEW_DIRECT_UPLOAD,
    responses={
        201: {"model": responses.DirectUpload, "description": "With JSON; else headers alone"}
    },
)
async def create(request: Request, ctx: Ctx) -> Response:
    """Begin an upload of `Upload-Length` bytes; or, with JSON, one that goes to the bucket."""
    if json_body.media_type(request) == JSON:
        return await _create_direct(request, ctx)
    _check_version(request)
    length, metadata = _number(request, "upload-length"), request.headers.get("upload-metadata", "")
    begun = await uploads.begin(
        ctx.server,
        ctx.caller,
        name=_name(metadata),
        length_bytes=length,
        metadata=metadata,
    )
    headers = {"Location": f"{router.prefix}/{begun.id}", "Upload-Expires": _expires(begun)}
    if json_body.media_type(request) == MEDIA_TYPE:
        headers |= await _append(request, ctx, begun, 0)
    return Response(status_code=201, headers=headers)


@router.head("/{upload_id}", response_class=Response)
async def get_upload(upload_id: UploadId, request: Request, ctx: Ctx) -> Response:
    """Say how many bytes have arrived."""
    _check_version(request, upload_id)
    upload, arrived = await uploads.get_upload(ctx.server, ctx.caller, upload_id)
    headers = {
        "Upload-Offset": str(arrived),
        "Upload-Length": str(upload.length_bytes),
        "Upload-Expires": _expires(upload),
        "Cache-Control": "no-store",
    }
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(headers=headers)


@router.patch("/{upload_id}", status_code=204, response_class=Response)
async def append(upload_id: UploadId, request: Request, ctx: Ctx) -> Response:
    """Send the bytes from `Upload-Offset` on; those that arrive are kept if the line breaks."""
    _check_version(request)
    if json_body.media_type(request) != MEDIA_TYPE:
        raise WrongMediaTypeError(f"Bytes of an upload must be sent as {MEDIA_TYPE}.")
    offset = _number(request, "upload-offset")
    upload, _ = await uploads.get_upload(ctx.server, ctx.caller, upload_id)
    return Response(status_code=204, headers=await _append(request, ctx, upload, offset))


@router.delete("/{upload_id}", status_code=204, response_class=Response)
async def remove(upload_id: UploadId, request: Request, ctx: Ctx) -> Response:
    """Remove an upload and what has arrived of it."""
    _check_version(request, upload_id)
    await uploads.remove(ctx.server, ctx.caller, upload_id)
    return Response(status_code=204)


@router.post("/{upload_id}", status_code=204, response_class=Response)
async def instead(upload_id: UploadId, request: Request, ctx: Ctx) -> Response:
    """Do what `X-HTTP-Method-Override` says, for clients that can only GET and POST."""
    method = request.headers.get("x-http-method-override", "").upper()
    if method not in _METHODS:
        raise WrongMethodError("`X-HTTP-Method-Override` must be PATCH, DELETE or HEAD here.")
    return await _METHODS[method](upload_id, request, ctx)


_METHODS: Final[
    Mapping[str, Callable[[UploadId, Request, RequestContext], Awaitable[Response]]]
] = {
    "HEAD": get_upload,
    "PATCH": append,
    "DELETE": remove,
}


async def _create_direct(request: Request, ctx: RequestContext) -> Response:
    parsed = await submissions.read_json(request, ctx)
    wanted: requests.NewDirectUpload = checked(
        requests.NewDirectUpload, parsed.value, "The request"
    )
    begun, address = await uploads.begin_direct(
        ctx.server, ctx.caller, name=wanted.name, length_bytes=wanted.bytes
    )
    upload = responses.DirectUpload(
        id=begun.id,
        url=address,
        method="PUT",
        headers={"Content-Length": str(begun.length_bytes)},
        expires_at=begun.expires_at,
    )
    headers = {"Location": f"{router.prefix}/{begun.id}", "Cache-Control": "no-store"}
    return serialize.answer(upload, 201, headers)


async def _append(
    request: Request, ctx: RequestContext, upload: Upload, offset_bytes: int
) -> dict[str, str]:
    """Write the body behind what has arrived; return the headers that say how far that is."""
    pieces = _Counted(json_body.stream(request, silence_s=ctx.server.settings.body_timeout_s))
    extended = await uploads.append(
        ctx.server,
        ctx.caller,
        upload,
        aiter(pieces),
        offset_bytes=offset_bytes,
        checksum=_checksum(request),
    )
    arrived = offset_bytes + pieces.total_bytes
    return {"Upload-Offset": str(arrived), "Upload-Expires": _expires(extended)}


class _Counted:
    """The pieces of a body, and how many bytes they had."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.total_bytes = 0
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            self.total_bytes += len(piece)
            yield piece


def _check_version(request: Request, upload_id: str = "") -> None:
    """Refuse other versions of tus; who puts a file into the bucket need not speak any."""
    if keys.is_direct_upload(upload_id):
        return
    if request.headers.get("tus-resumable") != VERSION["Tus-Resumable"]:
        raise UploadVersionError


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(2**63))):
        _refuse(f"`{name.title()}` must be a number of bytes.")
    return int(text)


def _checksum(request: Request) -> Checksum | None:
    text = request.headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, digest = text.partition(" ")
    if algorithm not in ALGORITHMS:
        _refuse(f"`Upload-Checksum` must be one of {', '.join(ALGORITHMS)}, then base 64.")
    return Checksum(algorithm, _decoded("Upload-Checksum", digest))


def _name(metadata: str) -> str:
    """Read the file's name from `Upload-Metadata`: keys with base 64 values, between commas."""
    if len(metadata) > METADATA_CHARACTERS:
        _refuse(f"`Upload-Metadata` may have {METADATA_CHARACTERS} characters.")
    pairs = (pair.strip().partition(" ") for pair in metadata.split(","))
    values = {key: value for key, _, value in pairs if key in NAMES}
    named = next((values[key] for key in NAMES if values.get(key)), "")
    return _decoded("Upload-Metadata", named).decode(errors="replace")


def _decoded(header: str, value: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequestError(f"`{header}` holds a value that is not base 64.") from error


def _expires(upload: Upload) -> str:
    return format_datetime(upload.expires_at, usegmt=True)


def _refuse(sentence: str) -> NoReturn:
    raise MalformedRequestError(sentence)
