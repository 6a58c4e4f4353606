"""Streams results as one ZIP archive, any range of it, reading each file only when it is sent.

    plan: every row once ──► length, ETag, a checkpoint a page ──► read: from a checkpoint on

So a download that goes on at entry 900,000 reads one page of rows before its first byte.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from batchmill.archives.layout import FIRST, ArchiveRow, Checkpoint, Layout, Planner
from batchmill.errors.item import InputLostError
from batchmill.storage.base import Storage

Rows = Callable[[int], Awaitable[Sequence[ArchiveRow]]]
"""Returns the rows behind a position, a page in order of position; no rows: that was the end.

A page holds all files of each of its items; about a thousand rows are a good size.
"""

_TOGETHER = 16
_SMALL_BYTES = 2**18
"""Files up to this size are read `_TOGETHER` at once, so that a bucket's delay is paid once."""


async def plan_archive(rows: Rows, *, modified_at: datetime) -> Layout:
    """Read all rows once and return the plan of their archive.

    The same rows and time give the same bytes and ETag, on every server and every day.
    """
    planner, after = Planner(), FIRST
    while page := await rows(after):
        await asyncio.to_thread(planner.add, after, page)
        after = page[-1].position
    return await asyncio.to_thread(planner.layout, modified_at)


async def read_archive(
    layout: Layout, rows: Rows, storage: Storage, *, start: int = 0, stop: int | None = None
) -> AsyncIterator[bytes]:
    """Yield the bytes `start` (inclusive) to `stop` (exclusive; None: the end) of an archive.

    Raises:
        InputLostError, NotFoundError: a file is not as its row says; the download must break off,
            for its length was promised.
    """
    stop = layout.bytes if stop is None else min(stop, layout.bytes)
    directory_at = layout.body_bytes
    end_at = directory_at + layout.directory_bytes
    if start < min(stop, directory_at):
        async for piece in _entries(layout, rows, storage, range(start, min(stop, directory_at))):
            yield piece
    if max(start, directory_at) < min(stop, end_at):
        first, last = max(start, directory_at) - directory_at, min(stop, end_at) - directory_at
        async for piece in _records(layout, rows, range(first, last)):
            yield piece
    if max(start, end_at) < stop:
        yield layout.end()[max(0, start - end_at) : stop - end_at]


class ArchivePlans:
    """Remembers the plans that were used last, and makes one at a time."""

    def __init__(self, *, most: int = 8) -> None:
        self._most = most
        self._plans: dict[str, Layout] = {}
        self._planning = asyncio.Lock()

    async def get(self, key: str, rows: Rows, *, modified_at: datetime) -> Layout:
        """Return the plan of `key`, which must change whenever the rows do."""
        async with self._planning:
            plan = self._plans.pop(key, None) or await plan_archive(rows, modified_at=modified_at)
            self._plans[key] = plan
            if len(self._plans) > self._most:
                self._plans.pop(next(iter(self._plans)))
            return plan


@dataclass(frozen=True, slots=True)
class _Part:
    """What is wanted of one entry: bytes of its header, then `start` to `stop` of its file."""

    header: bytes
    row: ArchiveRow
    start: int
    stop: int


async def _entries(
    layout: Layout, rows: Rows, storage: Storage, wanted: range
) -> AsyncIterator[bytes]:
    place = layout.at_offset(wanted.start)
    while place.offset < wanted.stop:
        page = await _page(rows, place)
        parts, place = await asyncio.to_thread(_parts, layout, page, place, wanted)
        async for piece in _sent(parts, storage):
            if piece:
                yield piece


async def _records(layout: Layout, rows: Rows, wanted: range) -> AsyncIterator[bytes]:
    place = layout.at_record(wanted.start)
    while place.record_offset < wanted.stop:
        page = await _page(rows, place)
        begin = place.record_offset
        records, place = await asyncio.to_thread(_page_records, layout, page, place)
        yield records[max(0, wanted.start - begin) : wanted.stop - begin]


async def _page(rows: Rows, place: Checkpoint) -> Sequence[ArchiveRow]:
    page = await rows(place.after)
    if not page:
        raise InputLostError(f"file number {place.number + 1} of the archive")
    return page


def _parts(
    layout: Layout, page: Sequence[ArchiveRow], place: Checkpoint, wanted: range
) -> tuple[list[_Part], Checkpoint]:
    """Return what is wanted of a page, and the place behind the page or behind all wanted."""
    parts, at, number = [], place.offset, place.number
    for row in page:
        header = layout.header(row, number)
        file_at = at + len(header)
        if file_at + row.bytes > wanted.start:
            head = header[max(0, wanted.start - at) : wanted.stop - at]
            stop = min(row.bytes, wanted.stop - file_at)
            parts.append(_Part(head, row, max(0, wanted.start - file_at), stop))
        at, number = file_at + row.bytes, number + 1
        if at >= wanted.stop:
            break
    return parts, Checkpoint(page[-1].position, number, at, 0)


def _page_records(
    layout: Layout, page: Sequence[ArchiveRow], place: Checkpoint
) -> tuple[bytes, Checkpoint]:
    records, at, number = [], place.offset, place.number
    for row in page:
        records.append(layout.record(row, number, at))
        at, number = at + layout.entry_bytes(row, number), number + 1
    joined = b"".join(records)
    return joined, Checkpoint(page[-1].position, number, at, place.record_offset + len(joined))


async def _sent(parts: Sequence[_Part], storage: Storage) -> AsyncIterator[bytes]:
    """Yield the parts in order; small ones are read together and sent as one piece."""
    together: list[_Part] = []
    for part in parts:
        large = part.stop - part.start > _SMALL_BYTES
        if large or len(together) == _TOGETHER:
            yield await _read_together(together, storage)
            together = []
        if large:
            yield part.header
            async for piece in _content(part, storage):
                yield piece
        else:
            together.append(part)
    yield await _read_together(together, storage)


async def _read_together(parts: Sequence[_Part], storage: Storage) -> bytes:
    return b"".join(await asyncio.gather(*(_read_whole(part, storage) for part in parts)))


async def _read_whole(part: _Part, storage: Storage) -> bytes:
    return part.header + b"".join([piece async for piece in _content(part, storage)])


async def _content(part: _Part, storage: Storage) -> AsyncIterator[bytes]:
    missing = part.stop - part.start
    if missing <= 0:
        return
    async for piece in storage.read(part.row.key, start=part.start, stop=part.stop):
        missing -= len(piece)
        yield piece
    if missing:
        raise InputLostError(part.row.name)
