"""Scratch: this process's own folder below a root, gone when the process is."""

import fcntl
import itertools
import os
import secrets
import shutil
from pathlib import Path
from typing import Self

_LOCK = "lock"


class Scratch:
    """Hands out new folders. A lock held by this process tells its folder from a dead one's."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._numbers = itertools.count()

    @classmethod
    def open(cls, root: Path) -> Self:
        """Make a folder below `root`, and remove those of processes that have died."""
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
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

    def close(self) -> None:
        """Remove everything. Safe to call twice."""
        discard(self.path)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


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
