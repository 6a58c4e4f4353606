"""Intake: files that arrived become stored inputs; a ZIP becomes one item for each of its files.

An archive is stored once, as it came, and indexed once. Workers read their entry from it where
it lies, so there is never a second copy of its contents.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Container, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from batchmill.archives.heads import read_head
from batchmill.archives.index import ArchiveIndex, ArchiveLimits, Kind, index_archive, opened
from batchmill.errors.request import EmptyArchiveError
from batchmill.model import ids
from batchmill.model.batch import BatchId
from batchmill.model.containers import CONTAINERS, identify
from batchmill.model.item import Input, NewItem, SkipReason, StepOptions, over_limit
from batchmill.model.media import XLS, ZIP, Family, MediaType, claimed_family, sniff
from batchmill.settings.fields import TierLimits
from batchmill.storage import keys
from batchmill.storage.base import Storage

PAGE_ROWS = 5_000
"""Items of an archive that are added at once: fast, and short enough to let others in."""

OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that lies, whole and measured, where this process put it; it is consumed."""

    path: Path
    name: str
    head: bytes
    bytes: int
    sha256: str
    custom_id: str | None = None
    options: StepOptions | None = None


@dataclass(frozen=True, slots=True)
class AbsentFile:
    """A file that was named but can't be had: an item that fails and says so.

    `reason` is what `Input.absent` says; None: there was nothing where it should be.
    """

    name: str
    custom_id: str | None = None
    reason: str | None = None

    @classmethod
    def too_large(cls, name: str, limit_bytes: int, custom_id: str | None = None) -> "AbsentFile":
        """Describe a file whose bytes are not kept, because they are more than `limit_bytes`."""
        return cls(name, custom_id, over_limit(limit_bytes))


AnySent = SentFile | AbsentFile


@dataclass(frozen=True, slots=True)
class ItemChunk:
    """Items that are added at once, and the files that come with them: each in one page alone."""

    items: list[NewItem]
    files: list[SentFile]


async def stored(
    storage: Storage,
    batch_id: BatchId,
    files: Sequence[AnySent],
    *,
    limits: TierLimits,
    accepts: Container[Family],
) -> AsyncIterator[ItemChunk]:
    """Put files into storage and yield the items they become, in order, in pages.

    What can be refused is refused before the first page. Of an archive, files that are of no
    family that the pipeline `accepts` are skipped.

    Raises:
        UnreadableArchiveError, EmptyArchiveError, TooLargeError: a ZIP can't be used.
        StorageFullError: no space.
    """
    looked_at = [(file, await asyncio.to_thread(_look, file, limits, accepts)) for file in files]
    plain = ItemChunk([], [])
    for file, found in looked_at:
        match file, found:
            case SentFile(), ArchiveIndex():
                if plain.items:
                    yield plain
                    plain = ItemChunk([], [])
                async for page in _store_archive(
                    storage, batch_id, file, index=found, accepts=accepts
                ):
                    yield page
            case SentFile(), (MediaType() | None) as media:
                plain.items.append(await _store_file(storage, batch_id, file, media))
                plain.files.append(file)
            case AbsentFile(), _:
                plain.items.append(_absent(file))
    if plain.items:
        yield plain


def _look(
    file: AnySent, limits: TierLimits, accepts: Container[Family]
) -> MediaType | ArchiveIndex | None:
    """Return the type of a file by its content, or what an archive holds."""
    if isinstance(file, AbsentFile):
        return None
    media = media_of(file)
    if media is not ZIP:
        return media
    bounds = ArchiveLimits(limits.archive_entries, limits.archive_bytes, limits.entry_bytes)
    index = index_archive(file.path, name=file.name, limits=bounds)
    with opened(index.path) as archive:
        entries = (entry for page in index.pages("") for entry in page)
        if all(_is_stranger(archive, entry, accepts) for entry in entries):
            wanted = " and ".join(f"{family}s" for family in Family if family in accepts)
            raise EmptyArchiveError(file.name, left_out=index.counts[Kind.FILE], wanted=wanted)
    return index


def _is_stranger(archive: int, entry: Input, accepts: Container[Family]) -> bool:
    """Say whether an entry only lies beside the wanted ones: by its name, and by its content too.

    An empty `photo.jpg` is a photo that was lost, which its owner wants to hear of.
    """
    if claimed_family(entry.name) in accepts:
        return False
    head = read_head(archive, entry)
    if head is None:
        return False
    media = sniff(head)
    if media in (ZIP, XLS) and Family.DOCUMENT in accepts:  # a workbook, or none
        return False
    return media is None or media.family not in accepts


def media_of(file: SentFile) -> MediaType | None:
    """Name the type of a file by its content; a workbook is no ZIP although it begins like one."""
    media = sniff(file.head)
    if media not in CONTAINERS:
        return media
    with file.path.open("rb") as opened:
        return identify(opened)


def _absent(file: AbsentFile) -> NewItem:
    (item_id,) = ids.item_ids(1)
    return NewItem(
        item_id, Input(key="", name=file.name, bytes=0, absent=file.reason), file.custom_id
    )


async def _store_file(
    storage: Storage, batch_id: BatchId, file: SentFile, media: MediaType | None
) -> NewItem:
    (item_id,) = ids.item_ids(1)
    mime = media.mime if media else None
    key = keys.input_key(batch_id, item_id)
    await storage.put(key, file.path, media_type=mime or OCTETS, sha256=file.sha256)
    source = Input(key, file.name, file.bytes, sha256=file.sha256, media_type=mime)
    return NewItem(item_id, source, file.custom_id, file.options)


async def _store_archive(
    storage: Storage,
    batch_id: BatchId,
    file: SentFile,
    *,
    index: ArchiveIndex,
    accepts: Container[Family],
) -> AsyncIterator[ItemChunk]:
    files = [file]
    key = keys.input_key(batch_id, ids.archive_id())
    async with _kept(index) as kept:
        await storage.put(key, file.path, media_type=ZIP.mime, sha256=file.sha256)
        pages = _new_items(kept, key, accepts)
        while page := await asyncio.to_thread(next, pages, None):
            yield ItemChunk(page, files)
            files = []


def _new_items(
    index: ArchiveIndex, key: str, accepts: Container[Family]
) -> Iterator[list[NewItem]]:
    with opened(index.path) as archive:
        for page in index.pages(key, rows=PAGE_ROWS):
            strangers = (_is_stranger(archive, source, accepts) for source in page)
            yield [
                NewItem(item_id, source, skipped=SkipReason.UNSUPPORTED if stranger else None)
                for item_id, source, stranger in zip(
                    ids.item_ids(len(page)), page, strangers, strict=True
                )
            ]


@asynccontextmanager
async def _kept(index: ArchiveIndex) -> AsyncIterator[ArchiveIndex]:
    """Keep a second name of the archive, because storing it takes the first away."""
    path = index.path.with_name(f"{index.path.name}.index")
    await asyncio.to_thread(os.link, index.path, path)
    try:
        yield index.at(path)
    finally:
        # Once its upload is taken, `uploads.tidy` may have been here before.
        await asyncio.to_thread(path.unlink, missing_ok=True)
