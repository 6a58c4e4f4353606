"""`--halt WHEN,fail=N|N%`: when a run gives up."""

import re
from dataclasses import dataclass

from batchmill.errors.request import UsageError

_SHAPE = re.compile(r"(soon|now),fail=(\d+(?:\.\d+)?)(%?)")


@dataclass(frozen=True, slots=True)
class Halt:
    """Give up once more than `most_pct` of all files, or as many as `failures`, have failed.

    `at_once` stops the files that are running; otherwise they may end.
    """

    failures: int | None = None
    most_pct: float | None = None
    at_once: bool = False

    def reached(self, failed: int, total: int) -> bool:
        """Tell whether it is time to give up."""
        if self.failures is not None and failed >= self.failures:
            return True
        return self.most_pct is not None and failed * 100 > self.most_pct * total


def parse_halt(text: str | None) -> Halt:
    """Read the option's value; None never halts.

    Raises:
        UsageError: it has another shape.
    """
    if text is None:
        return Halt()
    match = _SHAPE.fullmatch(text)
    if match is None or (not match[3] and not match[2].isdecimal()) or float(match[2]) == 0:
        raise UsageError(f"--halt {text!r} is not of the form soon,fail=3 or now,fail=3%.")
    if match[3]:
        return Halt(most_pct=float(match[2]), at_once=match[1] == "now")
    return Halt(failures=int(match[2]), at_once=match[1] == "now")
