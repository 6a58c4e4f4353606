"""The joblog: one JSON line for every file that has ended, so that a run can go on later.

Lines are only ever appended. A line is written when its file has ended and forced to the disk
at most a second later; what a kill cuts off is a half line at the end, which is read over.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from batchmill.errors.request import UsageError
from batchmill.local.inputs import LocalInput
from batchmill.local.results import ItemResult
from batchmill.model.item import ItemStatus
from batchmill.model.pipeline import Pipeline

SYNC_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What an earlier run noted about one input; `outputs` are bytes by relative path."""

    pipeline: str
    bytes: int
    mtime_ns: int
    sha256: str | None
    status: ItemStatus
    outputs: Mapping[str, int]

    @property
    def failed(self) -> bool:
        """True when the file did not get through."""
        return self.status not in {ItemStatus.COMPLETED, ItemStatus.SKIPPED}


def digest(pipeline: Pipeline) -> str:
    """Return what changes with anything that could change a result or its name."""
    return f"{pipeline.digest()}:{pipeline.output_path}"


def key_of(result: ItemResult) -> str:
    """Return `LocalInput.key` of the result's input."""
    source = result.source
    return f"{source.path}!/{source.entry}" if source.entry else str(source.path)


class Joblog:
    """An open joblog. Use it inside a running event loop, and close it."""

    def __init__(
        self, path: Path, pipeline: Pipeline, *, sync: Callable[[int], None] = os.fsync
    ) -> None:
        self._force = sync
        self._digest = digest(pipeline)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self._file.tell() and not _ends_a_line(path):
            self._file.write(b"\n")
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sync()
        self._file.close()

    def add(self, result: ItemResult) -> None:
        """Append a result."""
        self._file.write(json.dumps(self._line(result), allow_nan=False).encode() + b"\n")
        self._file.flush()
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SYNC_INTERVAL_S, self._sync)

    def _sync(self) -> None:
        self._timer = None
        self._file.flush()
        self._force(self._file.fileno())

    def _line(self, result: ItemResult) -> dict[str, Any]:
        line = {"key": key_of(result)} | result.to_json()
        del line["data"]  # may be megabytes; `--json` prints it
        line["pipeline"] = self._digest
        line["input"]["mtime_ns"] = result.source.mtime_ns
        line["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        return line


def read(path: Path) -> dict[str, Entry]:
    """Return the last entry of every input; an absent joblog has none.

    Raises:
        UsageError: the file can't be read, or is something else.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"The joblog {path} can't be read: {error.strerror}.") from error
    if lines and not lines[0].startswith(b"{"):
        raise UsageError(f"{path} is not a joblog; name another file with --joblog.")
    found: dict[str, Entry] = {}
    for number, line in enumerate(lines, start=1):
        body = _decoded(line)
        if body is not None:
            found[body["key"]] = _entry(path, number, body)
    return found


def is_done(entry: Entry, item: LocalInput, *, pipeline: str, output: Path | None) -> bool:
    """Tell whether input and pipeline are what they were and every output is still there."""
    if entry.pipeline != pipeline or not _is_unchanged(entry, item):
        return False
    if output is None:
        return True
    return all(_has_size(output / name, size) for name, size in entry.outputs.items())


def _decoded(line: bytes) -> dict[str, Any] | None:
    """Return a line's object; None for the half line that a kill leaves."""
    try:
        body = json.loads(line)
    except ValueError:
        return None
    return body if isinstance(body, dict) and "key" in body else None


def _entry(path: Path, number: int, body: Mapping[str, Any]) -> Entry:
    try:
        source = body["input"]
        return Entry(
            pipeline=body["pipeline"],
            bytes=source["bytes"],
            mtime_ns=source["mtime_ns"],
            sha256=source["sha256"],
            status=ItemStatus(body["status"]),
            outputs={output["name"]: output["bytes"] for output in body["outputs"]},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a joblog: line {number} has another shape.") from error


def _is_unchanged(entry: Entry, item: LocalInput) -> bool:
    if entry.bytes != item.bytes:
        return False
    if entry.mtime_ns == item.mtime_ns:
        return True
    return item.entry is None and entry.sha256 == _sha256(item.path)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
