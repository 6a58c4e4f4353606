"""What became of one file, and of a whole run, as the library and `batchmill run` tell it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from batchmill.errors.item import ProcessingError
from batchmill.model.item import Failure, ItemStatus, Output, SkipReason


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file that was made: at `path`, or, where no output folder was named, in `content`."""

    output: Output
    path: Path | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The source as it was found. `entry` is the name inside the ZIP at `path`."""

    path: Path
    name: str
    bytes: int = 0
    mtime_ns: int = 0
    entry: str | None = None
    sha256: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The end of one item; `status` is a final one."""

    source: FileFacts
    status: ItemStatus
    files: tuple[SavedFile, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: SkipReason | None = None
    error: Failure | None = None
    attempts: int = 0
    queued_ms: int = 0
    run_ms: int = 0
    step_ms: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True unless the file failed."""
        return self.status in {ItemStatus.COMPLETED, ItemStatus.SKIPPED}

    @property
    def bytes_out(self) -> int:
        """Bytes of all files that were made."""
        return sum(file.output.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the result line: the same fields as the server's reports have."""
        source, error = self.source, self.error
        path = f"{source.path}!/{source.entry}" if source.entry else str(source.path)
        return {
            "custom_id": source.name,
            "item_id": None,
            "status": self.status.value,
            "input": {
                "path": path,
                "sha256": source.sha256,
                "bytes": source.bytes,
                "type": source.media_type,
            },
            "outputs": [_output_json(file) for file in self.files],
            "data": self.data,
            "warnings": list(self.warnings),
            "skipped": {"reason": self.skipped.value} if self.skipped else None,
            "error": error
            and {
                "code": error.code,
                "message": error.message,
                "retryable": error.retryable,
                "step": error.step,
                "attempt": self.attempts,
            },
            "attempts": self.attempts,
            "timings": {"queued_ms": self.queued_ms, "run_ms": self.run_ms, "steps": self.step_ms},
        }


@dataclass(frozen=True, slots=True)
class BatchResult:
    """All results, in the order of the files that were given."""

    items: tuple[ItemResult, ...]
    run_s: float

    @property
    def successful(self) -> int:
        """How many files did not fail."""
        return sum(item.ok for item in self.items)

    @property
    def failed(self) -> int:
        """How many files failed."""
        return len(self.items) - self.successful

    def raise_failed(self) -> None:
        """Raise the first failure, in the order of the files; do nothing where there is none.

        Raises:
            ProcessingError: a file failed; a note on it counts them all.
        """
        failure = next((item.error for item in self.items if item.error), None)
        if failure is None:
            return
        try:
            failure.raise_()
        except ProcessingError as error:
            error.add_note(f"{self.failed} of {len(self.items)} files failed; this is the first.")
            raise


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a batch is, just after a file has ended.

    `completed` counts files that have ended in any way and never goes back;
    `completed + processing + pending == total`. `current` names the file that ended, `result`
    is what became of it, `results` all results so far in the order in which they came.
    """

    total: int
    completed: int
    successful: int
    failed: int
    processing: int
    pending: int
    current: str
    result: ItemResult
    results: Sequence[ItemResult]
    eta_s: float


class FirstOf(Sequence[ItemResult]):
    """The first `count` of a list that only grows: a snapshot without a copy."""

    def __init__(self, growing: list[ItemResult], count: int) -> None:
        self._growing = growing
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> ItemResult: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ItemResult, ...]: ...
    def __getitem__(self, index: int | slice) -> ItemResult | tuple[ItemResult, ...]:
        places = range(self._count)[index]
        if isinstance(places, range):
            return tuple(self._growing[place] for place in places)
        return self._growing[places]


def _output_json(file: SavedFile) -> dict[str, Any]:
    output = file.output
    return {
        "name": output.name,
        "path": str(file.path) if file.path else None,
        "bytes": output.bytes,
        "type": output.media_type,
        "width": output.width,
        "height": output.height,
        "sha256": output.sha256,
    }
