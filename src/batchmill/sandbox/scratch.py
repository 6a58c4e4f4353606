"""Scratch: this process's own folder below a root, gone when the process is."""

import fcntl
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_LOCK = "lock"
_KEPT_DEPTH = 1
_KEPT_FOLDERS = 8


class Scratch:
    """Hands out new folders. A lock held by this process tells its folder from a dead one's."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._numbers = itertools.count()
        self._free: list[Path] = []

    @classmethod
    def open(cls, root: Path) -> Self:
        """Make a folder below `root`, and remove those of processes that have died."""
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(root):
            for left in root.iterdir():
                _remove_if_dead(left)
            path = root / f"{os.getpid()}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(path, lock)

    def new(self, kind: str) -> Path:
        """Return the path of a folder that does not exist yet; `kind` is a word of ours."""
        return self.path / f"{kind}-{next(self._numbers)}"

    def lend(self) -> Path:
        """Return a folder without files; folders that were there before may still be.

        Making and removing folders can cost milliseconds, so those given back are used again.
        """
        if self._free:
            return self._free.pop()
        folder = self.new("attempt")
        folder.mkdir()
        return folder

    def give_back(self, folder: Path) -> None:
        """Empty a folder that was lent; whoever writes to it must be dead or confined by now."""
        if _emptied(str(folder), _KEPT_DEPTH):
            self._free.append(folder)
        else:
            discard(folder)

    def close(self) -> None:
        """Remove everything. Safe to call twice."""
        discard(self.path)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one start at a time go on: a folder not locked yet looks like a dead one's."""
    door = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def _emptied(folder: str, depth: int) -> bool:
    """Remove all files and deep folders; False when what is left is no good for others.

    Strings, for a `Path` costs as much as a call.
    """
    try:
        with os.scandir(folder) as found:
            entries = list(found)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)  # noqa: PTH108
            elif not (depth and _is_ours(entry) and _emptied(entry.path, depth - 1)):
                discard(Path(entry.path))
    except OSError:
        return False
    return len(entries) <= _KEPT_FOLDERS


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Tell whether we may still enter a folder and write to it."""
    return entry.stat(follow_symlinks=False).st_mode & stat.S_IRWXU == stat.S_IRWXU


def discard(folder: Path) -> None:
    """Remove a folder and all that is in it, even folders that a child has locked."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    folder.chmod(0o700)
    for parent, names, _ in os.walk(folder):
        for child in (Path(parent, name) for name in names):
            if not child.is_symlink():
                child.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_if_dead(left: Path) -> None:
    try:
        lock = os.open(left / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # not ours, or just being made
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        discard(left)
    except BlockingIOError:
        return
    finally:
        os.close(lock)
