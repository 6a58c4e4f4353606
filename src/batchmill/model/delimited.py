"""How delimited text is told from prose: the separator, by counting columns."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from itertools import islice

DELIMITERS = ("\t", ";", "|", ",")
"""In order of preference: a comma inside a `;` file is usually a decimal comma."""

CHECKED_ROWS = 1_000
"""How many rows the column count is checked on."""

_SURE = 0.95
_ENOUGH = 0.8
_FEW = 3


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells are separated and quoted; `consistency` is the share of rows of equal width."""

    delimiter: str
    quote: str = '"'
    escape: str | None = None
    columns: int = 1
    consistency: float = 1.0


def find_dialect(text: str) -> Dialect | None:
    """Return how `text` (its first rows, ending at a line's end) is delimited; None for prose.

    A delimiter counts when it gives at least two rows the same width of two columns or more.
    """
    found = [each for each in (_measure(text, mark) for mark in DELIMITERS) if each is not None]
    sure = [each for each in found if each.consistency >= _SURE]
    best = sure[0] if sure else max(found, key=lambda each: each.consistency, default=None)
    return None if best is None else _with_quoting(text, best)


def rows_of(text: str, dialect: Dialect) -> list[list[str]]:
    """Return at most `CHECKED_ROWS` rows of `text`; what csv cannot read ends the list."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(
        lines, delimiter=dialect.delimiter, quotechar=dialect.quote, escapechar=dialect.escape
    )
    rows: list[list[str]] = []
    try:
        rows.extend(islice(reader, CHECKED_ROWS))
    except csv.Error:
        return rows
    return rows


def _measure(text: str, delimiter: str) -> Dialect | None:
    measured = _widths(text, Dialect(delimiter))
    if measured.columns == 1 or measured.consistency < _ENOUGH:
        return None
    return None if delimiter == "," and _is_prose(text, measured.columns) else measured


def _widths(text: str, dialect: Dialect) -> Dialect:
    """Return the dialect with the most common width of two columns or more and its share."""
    widths = Counter(len(row) for row in rows_of(text, dialect) if row)
    width, count = max(widths.items(), key=lambda each: (each[0] > 1, each[1]), default=(1, 0))
    rows = widths.total()
    if width == 1 or rows < 2:  # noqa: PLR2004 - one row has nothing to agree with
        return Dialect(dialect.delimiter, dialect.quote, dialect.escape)
    return Dialect(dialect.delimiter, dialect.quote, dialect.escape, width, count / rows)


def _is_prose(text: str, columns: int) -> bool:
    """Sentences have a space after nearly every comma; a table of that style is wider."""
    spaced = text.count(", ") > 0.9 * text.count(",")
    return spaced and (columns < _FEW or text.count("\n") < _FEW)


def _with_quoting(text: str, plain: Dialect) -> Dialect:
    """Try single quotes and backslashes where the text has them beside a delimiter."""
    mark = plain.delimiter
    tries = [plain]
    if f"{mark}'" in text and f"'{mark}" in text and '"' not in text:
        tries.append(_widths(text, Dialect(mark, quote="'")))
    if f"\\{mark}" in text or '\\"' in text:
        tries.append(_widths(text, Dialect(mark, escape="\\")))
    return max(tries, key=lambda each: (each.columns > 1, each.consistency))
