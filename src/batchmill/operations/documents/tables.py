"""One table, read in chunks of rows: where its header is, and what each column holds."""

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

from batchmill.operations.documents.columns import ColumnTally, Customs
from batchmill.operations.documents.dates import DAY_FIRST, MONTH_FIRST, read_date
from batchmill.operations.documents.numbers import COMMA, POINT, read_number
from batchmill.operations.documents.result import Table

LISTED_COLUMNS = 256
"""Columns beyond are counted and exported, but not described one by one."""

_HEADER_SEARCH_ROWS = 20
_SAMPLE_CHARS = 100
_SAMPLE_COLUMNS = 50
_LANGUAGE_CHARS = 4_000
_LEAST_SPACES = 4  # fewer words are names and labels, whose language misleads

Row = Sequence[str]


class TableTally:
    """What is known of a table so far. Feed it rows of text in order; then `settle` it."""

    def __init__(self, name: str, *, sample_rows: int = 5) -> None:
        self.name = name
        self.rows = 0
        self.width = 0
        self.widths = Counter[int]()
        self.header: list[str] | None = None
        self.preamble_rows = 0
        self.columns: list[ColumnTally] = []
        self.sample: list[tuple[str, ...]] = []
        self.prose = ""
        self._sample_rows = sample_rows
        self._started = False

    def add(self, rows: Sequence[Row]) -> None:
        """Take in a chunk of rows; the header is looked for in the first."""
        if not self._started and rows:
            rows = self._start(rows)
        if not rows:
            return
        self.sample.extend(map(_shown, rows[: self._sample_rows - len(self.sample)]))
        widths = Counter(map(len, rows))
        self.widths.update(widths)
        self.width = max(self.width, *widths)
        if max(widths) > LISTED_COLUMNS:
            rows = [row[:LISTED_COLUMNS] for row in rows]
        self._add_columns(list(zip_longest(*rows, fillvalue="")), len(rows))

    def _add_columns(self, columns: Sequence[Row], rows: int) -> None:
        while len(self.columns) < len(columns):
            self.columns.append(ColumnTally())
            self.columns[-1].add_nulls(self.rows)
        for tally, cells in zip(self.columns, columns, strict=False):
            tally.add(cells)
        for tally in self.columns[len(columns) :]:
            tally.add_nulls(rows)
        self.rows += rows

    def settle(self, customs: Customs | None = None) -> Table:
        """Return the table; `customs` is how its surroundings write numbers and dates."""
        customs = self._customs(customs or Customs())
        names = self._names()
        return Table(
            name=self.name,
            rows=self.rows,
            width=self.width,
            header=self.header is not None,
            preamble_rows=self.preamble_rows,
            columns=tuple(
                tally.settle(name, customs)
                for name, tally in zip(names, self.columns, strict=False)
            ),
            sample=tuple(self.sample),
        )

    @property
    def uneven_rows(self) -> int:
        """How many rows have another number of cells than most."""
        return self.widths.total() - max(self.widths.values(), default=0)

    def _start(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Leave titles above the table out, take the header, return the data."""
        self._started = True
        self.prose = _prose(rows)
        wide = max(map(len, rows)) > 1
        filled = (sum(map(bool, row)) > 1 for row in rows[:_HEADER_SEARCH_ROWS])
        first = next((at for at, enough in enumerate(filled) if enough), 0) if wide else 0
        self.preamble_rows = first
        if not is_header(rows[first], rows[first + 1 :]):
            return rows[first:]
        self.header = [cell.strip() for cell in rows[first]]
        self.width = len(self.header)
        return rows[first + 1 :]

    def _names(self) -> list[str]:
        given = self.header or []
        numbers = range(1, self.width + 1)
        pairs = zip_longest(given, numbers, fillvalue="")
        return [str(name)[:_SAMPLE_CHARS] or f"column {number}" for name, number in pairs]

    def _customs(self, given: Customs) -> Customs:
        """Let the columns that tell decide for those that do not."""
        votes = sum((tally.votes for tally in self.columns), Counter[str]())
        mark, order = given.mark, given.order
        if votes[POINT] != votes[COMMA]:
            mark = POINT if votes[POINT] > votes[COMMA] else COMMA
        if votes[DAY_FIRST] != votes[MONTH_FIRST]:
            order = DAY_FIRST if votes[DAY_FIRST] > votes[MONTH_FIRST] else MONTH_FIRST
        return Customs(mark, order)


def is_header(first: Row, rest: Sequence[Row]) -> bool:
    """Tell whether the first row names the columns: different texts, none of them a value."""
    names = [cell.strip() for cell in first]
    given = [name for name in names if name]
    if not rest or len(set(given)) != len(given) or 2 * len(given) < len(names) or not given:
        return False
    return not any(read_number(name) or read_date(name) for name in given)


def _shown(row: Row) -> tuple[str, ...]:
    return tuple(cell[:_SAMPLE_CHARS] for cell in row[:_SAMPLE_COLUMNS])


def _prose(rows: Sequence[Row]) -> str:
    """Return cells that are sentences, for the language detector."""
    found: list[str] = []
    left = _LANGUAGE_CHARS
    for row in rows:
        for cell in row:
            if left > 0 and cell.count(" ") >= _LEAST_SPACES:
                found.append(cell[:left])
                left -= len(cell)
    return "\n".join(found)
