"""The files of a JSON request: in base 64 inside it, or taken from where it says that they are.

Everything is on our disk, measured and within the limits, before the batch is accepted. What
can't be had from its address or from the storage becomes an item that fails and says why; the
other files go on. A new place is a function in `ELSEWHERE`.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx

from batchmill import logs
from batchmill.api.context import RequestContext
from batchmill.errors.outage import CallFailedError
from batchmill.errors.request import (
    AddressRefusedError,
    ForbiddenError,
    InvalidFieldError,
    NotFoundError,
    TooManyFilesError,
    over_size,
)
from batchmill.logs import Event
from batchmill.model.filenames import label
from batchmill.model.media import SNIFF_BYTES, ZIP, sniff
from batchmill.model.upload import UploadId
from batchmill.service.submission.store_files import AbsentFile, AnySent, SentFile
from batchmill.service.submission.submit import too_much
from batchmill.service.submission.uploads import AnyFile, UploadedFile
from batchmill.settings.fields import TierLimits, tier_variable
from batchmill.storage import keys
from batchmill.storage.sink import Sink, Written
from batchmill.wire.requests import NewInput

PLACES: Final = ("data", "upload_id", "url", "object", "bytes")
TAKEN_AT_ONCE: Final = 8
"""Inputs of one request that are fetched side by side."""


@dataclass(slots=True)
class Taking:
    """One request's inputs on their way to the disk."""

    ctx: RequestContext
    folder: Path
    bytes_left: int

    def count(self, number_bytes: int) -> None:
        """Count bytes that arrived for any of the inputs.

        Raises:
            TooLargeError: together they are over the limit of a batch.
        """
        self.bytes_left -= number_bytes
        if self.bytes_left < 0:
            raise too_much(self.ctx.limits.batch_bytes, self.ctx.caller.tier)

    def new_sink(self) -> Sink:
        """Return a sink with a folder of its own, so that several may write at once."""
        folder = self.folder / uuid4().hex
        folder.mkdir()
        return Sink(folder, reserve_bytes=self.ctx.server.settings.disk_reserve_bytes)


async def take(inputs: Sequence[NewInput], ctx: RequestContext, folder: Path) -> list[AnyFile]:
    """Bring the inputs of a JSON request into `folder`, in their order.

    Raises:
        InvalidFieldError, AddressRefusedError, ForbiddenError: an input is wrong or not allowed.
        TooLargeError, TooManyFilesError, StorageFullError: a limit was passed.
    """
    if len(inputs) > ctx.limits.files_per_request:
        raise TooManyFilesError(ctx.limits.files_per_request)
    for number, each in enumerate(inputs):
        _check(each, f"inputs.{number}", ctx)
    taking = Taking(ctx, folder, ctx.limits.batch_bytes)
    sent = iter(await _decode(inputs, taking))
    distant = [each for each in inputs if each.data is None]
    fetched = iter(await _fetch_all(distant, taking))
    return [next(fetched if each.data is None else sent) for each in inputs]


def _check(each: NewInput, where: str, ctx: RequestContext) -> None:
    """Refuse what is wrong with an input before any is taken."""
    if sum(getattr(each, place) is not None for place in PLACES) != 1:
        raise InvalidFieldError(f"`{where}` needs one of `data`, `url`, `object` and `upload_id`.")
    if each.url is not None:
        try:
            ctx.server.outgoing.check(each.url)
        except AddressRefusedError as error:
            raise AddressRefusedError(error.reason, f"`{where}.url`") from error
    elif each.object is not None:
        _check_object(each.object, f"`{where}.object`", ctx.server.settings.input_prefixes)
    elif each.bytes is not None and each.bytes <= _kept_limit_bytes(each, ctx.limits):
        raise InvalidFieldError(
            f"`{where}` has `bytes` alone, which is for files over the limit; send the file."
        )


def _check_object(key: str, where: str, prefixes: Sequence[str]) -> None:
    try:
        keys.check_key(key)
    except ValueError as error:
        raise InvalidFieldError(
            f"{where} must be words of letters, digits, `.`, `_` and `-` between slashes."
        ) from error
    inside = any(key.startswith(f"{prefix.rstrip('/')}/") for prefix in prefixes)
    if not inside or key.startswith((keys.BATCHES, keys.DIRECT_UPLOADS, keys.RESULTS)):
        raise ForbiddenError(
            f"{where} is not in a folder whose objects may be named;"
            " the setting BATCHMILL_INPUT_PREFIXES lists them."
        )


