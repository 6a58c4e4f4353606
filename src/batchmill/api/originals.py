"""Sends files as they were sent to us: whole objects from storage, or entries of their archives."""

from collections.abc import AsyncIterator

from fastapi import Request

from batchmill.api.context import RequestContext
from batchmill.api.http.range_download import Download, ReadBytes
from batchmill.api.serialize import has_current
from batchmill.api.submission import form_files
from batchmill.errors.request import NotFoundError
from batchmill.model.batch import Batch
from batchmill.model.item import Item
from batchmill.model.media import SNIFF_BYTES, sniff
from batchmill.service.execution.attempts import DEFAULT_TIMEOUT_S, stage_input
from batchmill.storage import disk

UNKNOWN_TYPE = "application/octet-stream"


async def input_file(request: Request, ctx: RequestContext, item: Item, batch: Batch) -> Download:
    """Describe an item's original for `download.send`. Its type is what we found it to be.

    Who has it already is told no type, for that would have to be unpacked.

    Raises:
        NotFoundError: the bytes are gone, or were never there.
    """
    source = item.input
    read = _read_entry if source.entry is not None else _read_object

    def pieces(start: int, stop: int) -> AsyncIterator[bytes]:
        return read(ctx, item, batch, range(start, stop))

    tag = source.sha256 or item.id
    media_type = source.media_type or UNKNOWN_TYPE
    if source.media_type is None and not has_current(request, f'"{tag}"'):
        media_type = await _sniffed(pieces, source.bytes)
    return Download(source.name, media_type, source.bytes, tag, pieces)


async def _sniffed(pieces: ReadBytes, size: int) -> str:
    """Name the type of a file of `size` bytes: entries of archives are not looked at on arrival."""
    head = b"".join([piece async for piece in pieces(0, min(size, SNIFF_BYTES))])
    found = sniff(head)
    return found.mime if found else UNKNOWN_TYPE


async def _read_object(
    ctx: RequestContext, item: Item, _: Batch, span: range
) -> AsyncIterator[bytes]:
    key = item.input.key
    if not key:  # it was named at submission and was not there
        raise NotFoundError("input of item", item.id)
    try:
        async for piece in ctx.server.storage.read(key, start=span.start, stop=span.stop):
            yield piece
    except NotFoundError as error:
        raise NotFoundError("input of item", item.id) from error  # keys are nobody's business


async def _read_entry(
    ctx: RequestContext, item: Item, batch: Batch, span: range
) -> AsyncIterator[bytes]:
    """Unpack the entry once into a folder that goes with the answer."""
    limits = ctx.server.settings.tier(batch.tier).attempt(wall_s=DEFAULT_TIMEOUT_S)
    async with form_files.landing(ctx) as folder:
        unpacked = folder / "input"
        await stage_input(ctx.server.storage, item.input, unpacked, limits=limits)
        file = await disk.in_thread(unpacked.open, "rb")
        with file:
            file.seek(span.start)
            for at in range(span.start, span.stop, disk.PIECE_BYTES):
                size = min(disk.PIECE_BYTES, span.stop - at)
                yield await disk.in_thread(file.read, size)
