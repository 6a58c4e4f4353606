"""The progress bar of a batch on a server: percent, files, rate, the end as a range."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from batchmill.cli.text import duration
from batchmill.wire import responses


class BatchBar:
    """A bar on stderr while it is entered; nothing where that is no terminal, or `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>5.1f} %"),
            TextColumn("{task.fields[more]}"),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("waiting", total=100, more="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, batch: responses.Batch) -> None:
        """Show where the batch is now."""
        self._bar.update(
            self._task,
            completed=batch.progress.percent or 0,
            description="paused" if batch.paused else batch.status.value,
            more=_more(batch),
        )


def _more(batch: responses.Batch) -> str:
    counts, progress = batch.counts, batch.progress
    failed = counts.failed + counts.quarantined
    parts = [f"{counts.completed + counts.skipped + failed:,}/{counts.total:,}"]
    if progress.items_per_second:
        parts.append(f"{progress.items_per_second:g}/s")
    if progress.eta_low_seconds is not None and progress.eta_high_seconds is not None:
        low, high = duration(progress.eta_low_seconds), duration(progress.eta_high_seconds)
        parts.append(f"{low} to {high} left")
    if failed:
        parts.append(f"{failed:,} failed")
    return "  ".join(parts)
