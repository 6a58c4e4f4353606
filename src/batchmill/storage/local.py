"""A storage in a folder: whole files or none, durable on return.

A key is a path below the root. A file or folder that is a link is refused or removed, never
followed; only the root itself and what an administrator links above a prefix are.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from errno import EMLINK, ENOTSUP, EPERM, EXDEV
from io import FileIO
from itertools import islice
from pathlib import Path
from uuid import uuid4

from batchmill.errors.item import InputLostError
from batchmill.errors.request import NotFoundError
from batchmill.storage import disk
from batchmill.storage.keys import check_key, check_prefix

_NO_LINK = frozenset({EXDEV, EMLINK, ENOTSUP, EPERM})
_READ_ONLY = 0o400
"""Inputs are handed out as hard links: nobody should write into the stored file by mistake."""

_NAMES_AT_ONCE = 1_000
_REMEMBERED_FOLDERS = 10_000
_TRIES = 100


class LocalStorage:
    """Keeps bytes in a folder of one machine, or of a network file system with hard links."""

    def __init__(self, root: Path, *, reserve_bytes: int = 0, sync: disk.Sync = os.fsync) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve()
        self._space = disk.FreeSpace(self._root, reserve_bytes, sync)
        self._durable: set[Path] = set()

    async def put(
        self,
        key: str,
        path: Path,
        *,
        media_type: str,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Move the file in: fsync, rename, fsync of the folder. All else lies in the row.

        When cancelled it ends first, so that what a caller then removes does not come back.
        """
        await disk.in_thread(self._put, key, path)

    async def fetch(self, key: str, target: Path) -> None:
        """Link the file to `target`, which must not exist; copy it across devices.

        When cancelled it ends first, so that nothing appears in a folder that was given back.
        """
        await disk.in_thread(self._fetch, key, target)

    async def fetch_range(self, key: str, target: Path, *, start: int, length: int) -> None:
        """Copy a range to `target`, which must not exist. When cancelled it ends first."""
        await disk.in_thread(self._fetch_range, key, target, start, length)

    async def read(
        self, key: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a range in pieces of 1 MiB, each read in a thread; a small one takes one hop."""
        source, piece, end = await asyncio.to_thread(self._begin_reading, key, start, stop)
        with source:
            while piece:
                yield piece
                start += len(piece)
                if start >= end:
                    return
                wanted = min(disk.PIECE_BYTES, end - start)
                piece = await disk.in_thread(os.pread, source.fileno(), wanted, start)

    async def address(self, key: str, *, expires_s: int) -> str | None:
        """Return None: only the server itself leads to the folder."""
        return None

    async def put_address(self, key: str, *, length_bytes: int, expires_s: int) -> str | None:
        """Return None: only the server itself writes to the folder."""
        return None

    async def size_bytes(self, key: str) -> int:
        """Return the size of the file."""
        try:
            return (await asyncio.to_thread(self._path(key).lstat)).st_size
        except FileNotFoundError as error:
            raise NotFoundError("object", key) from error

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove files and the folders that become empty."""
        await asyncio.to_thread(self._delete, keys)

    async def delete_prefix(self, prefix: str) -> int:
        """Remove a folder with everything in it."""
        return await asyncio.to_thread(self._delete_prefix, prefix)

    async def swap(self, key: str, body: bytes, *, expected: bytes | None) -> bool:
        """Rename a new file in, under a lock that all processes take."""
        sync = self._space.sync
        return await disk.in_thread(disk.swap, self._path(key), body, expected, sync=sync)

    async def list_folders(self, prefix: str) -> AsyncIterator[str]:
        """Yield folder names, a thousand a thread hop."""
        try:
            entries = await asyncio.to_thread(os.scandir, self._path(check_prefix(prefix)[:-1]))
        except FileNotFoundError:
            return
        with entries:
            # A folder that is closed under its reader ends the process: see `in_thread`.
            while names := await disk.in_thread(list, islice(entries, _NAMES_AT_ONCE)):
                for entry in names:
                    if entry.is_dir(follow_symlinks=False):
                        yield entry.name

    async def list_files(self, prefix: str) -> AsyncIterator[str]:
        """Yield file names, read in one thread hop: no folder of ours holds many files."""
        folder = self._path(check_prefix(prefix)[:-1])
        for name in await asyncio.to_thread(_file_names, folder):
            yield name

    async def free_bytes(self) -> int | None:
        """Return the space on the disk, the reserve included."""
        return await asyncio.to_thread(self._space.free_bytes)

    async def aclose(self) -> None:
        """Nothing is held between calls."""

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _open(self, key: str) -> int:
        try:
            return disk.open_regular(self._path(key))
        except FileNotFoundError as error:
            raise InputLostError(key) from error

    def _put(self, key: str, path: Path) -> None:
        target = self._path(key)
        self._space.require()
        with disk.full_disk_reported():
            disk.flush_file(path, mode=_READ_ONLY, sync=self._space.sync)
            try:
                self._move_in(path, target)
            except OSError as error:
                if error.errno != EXDEV:
                    raise
                self._copy_in(path, target)
        # A rename onto another link of the same file does nothing and leaves the old name.
        path.unlink(missing_ok=True)

    def _move_in(self, path: Path, target: Path) -> None:
        """Rename, durably; again when a deletion took an empty folder on the way."""
        for tries_left in reversed(range(_TRIES)):
            try:
                self._make_durable(target.parent)
                path.rename(target)
                break
            except FileNotFoundError:
                self._durable.clear()
                if not tries_left:
                    raise
        with suppress(FileNotFoundError):  # deleted with its folder since then
            disk.flush_folder(target.parent, sync=self._space.sync)

    def _copy_in(self, path: Path, target: Path) -> None:
        part = target.with_name(f".{uuid4().hex}")
        source = disk.open_regular(path)
        try:
            disk.copy_range(source, part, start=0, length=os.fstat(source).st_size)
            disk.flush_file(part, mode=_READ_ONLY, sync=self._space.sync)
            self._move_in(part, target)
        finally:
            os.close(source)
            part.unlink(missing_ok=True)

    def _make_durable(self, folder: Path) -> None:
        """Create a folder and its parents. One that exists may be another thread's, unflushed."""
        if folder in self._durable or folder == self._root:
            return
        self._make_durable(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        disk.flush_folder(folder.parent, sync=self._space.sync)
        if len(self._durable) >= _REMEMBERED_FOLDERS:
            self._durable.clear()
        self._durable.add(folder)

    def _fetch(self, key: str, target: Path) -> None:
        source = self._open(key)
        try:
            os.link(self._path(key), target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            disk.copy_range(source, target, start=0, length=os.fstat(source).st_size)
        finally:
            os.close(source)

    def _fetch_range(self, key: str, target: Path, start: int, length: int) -> None:
        source = self._open(key)
        try:
            copied = disk.copy_range(source, target, start=start, length=length)
        finally:
            os.close(source)
        if copied != length:
            target.unlink()
            raise InputLostError(key)

    def _begin_reading(self, key: str, start: int, stop: int | None) -> tuple[FileIO, bytes, int]:
        try:
            source = FileIO(self._open(key))
        except InputLostError as error:
            raise NotFoundError("object", key) from error
        size = os.fstat(source.fileno()).st_size
        end = size if stop is None else min(stop, size)
        wanted = max(0, min(disk.PIECE_BYTES, end - start))
        return source, os.pread(source.fileno(), wanted, start), end

    def _delete(self, keys: Sequence[str]) -> None:
        for path in [self._path(key) for key in keys]:
            path.unlink(missing_ok=True)
            self._drop_empty(path.parent)

    def _delete_prefix(self, prefix: str) -> int:
        folder = self._path(check_prefix(prefix)[:-1])
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            descriptor = os.open(folder, flags)
        except FileNotFoundError:
            return 0
        try:
            deleted = _clear(descriptor)
        finally:
            os.close(descriptor)
        self._drop_empty(folder)
        return deleted

    def _drop_empty(self, folder: Path) -> None:
        with suppress(OSError):
            while folder != self._root:
                folder.rmdir()
                self._durable.discard(folder)
                folder = folder.parent


def _file_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [each.name for each in entries if each.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _clear(folder: int) -> int:
    """Remove everything below an open folder, by descriptor so that no link leads elsewhere."""
    deleted = 0
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError):  # another deletion was here before
                    os.unlink(entry.name, dir_fd=folder)
                    deleted += 1
                continue
            try:
                below = os.open(entry.name, flags, dir_fd=folder)
            except FileNotFoundError:
                continue
            try:
                deleted += _clear(below)
            finally:
                os.close(below)
            with suppress(OSError):  # a file was put there meanwhile: the next sweep finds it
                os.rmdir(entry.name, dir_fd=folder)
    return deleted
