"""The child: `python -m batchmill.runner.child EXECUTOR PARENT INBOX FOLDER`.

Reads jobs from stdin, one JSON object a line, and answers each with exactly one report. What
libraries print goes to stderr; the line to the worker is a descriptor of our own.
"""

import errno
import importlib
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from batchmill.errors import (
    BatchmillError,
    ItemError,
    OperationFailedError,
    OutageError,
    OutOfMemoryError,
    StorageFullError,
)
from batchmill.runner import sandbox
from batchmill.runner.messages import (
    Job,
    Progress,
    Report,
    ReportedError,
    decode,
    encode,
    job_from,
)

ReportProgress = Callable[[Progress], None]
Execute = Callable[[Job, ReportProgress], Report]

_PROGRESS_INTERVAL_S = 0.5
_DETAIL_CHARACTERS = 4000


def main(executor: str, parent: str, inbox: str, folder: str) -> None:
    """Confine this process, load `execute` from module `executor`, and work until stdin ends."""
    jobs, line = _take_over_stdio()
    sandbox.die_with_parent(int(parent))
    confined = sandbox.confine(Path(inbox), Path(folder))
    execute: Execute = importlib.import_module(executor).execute
    line.write(encode("ready", confined))
    for message in jobs:
        kind, body = decode(message)
        if kind == "job":
            line.write(_answer(execute, job_from(body), line))


def _answer(execute: Execute, job: Job, line: BinaryIO) -> bytes:
    """Return the line that ends the job: what `execute` reports, or what it raised."""
    progress = _Throttled(line)
    try:
        return _ended(execute(job, progress), job)
    except Exception as error:  # the border: nothing that a decoder raises may end the child
        return _ended(_failed(_translated(error, job), progress.step, error), job)


def _ended(report: Report, job: Job) -> bytes:
    return encode("report", replace(report, rss_bytes=_rss_bytes(), number=job.number))


class _Throttled:
    """Writes a progress line when the step changes, else at most twice a second."""

    def __init__(self, line: BinaryIO) -> None:
        self.step = ""
        self._line = line
        self._next_at = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.step == self.step and now < self._next_at:
            return
        self.step, self._next_at = progress.step, now + _PROGRESS_INTERVAL_S
        self._line.write(encode("progress", progress))


def _take_over_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Return private copies of stdin and stdout; what libraries print goes to stderr."""
    jobs = os.fdopen(os.dup(0), "rb")
    line = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return jobs, line


def _translated(error: Exception, job: Job) -> BatchmillError:
    if isinstance(error, ItemError | OutageError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemoryError(job.name, job.limits.memory_bytes)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError()
    return OperationFailedError(job.name, _named(job))


def _failed(error: BatchmillError, step: str, cause: Exception) -> Report:
    detail = error.detail or "".join(traceback.format_exception(cause))[-_DETAIL_CHARACTERS:]
    return Report(
        error=ReportedError(
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            budget=getattr(error, "budget", "errors"),
            step=getattr(error, "step", None) or step or None,
            detail=detail,
        ),
    )


def _named(job: Job) -> str:
    return job.steps[0].use if len(job.steps) == 1 else "an operation"


def _rss_bytes() -> int:
    try:
        _, resident, *_ = Path("/proc/self/statm").read_text().split()
        return int(resident) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
