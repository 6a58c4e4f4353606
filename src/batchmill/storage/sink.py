"""Writes a stream of files into a folder: in threads, hashed on the way, memory bounded.

The event loop only collects pieces; while a thread writes and hashes one mebibyte, the next one
fills up. A sender that is faster than the disk waits in `turn`.
"""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from batchmill.storage import disk

_STEPS_AT_ONCE = 1_000
_FLUSHERS = 4

_Step = Path | bytes | Literal["drop"] | None
"""Begin a file at this path; append these bytes; remove the file; end it."""


@dataclass(frozen=True, slots=True)
class Written:
    """One file as it lies on the disk."""

    path: Path
    bytes: int
    sha256: str


class Sink:
    """Files one after another, named by their number, in a folder that exists and is ours."""

    def __init__(self, folder: Path, *, reserve_bytes: int = 0, sync: disk.Sync = os.fsync) -> None:
        self._space = disk.FreeSpace(folder, reserve_bytes, sync)
        self._steps: list[_Step] = []
        self._waiting_bytes = 0
        self._begun: list[Path] = []
        self._writer = _Writer(self._space)
        self._writing: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Start the next file."""
        path = self._space.folder / str(len(self._begun))
        self._begun.append(path)
        self._steps.append(path)

    def append(self, piece: bytes) -> None:
        """Add bytes to the file that was begun last."""
        self._steps.append(piece)
        self._waiting_bytes += len(piece)

    def drop(self) -> None:
        """Remove the file that was begun last; `finish` does not return it."""
        self._steps.append("drop")

    def end(self) -> None:
        """Complete the file that was begun last."""
        self._steps.append(None)

    async def turn(self) -> None:
        """Let a thread write what is waiting once it is enough; call it after every few pieces.

        Raises:
            StorageFullError: no space is left above the reserve.
        """
        if self._waiting_bytes >= disk.PIECE_BYTES or len(self._steps) >= _STEPS_AT_ONCE:
            await self._hand_over()

    async def finish(self) -> Sequence[Written]:
        """Write the rest, force everything to the disk, and return the files in order.

        Raises:
            StorageFullError: no space is left above the reserve.
        """
        await self._hand_over()
        await self._written()
        paths = [written.path for written in self._writer.done]
        lots = (paths[number::_FLUSHERS] for number in range(_FLUSHERS))
        await asyncio.gather(
            *(asyncio.to_thread(_flush, lot, self._space.sync) for lot in lots if lot)
        )
        await asyncio.to_thread(disk.flush_folder, self._space.folder, sync=self._space.sync)
        return self._writer.done

    async def discard(self) -> None:
        """Remove every file that was begun; never raises."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
            self._writing.exception()
        await asyncio.to_thread(self._remove)

    async def _hand_over(self) -> None:
        await self._written()
        steps, self._steps, self._waiting_bytes = self._steps, [], 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._writer.write, steps)

    async def _written(self) -> None:
        if self._writing is not None:
            # Shielded: a cancelled upload must still know when its thread let go of the file.
            await asyncio.shield(self._writing)

    def _remove(self) -> None:
        self._writer.close()
        for path in self._begun:
            with suppress(OSError):
                path.unlink()


class _Writer:
    """The half of a sink that runs in a thread, in one at a time."""

    def __init__(self, space: disk.FreeSpace) -> None:
        self.done: list[Written] = []
        self._space = space
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()

    def write(self, steps: Sequence[_Step]) -> None:
        self._space.require()
        pieces: list[bytes] = []
        with disk.full_disk_reported():
            for step in steps:
                match step:
                    case bytes():
                        pieces.append(step)
                    case None:
                        self._append(pieces)
                        self._end()
                    case "drop":
                        pieces.clear()
                        self._drop()
                    case path:
                        self._begin(path)
            self._append(pieces)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _begin(self, path: Path) -> None:
        self._file = disk.create(path)
        self._hash = hashlib.sha256()

    def _append(self, pieces: list[bytes]) -> None:
        if self._file is None:
            return
        body = memoryview(b"".join(pieces))
        pieces.clear()
        self._hash.update(body)
        while body:
            body = body[self._file.write(body) :]

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink()
            self._file = None

    def _end(self) -> None:
        if self._file is not None:
            path, size = Path(self._file.name), self._file.tell()
            self._file.close()
            self._file = None
            self.done.append(Written(path, size, self._hash.hexdigest()))


def _flush(paths: Sequence[Path], sync: disk.Sync) -> None:
    for path in paths:
        disk.flush_file(path, sync=sync)