async def _decode(inputs: Sequence[NewInput], taking: Taking) -> list[AnySent]:
    """Write the base 64 inputs; one over the limit of a file becomes an absent one."""
    limit = taking.ctx.limits.file_bytes
    sink = taking.new_sink()
    found: list[tuple[NewInput, bytes | None]] = []
    for number, each in enumerate(inputs):
        if each.data is None:
            continue
        body = _decoded(each.data, number)
        if len(body) > limit:
            found.append((each, None))
            continue
        taking.count(len(body))
        sink.begin()
        sink.append(body)
        sink.end()
        found.append((each, body[:SNIFF_BYTES]))
    if found and len(found) == len(inputs) and all(head is None for _, head in found):
        setting = tier_variable(taking.ctx.caller.tier, "file_bytes")
        raise over_size("A file", limit, setting)
    written = iter(await sink.finish())
    return [_written(each, head, written, limit) for each, head in found]


def _written(each: NewInput, head: bytes | None, written: Iterator[Written], limit: int) -> AnySent:
    name = label(each.name or "")
    if head is None:
        return AbsentFile.too_large(name, limit, each.custom_id)
    file = next(written)
    return SentFile(file.path, name, head, file.bytes, file.sha256, each.custom_id)


def _decoded(text: str, number: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidFieldError(f"`inputs.{number}.data` must be base 64.") from error


async def _fetch_all(inputs: Sequence[NewInput], taking: Taking) -> list[AnyFile]:
    """Fetch inputs from elsewhere, some at once; the first that must not go on ends all."""
    free_slots = asyncio.Semaphore(TAKEN_AT_ONCE)

    async def fetch(each: NewInput) -> AnyFile:
        place = next(place for place in ELSEWHERE if getattr(each, place) is not None)
        async with free_slots:
            return await ELSEWHERE[place](each, taking)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(each)) for each in inputs]
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]


async def _from_url(each: NewInput, taking: Taking) -> SentFile | AbsentFile:
    url = each.url or ""
    name = label(each.name or httpx.URL(url).path.rpartition("/")[2] or httpx.URL(url).host)
    server = taking.ctx.server
    try:
        async with server.outgoing.call(
            "GET", url, timeout_s=server.settings.url_timeout_s
        ) as answer:
            return await _land(answer.pieces, each, name, taking)
    except (AddressRefusedError, CallFailedError) as error:
        logs.warning(Event.INPUT_UNFETCHED, url=url, reason=error.reason, detail=error.detail)
        return AbsentFile(name, each.custom_id, error.reason)


async def _from_storage(each: NewInput, taking: Taking) -> SentFile | AbsentFile:
    key = each.object or ""
    name = label(each.name or key.rpartition("/")[2])
    try:
        return await _land(taking.ctx.server.storage.read(key), each, name, taking)
    except (NotFoundError, OSError):  # a folder or a link, where the storage is a folder
        return AbsentFile(name, each.custom_id)


async def _from_uploads(each: NewInput, _taking: Taking) -> UploadedFile:
    """Name a finished upload; it is taken in the transaction that starts the batch."""
    return UploadedFile(UploadId(each.upload_id or ""), each.name, each.custom_id)


async def _kept(each: NewInput, taking: Taking) -> AbsentFile:
    """Note a file that its owner did not send, because it is over the limit."""
    limit_bytes = _kept_limit_bytes(each, taking.ctx.limits)
    return AbsentFile.too_large(label(each.name or ""), limit_bytes, each.custom_id)


def _kept_limit_bytes(each: NewInput, limits: TierLimits) -> int:
    is_zip = (each.name or "").lower().endswith(".zip")
    return min(limits.zip_bytes if is_zip else limits.file_bytes, limits.whole_batch_bytes)


async def _land(
    pieces: AsyncIterator[bytes], each: NewInput, name: str, taking: Taking
) -> SentFile | AbsentFile:
    """Write one input as its bytes arrive; one over the limit of a file becomes an absent one.

    Raises:
        TooLargeError: all inputs together are over the limit of a batch.
        StorageFullError: no space is left.
    """
    sink = taking.new_sink()
    sink.begin()
    head, total_bytes = b"", 0
    try:
        async for piece in pieces:
            head += piece[: SNIFF_BYTES - len(head)]
            total_bytes += len(piece)
            taking.count(len(piece))
            limit = _limit_bytes(head, taking.ctx.limits)
            if total_bytes > limit:
                await sink.discard()
                return AbsentFile.too_large(name, limit, each.custom_id)
            sink.append(piece)
            await sink.turn()
        sink.end()
        (file,) = await sink.finish()
    except BaseException:
        await sink.discard()
        raise
    return SentFile(file.path, name, head, file.bytes, file.sha256, each.custom_id)


def _limit_bytes(head: bytes, limits: TierLimits) -> int:
    return limits.zip_bytes if sniff(head) is ZIP else limits.file_bytes


ELSEWHERE: Final[Mapping[str, Callable[[NewInput, Taking], Awaitable[AnyFile]]]] = {
    "upload_id": _from_uploads,
    "url": _from_url,
    "object": _from_storage,
    "bytes": _kept,
}
"""What brings an input from each place outside of the request."""
