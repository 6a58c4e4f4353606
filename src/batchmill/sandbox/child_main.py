"""What a child does: it takes jobs from its line and answers each with exactly one report."""

import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO, NoReturn, Self

from batchmill.errors.base import BatchmillError
from batchmill.errors.item import OperationFailedError, OutOfMemoryError
from batchmill.sandbox import confine
from batchmill.sandbox.child_environment import homes
from batchmill.sandbox.folders import STEP_BYTES, ChildFolders
from batchmill.sandbox.messages import (
    OUT,
    Job,
    Report,
    ReportedError,
    StepProgress,
    decode,
    encode,
    job_from,
)

ReportProgress = Callable[[StepProgress], None]
Execute = Callable[[Job, ReportProgress], Report]

_PROGRESS_INTERVAL_S = 0.5
_DETAIL_CHARACTERS = 4000
_TAKEN_BACK = Report(
    error=ReportedError("not_begun", "its source was taken away before it began", retryable=True)
)


def run_child(
    execute: Execute, folders: ChildFolders, fork_server: int, descriptors: Sequence[int]
) -> NoReturn:
    """Confine this freshly forked process to `folders`, work until the line ends, and exit."""
    status = 1
    try:
        os.setpgid(0, 0)
        confine.die_with_parent(fork_server)
        child_io = ChildIO.set_up(folders, *descriptors)
        child_io.line.write(encode("ready", confine.confine(folders.inbox, folders.folder)))
        for message in child_io.jobs:
            child_io.line.write(_answer(execute, job_from(decode(message)[1]), child_io))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


@dataclass(frozen=True, slots=True)
class ChildIO:
    """What a child works with; all else that was open in the fork server is closed."""

    jobs: BinaryIO
    line: BinaryIO
    step: int
    statm: int | None

    @classmethod
    def set_up(cls, folders: ChildFolders, line: int, stderr: int) -> Self:
        """Take over the descriptors; whatever libraries print goes to `stderr`."""
        os.dup2(stderr, 1)
        os.dup2(stderr, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(line, 3)
        os.closerange(4, confine.OPEN_FILES)
        step = os.open(folders.step, os.O_RDWR | os.O_CREAT, 0o600)
        statm = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None
        os.chdir(folders.folder)
        os.environ.update(homes(folders.folder))
        return cls(os.fdopen(3, "rb"), os.fdopen(os.dup(3), "wb", buffering=0), step, statm)

    def rss_bytes(self) -> int:
        """Return what is resident now; the most that ever was where the system tells no more."""
        if self.statm is None:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(os.pread(self.statm, 100, 0).split()[1]) * resource.getpagesize()


def _answer(execute: Execute, job: Job, child_io: ChildIO) -> bytes:
    """Return the line that ends the job: what `execute` reports, or what it raised."""
    progress = _Progress(child_io)
    try:
        if not os.path.exists(job.source):  # noqa: PTH110 - a `Path` costs as much as the call
            return _ended(_TAKEN_BACK, job, child_io)
        _make_folder(job)
        return _ended(execute(job, progress), job, child_io)
    except Exception as error:  # the border: nothing that a decoder raises may end the child
        return _ended(_failed(error, job, progress.step), job, child_io)
    finally:
        with suppress(OSError):
            _clear(job.folder, but=OUT)


def _ended(report: Report, job: Job, child_io: ChildIO) -> bytes:
    return encode("report", replace(report, rss_bytes=child_io.rss_bytes(), number=job.number))


def _make_folder(job: Job) -> None:
    """Give the job a folder with one for outputs; temporary files lie in the first.

    Those of an earlier job are there as a rule, and empty.
    """
    out = f"{job.folder}/{OUT}"
    try:
        _clear(out)
    except OSError:
        shutil.rmtree(job.folder, ignore_errors=True)
        for folder in (job.folder, out):
            os.mkdir(folder, 0o700)  # noqa: PTH102 - see `_clear`
    tempfile.tempdir = os.environ["TMPDIR"] = job.folder


def _clear(folder: str, *, but: str = "") -> None:
    """Empty a folder. Strings, for a `Path` costs as much as a call."""
    for name in os.listdir(folder):  # noqa: PTH208
        left = f"{folder}/{name}"
        if name == but:
            continue
        if os.path.isdir(left) and not os.path.islink(left):  # noqa: PTH112, PTH114
            shutil.rmtree(left, ignore_errors=True)
        else:
            os.unlink(left)  # noqa: PTH108


class _Progress:
    """Leaves the step where it is found after a crash; writes a line at most twice a second."""

    def __init__(self, child_io: ChildIO) -> None:
        self._child_io = child_io
        self._next_at = time.monotonic() + _PROGRESS_INTERVAL_S
        self._note("")

    def __call__(self, progress: StepProgress) -> None:
        if progress.step != self.step:
            self._note(progress.step)
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + _PROGRESS_INTERVAL_S
            self._child_io.line.write(encode("progress", progress))

    def _note(self, step: str) -> None:
        self.step = step
        os.pwrite(self._child_io.step, step.encode()[:STEP_BYTES].ljust(STEP_BYTES), 0)


def _failed(error: Exception, job: Job, step: str) -> Report:
    known = _translated(error, job)
    detail = known.detail or "".join(traceback.format_exception(error))[-_DETAIL_CHARACTERS:]
    return Report(
        error=ReportedError(
            code=known.code,
            message=known.message,
            retryable=known.retryable,
            budget=getattr(known, "budget", "errors"),
            step=getattr(known, "step", None) or step or None,
            detail=detail,
        )
    )


def _translated(error: Exception, job: Job) -> BatchmillError:
    if isinstance(error, BatchmillError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemoryError(job.name, job.limits.memory_bytes)
    used = job.steps[0].use if len(job.steps) == 1 else "an operation"
    return OperationFailedError(job.name, used)
