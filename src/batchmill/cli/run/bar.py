"""The progress bar on stderr: rate, time left, bytes saved."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from batchmill.cli.run.summary import RunTally
from batchmill.cli.text import size

_RATE_FROM_S = 60.0


class Bar:
    """A bar while it is entered; nothing where stderr is no terminal that can show one."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[saved]}"),
            console=console,
            speed_estimate_period=_RATE_FROM_S,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("milling", total=total, saved="")
        self._total = total

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

    def grow(self) -> None:
        """Count one more file that is to be done."""
        self._total += 1
        self._bar.update(self._task, total=self._total)

    def ended(self, tally: RunTally) -> None:
        """Count one file that has ended."""
        less = tally.bytes_in - tally.bytes_out
        text = f"{size(less)} saved" if less > 0 and tally.bytes_out else ""
        text += f"  {tally.failed} failed" if tally.failed else ""
        self._bar.update(self._task, advance=1, saved=text)


class _Rate(ProgressColumn):
    """Files a second, or a minute where that is more telling."""

    def render(self, task: Task) -> Text:
        speed = task.speed or 0
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{speed * 60:.1f}/min")
