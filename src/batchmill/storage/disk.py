"""What every writer of local files shares: durability, room, and no links followed."""

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from errno import EDQUOT, EINVAL, EIO, ENODEV, ENOSPC, ENOTCONN, EROFS, ESTALE, ETIMEDOUT
from functools import partial
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import IO, Final, ParamSpec, TypeVar

from batchmill.errors.outage import StorageFullError, StorageUnavailableError

P = ParamSpec("P")
T = TypeVar("T")

PIECE_BYTES = 1 << 20
"""How much is read or written at once: large enough that the thread hop does not count."""


Sync = Callable[[int], None]
"""Forces an open file or folder to the disk: the one door through which storages do it."""


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The space on the disk of `folder`, of which `reserve_bytes` always stay free.

    `sync` is how bytes and names are forced to that disk; who wants to watch hands in another.
    """

    folder: Path
    reserve_bytes: int = 0
    sync: Sync = os.fsync

    def free_bytes(self) -> int:
        """Return what is left for an ordinary user, the reserve included."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def require(self, wanted_bytes: int = 0) -> None:
        """Check that `wanted_bytes` fit above the reserve.

        Raises:
            StorageFullError: they do not.
        """
        if self.free_bytes() < wanted_bytes + self.reserve_bytes:
            raise StorageFullError


@contextmanager
def full_disk_reported() -> Iterator[None]:
    """Turn "no space left" and "over quota" into StorageFullError.

    What says that the disk itself is away or read-only becomes StorageUnavailableError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {ENOSPC, EDQUOT}:
            raise StorageFullError from error
        if error.errno in _AWAY:
            raise StorageUnavailableError(detail=str(error)) from error
        raise


_AWAY: Final = frozenset({EIO, EROFS, ESTALE, ENOTCONN, ETIMEDOUT, ENODEV})


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor.

    Raises:
        OSError: it is absent, a link, a folder, a pipe or a device.
    """
    # O_NONBLOCK: opening a pipe without a writer would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(EINVAL, "not a regular file", str(path))


def create(path: Path | str) -> FileIO:
    """Make a new file that only we may read, and open it for writing without a buffer."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return FileIO(path, "wb", opener=lambda name, _flags: os.open(name, flags, 0o600))


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing; it is removed again when that fails.

    Raises:
        StorageFullError: no space; there is no file.
    """
    with full_disk_reported(), create(path) as raw:
        try:
            with BufferedWriter(raw) as out:
                yield out
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def copy_range(source: int, target: Path, *, start: int, length: int) -> int:
    """Write up to `length` bytes of the open file `source` to the new file `target`.

    Returns the number of bytes written: less than `length` when the source ends before.

    Raises:
        StorageFullError: no space; there is no target.
    """
    done = 0
    with new_file(target) as out:
        while piece := os.pread(source, min(PIECE_BYTES, length - done), start + done):
            out.write(piece)
            done += len(piece)
    return done


def swap(path: Path, body: bytes, expected: bytes | None, *, sync: Sync = os.fsync) -> bool:
    """Replace a small file durably if it holds `expected`; None: if there is none.

    One process of all that share the folder does so at a time. False: it holds something else.
    """
    with full_disk_reported(), _locked(path):
        if read_small(path) != expected:
            return False
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)  # left by a kill
        with create(part) as out:
            out.write(body)
        flush_file(part, sync=sync)
        part.replace(path)
        flush_folder(path.parent, sync=sync)
    return True


def read_small(path: Path) -> bytes | None:
    """Return what a regular file holds; None: there is none."""
    try:
        with FileIO(open_regular(path)) as source:
            return source.readall()
    except FileNotFoundError:
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`, in a file of its own: folders can't be locked everywhere."""
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call like `asyncio.to_thread`, but wait for its end even when cancelled.

    For calls that use what must not be closed or removed under them, a descriptor above all,
    whose number the next file gets; or that write a file which must not appear after them.
    """
    run = partial(copy_context().run, call, *args, **kwargs)  # `to_thread` would add a task
    return await to_its_end(asyncio.get_running_loop().run_in_executor(None, run))


async def to_its_end(running: asyncio.Future[T]) -> T:
    """Wait for a future, for its end even when cancelled, however often."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return running.result()


def flush_file(path: Path, *, mode: int | None = None, sync: Sync = os.fsync) -> None:
    """Force the bytes of a regular file, and its new permission `mode`, to the disk."""
    descriptor = open_regular(path)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        sync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path, *, sync: Sync = os.fsync) -> None:
    """Force the names in a folder to the disk: a rename is durable only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
