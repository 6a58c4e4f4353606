"""What people see while a run goes on: a bar where stderr is a terminal, else nothing."""

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from batchmill.cli.run.summary import RunTally


class Display(Protocol):
    """Shows how far a run is."""

    def grow(self) -> None:
        """Count one more file that is to be done."""

    def ended(self, tally: RunTally) -> None:
        """Count one file that has ended."""


class NoDisplay:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def grow(self) -> None:
        """See Display.grow."""

    def ended(self, tally: RunTally) -> None:
        """See Display.ended."""


def display(total: int, *, quiet: bool) -> AbstractContextManager[Display]:
    """Return what shows a run of `total` files; its library is loaded where there is a bar."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        return NoDisplay()
    from batchmill.cli.run.bar import Bar

    return Bar(total)
