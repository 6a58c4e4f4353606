"""Sends stored bytes: one range, ETag, a safe name, and nothing that a browser would run."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from batchmill.api.http.problems import problem
from batchmill.api.serialize import has_current
from batchmill.errors.request import RangeError
from batchmill.model.filenames import disposition
from batchmill.model.item import Output
from batchmill.storage.base import Storage

SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

ReadBytes = Callable[[int, int], AsyncIterator[bytes]]
"""Yields the bytes `start` (inclusive) to `stop` (exclusive)."""


@dataclass(frozen=True, slots=True)
class Download:
    """What is sent: `tag` is a strong ETag without quotes, `name` may hold anything."""

    name: str
    media_type: str
    bytes: int
    tag: str
    read: ReadBytes


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a file: `start` inclusive, `stop` exclusive."""

    start: int
    stop: int


def read_output(storage: Storage, made: Output) -> ReadBytes:
    """Return what reads a stored output."""

    def read(start: int, stop: int) -> AsyncIterator[bytes]:
        return storage.read(made.key, start=start, stop=stop)

    return read


async def send(request: Request, file: Download) -> Response:
    """Answer with a file, a range of it, 304 or 416.

    Several ranges at once are not served: such a request gets the whole file, as RFC 9110 allows.
    """
    tag = f'"{file.tag}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": disposition(file.name),
        "Content-Security-Policy": SANDBOX,
    }
    if has_current(request, tag):
        return Response(status_code=304, headers=headers)
    span = asked_span(request, tag, file.bytes)
    if span is None:
        refused = RangeError(f"The file has {file.bytes:,} bytes; the range lies behind its end.")
        return problem(refused, request.url.path, {"Content-Range": f"bytes */{file.bytes}"})
    headers["Content-Length"] = str(span.stop - span.start)
    partial = span != Span(0, file.bytes) or _asks_for_one(request, tag)
    if partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.bytes}"
    status = 206 if partial else 200
    if request.method == "HEAD" or span.start == span.stop:
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    pieces = file.read(span.start, span.stop)
    first = await anext(pieces)  # an error here still becomes a problem
    return StreamingResponse(joined(first, pieces), status, headers, file.media_type)


def asked_span(request: Request, tag: str, size: int) -> Span | None:
    """Return what the request asks for; None when that lies behind the end.

    A Range header is ignored when it is malformed, names several ranges, or If-Range names
    another version of the file.
    """
    whole = Span(0, size)
    if not _asks_for_one(request, tag):
        return whole
    match = _RANGE.fullmatch(_range(request))
    if match is None:
        return whole
    first, last = match.groups()
    if first:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    else:
        span = Span(max(0, size - int(last)), size)
    return span if span.start < span.stop else None


def _asks_for_one(request: Request, tag: str) -> bool:
    if request.method not in {"GET", "HEAD"}:
        return False
    match = _RANGE.fullmatch(_range(request))
    if match is None or not any(match.groups()):
        return False
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return False
    return request.headers.get("if-range", tag) == tag


def _range(request: Request) -> str:
    return request.headers.get("range", "").replace(" ", "")


async def joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a piece that was read already, and then the others."""
    yield first
    async for piece in rest:
        yield piece
