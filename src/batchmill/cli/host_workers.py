"""The workers of this host that `batchmill workers scale` has started: their processes and logs.

Each has a name, a log and a lock file in `workers/` of the data folder. A worker holds its lock
for as long as it lives, so one that died by itself is never taken for another process.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from batchmill import private
from batchmill.errors.request import UsageError

_OWN = {"BATCHMILL_HEALTH_PORT": ""}
"""What workers of one host can't share."""


@dataclass(frozen=True, slots=True)
class Member:
    """A worker of this host, running or not."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Its process, or None when it does not run."""
        try:
            lock = os.open(self._lock, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(lock, 20, 0) or 0) or None
        finally:
            os.close(lock)
        return None

    @property
    def _lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    def start(
        self, arguments: list[str], environment: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        """Start it; it goes on when this process ends. `took_up_work` says how it went.

        Raises:
            UsageError: another command starts it at this moment.
        """
        private.keep_new_files_private()
        private.make_folder(self.folder.parent)
        private.make_folder(self.folder)
        lock = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise UsageError(f"{self.name} is being started by another command.") from error
        os.truncate(lock, 0)  # now: until the new one is known, nobody may take the old for it
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "batchmill", "worker", *arguments],
                env={**environment, **_OWN, "BATCHMILL_WORKER_ID": self.name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )
        os.pwrite(lock, str(process.pid).encode(), 0)
        os.close(lock)
        return process

    def ask_to_end(self) -> None:
        """Tell it to take no more files and to end what it has."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGTERM)

    def wait(self) -> None:
        """Return once it has ended."""
        with self._lock.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

    def last_lines(self, number: int) -> list[str]:
        """Return the end of its log."""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip("\n") for line in deque(lines, maxlen=number)]


def took_up_work(process: "subprocess.Popen[bytes]") -> bool:
    """Wait until a worker takes files; False when it ended instead, and its log says why."""
    if process.stdout is None:
        return False
    with process.stdout as told:
        return bool(told.readline())


def members(folder: Path) -> list[Member]:
    """Return all that ever ran here, by number."""
    names = (path.stem for path in folder.glob("worker-*.log"))
    return [Member(name, folder) for name in sorted(names, key=_number)]


def free(folder: Path) -> Iterator[Member]:
    """Yield members that do not run, the smallest numbers first."""
    for number in count(1):
        member = Member(f"worker-{number}", folder)
        if member.pid is None:
            yield member


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
