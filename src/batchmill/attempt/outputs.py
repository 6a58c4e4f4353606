"""Collects what a child left: only plain files whose size is what was reported."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors.item import ChildCrashedError
from batchmill.model.item import Output
from batchmill.sandbox.messages import OUT, Report

_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


@dataclass(frozen=True, slots=True)
class Made:
    """An output and where it lies."""

    path: Path
    output: Output


def collect(report: Report, folder: Path, *, name: str) -> tuple[Made, ...]:
    """Return the outputs in `folder/out`, checked without following any link.

    Raises:
        ChildCrashedError: the report names something that is not there as it says.
    """
    if not report.outputs:
        return ()
    out = folder / OUT
    made = tuple(Made(out / output.name, output) for output in report.outputs)
    if not stat.S_ISDIR(_mode(out)) or not all(_is_as_reported(each, out) for each in made):
        raise ChildCrashedError(name, "its outputs are not what it reported")
    return made


def _is_as_reported(made: Made, out: Path) -> bool:
    if made.path.parent != out or made.output.name in {"", ".", ".."}:
        return False
    try:
        status = os.lstat(made.path)
    except OSError:
        return False
    # No set-user-id program may reach the storage, and we must be able to read it.
    plain = stat.S_IMODE(status.st_mode) & (stat.S_IRUSR | _SPECIAL) == stat.S_IRUSR
    return stat.S_ISREG(status.st_mode) and plain and status.st_size == made.output.bytes


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
