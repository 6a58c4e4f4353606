"""Files that a request names by their path on this server: copied, never moved or removed.

Only what lies in a folder of the setting `input_dirs` may be named, links resolved first.
"""

import asyncio
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchmill.api.context import RequestContext
from batchmill.errors.request import ForbiddenError
from batchmill.model.filenames import label
from batchmill.model.media import SNIFF_BYTES
from batchmill.service.submission.store_files import AbsentFile, SentFile
from batchmill.storage import disk
from batchmill.storage.sink import Sink

PIECE_BYTES: Final = 2**20
SIZE_SETTING: Final = "BATCHMILL_SEQUENTIAL_FILE_BYTES"
_REGULAR: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Named:
    """A path as a request has it, the name that the file goes by, and the caller's id for it."""

    path: str
    name: str | None
    custom_id: str | None


async def copied(
    named: Sequence[Named], ctx: RequestContext, folder: Path, *, file_bytes: int
) -> list[SentFile | AbsentFile]:
    """Copy the named files into `folder`.

    One that is not there, or is larger than `file_bytes`, becomes an `AbsentFile`.

    Raises:
        ForbiddenError: a path lies outside of `input_dirs`; no file is read then.
        StorageFullError: no space is left.
    """
    inside = [await asyncio.to_thread(_resolved, each, ctx) for each in named]
    sink = Sink(folder, reserve_bytes=ctx.server.settings.disk_reserve_bytes)
    try:
        copies = [
            await _copy(sink, path, each, file_bytes)
            for path, each in zip(inside, named, strict=True)
        ]
        written = iter(await sink.finish())
    except BaseException:
        await sink.discard()
        raise
    files: list[SentFile | AbsentFile] = []
    for each, head in zip(named, copies, strict=True):
        if isinstance(head, AbsentFile):
            files.append(head)
            continue
        name = label(each.name or Path(each.path).name)
        copy = next(written)
        files.append(SentFile(copy.path, name, head, copy.bytes, copy.sha256, each.custom_id))
    return files


def _resolved(each: Named, ctx: RequestContext) -> Path:
    """Follow all links of a path and require that it ends inside a folder of `input_dirs`."""
    folders = [folder.resolve() for folder in ctx.server.settings.input_dirs]
    try:
        path = Path(each.path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise _outside(each) from error
    if not any(path.is_relative_to(folder) for folder in folders):
        raise _outside(each)
    return path


def _outside(each: Named) -> ForbiddenError:
    name = label(each.name or Path(each.path).name)
    return ForbiddenError(
        f"{name} is not in a folder whose files may be named by path; the setting"
        " BATCHMILL_INPUT_DIRS lists them. Send the file itself as a form instead."
    )


async def _copy(sink: Sink, path: Path, each: Named, file_bytes: int) -> bytes | AbsentFile:
    """Copy one file into the sink and return its head, or that it can't be had."""
    name = label(each.name or Path(each.path).name)
    source = await asyncio.to_thread(_opened, path)
    if source is None:
        return AbsentFile(name, each.custom_id)
    sink.begin()
    head, total = b"", 0
    try:
        while piece := await disk.in_thread(os.read, source, PIECE_BYTES):
            head, total = head or piece[:SNIFF_BYTES], total + len(piece)
            if total > file_bytes:
                sink.drop()
                return AbsentFile.too_large(name, file_bytes, each.custom_id)
            sink.append(piece)
            await sink.turn()
    finally:
        os.close(source)
    sink.end()
    return head


def _opened(path: Path) -> int | None:
    """Open a regular file; None for whatever else is there, or is not."""
    try:
        source = os.open(path, _REGULAR)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(source).st_mode):
        return source
    os.close(source)
    return None
