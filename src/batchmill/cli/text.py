"""Numbers as people read them, and names that cannot steer a terminal."""

import re
from collections.abc import Sequence
from datetime import datetime
from unicodedata import combining, east_asian_width

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def size(number: float) -> str:
    """Return a number of bytes with three digits and a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 999.5:  # noqa: PLR2004 - from here on the next unit reads better
            return f"{number:.3g} {unit}" if unit != "B" else f"{number:.0f} B"
        number /= 1000
    return f"{number:.3g} TB"


def duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    if seconds < 9.95:  # noqa: PLR2004 - from here on tenths say nothing
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def saved(before: int, after: int) -> str:
    """Return by how much bytes became fewer, in percent."""
    return f"{100 * (1 - after / before):.0f} %" if before else ""


def files(number: int) -> str:
    """Return "1 file" or "12,345 files"."""
    return f"{number:,} file{'' if number == 1 else 's'}"


def clean(name: str) -> str:
    """Return a name with everything escaped that a terminal would obey."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], name)


def table(rows: Sequence[Sequence[str]], *, right_from: int | None = None) -> str:
    """Return rows as lines whose columns stand below each other; the first is the head.

    Columns end below each other from the one with the index `right_from` on.
    """
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            is_right = right_from is not None and number >= right_from
            cells.append(space + cell if is_right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for each sign of Chinese, say."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(map(bool, map(combining, text)))


def day(instant: datetime | None) -> str:
    """Return an instant as it is called here, to the minute; "never" for None."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M}" if instant else "never"
