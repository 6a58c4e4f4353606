"""A file that grows over several requests: what lies on the disk is what has arrived.

One request writes at a time, of whatever process: the right to write is a lock that the system
takes back when its holder dies.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from batchmill.errors.request import (
    ChecksumError,
    TooLargeError,
    UploadBusyError,
    UploadOffsetError,
)
from batchmill.model.upload import UploadId
from batchmill.storage import disk

_FILE = re.compile(r"(up[dl]_[0-9a-z]{1,36})(\..+)?")
ALGORITHMS = ("sha1", "sha256")


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request must add up to; `algorithm` is one of ALGORITHMS."""

    algorithm: str
    digest: bytes


def begin(space: disk.FreeSpace, path: Path) -> None:
    """Make an empty file, durably."""
    with disk.full_disk_reported():
        disk.create(path).close()
        disk.flush_folder(path.parent, sync=space.sync)


def files(folder: Path) -> dict[UploadId, list[Path]]:
    """Return the files of each upload: its own, and what lies beside it for a request's length."""
    found: dict[UploadId, list[Path]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if match := _FILE.fullmatch(entry.name):
                found.setdefault(UploadId(match[1]), []).append(Path(entry))
    return found


def arrived_bytes(path: Path) -> int:
    """Return how much of a file has arrived.

    Raises:
        FileNotFoundError: it was never begun, or is gone.
    """
    return path.lstat().st_size


async def append(
    space: disk.FreeSpace,
    path: Path,
    pieces: AsyncIterator[bytes],
    *,
    offset_bytes: int,
    length_bytes: int,
    checksum: Checksum | None = None,
) -> None:
    """Write pieces behind what has arrived; durable on return, and so is what came before an error.

    With a checksum all of the pieces are kept, or none.

    Raises:
        FileNotFoundError: the file is gone.
        UploadBusyError: another request is writing.
        UploadOffsetError: what has arrived does not end at `offset_bytes`.
        TooLargeError: there is more than `length_bytes` in all.
        ChecksumError: the pieces do not add up.
        StorageFullError: no space is left above the reserve.
    """
    left = _no_more_than(pieces, length_bytes - offset_bytes)
    if _at_end(await asyncio.to_thread(arrived_bytes, path), offset_bytes) == length_bytes:
        async for _ in left:  # it takes nothing more, and may have become read-only
            pass
        return
    async with _held(path) as file:
        _at_end(os.fstat(file.fileno()).st_size, offset_bytes)
        if checksum is None:
            await _Writing(file, space).write(left)
        else:
            await _append_checked(space, file, left, checksum)


def _at_end(arrived: int, offset_bytes: int) -> int:
    if arrived != offset_bytes:
        raise UploadOffsetError(arrived)
    return arrived


@asynccontextmanager
async def _held(path: Path) -> AsyncIterator[FileIO]:
    """Hold the only right to write to a file."""
    with await asyncio.to_thread(_open, path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UploadBusyError from error
        yield file


def _open(path: Path, flags: int = 0) -> FileIO:
    flags |= os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return FileIO(path, "ab", opener=lambda name, _flags: os.open(name, flags, 0o600))


async def _no_more_than(pieces: AsyncIterator[bytes], left_bytes: int) -> AsyncIterator[bytes]:
    async for piece in pieces:
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise TooLargeError("There are more bytes than Upload-Length said.")
        yield piece


async def _append_checked(
    space: disk.FreeSpace, file: FileIO, pieces: AsyncIterator[bytes], checksum: Checksum
) -> None:
    """Let the pieces wait beside the file until their checksum is known, whoever dies meanwhile."""
    with _beside(Path(file.name)) as waiting:
        digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
        await _Writing(waiting, space).write(pieces, digest)
        if digest.digest() != checksum.digest:
            raise ChecksumError
        await disk.in_thread(_copy_behind, space, Path(waiting.name), file)


@contextmanager
def _beside(path: Path) -> Iterator[FileIO]:
    beside = path.with_name(f"{path.name}.part")
    with _open(beside, os.O_CREAT | os.O_TRUNC) as file:
        try:
            yield file
        finally:
            beside.unlink(missing_ok=True)


def _copy_behind(space: disk.FreeSpace, source: Path, file: FileIO) -> None:
    with disk.full_disk_reported(), source.open("rb") as opened:
        shutil.copyfileobj(opened, file, disk.PIECE_BYTES)
        space.sync(file.fileno())


class _Writing:
    """Writes pieces to a file, a mebibyte at a time, in a thread that also feeds `digest`."""

    def __init__(self, file: FileIO, space: disk.FreeSpace) -> None:
        self._file = file
        self._space = space
        self._waiting: list[bytes] = []
        self._digest: hashlib._Hash | None = None

    async def write(
        self, pieces: AsyncIterator[bytes], digest: "hashlib._Hash | None" = None
    ) -> None:
        """Write all pieces; those that came before an error are durable too."""
        self._digest = digest
        waiting_bytes = 0
        try:
            async for piece in pieces:
                self._waiting.append(piece)
                waiting_bytes += len(piece)
                if waiting_bytes >= disk.PIECE_BYTES:
                    await disk.in_thread(self._write)
                    waiting_bytes = 0
        finally:
            await disk.in_thread(self._finish)

    def _write(self) -> None:
        # Taken first: after an error nothing may be written behind the gap that it leaves.
        body = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._space.require()
        if self._digest is not None:
            self._digest.update(body)
        with disk.full_disk_reported():
            while body:
                body = body[self._file.write(body) :]

    def _finish(self) -> None:
        try:
            if self._waiting:
                self._write()
        finally:
            self._space.sync(self._file.fileno())
