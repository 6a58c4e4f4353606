"""One column of a table, read in chunks: its type, nulls, range and examples.

A cell may be read in several ways: `1,234` is a whole number by one convention and a decimal by
the other, `03/04/2021` is in March or in April. Every reading is tallied; `settle` chooses when
all cells are seen, so neither the order of rows nor the size of a chunk changes the answer.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from batchmill.operations.documents.dates import DAY_FIRST, MONTH_FIRST, MONTHS, Day, read_date
from batchmill.operations.documents.distinct import Distinct
from batchmill.operations.documents.numbers import COMMA, CURRENCIES, POINT, Number, read_number
from batchmill.operations.documents.result import Column

NULLS = frozenset(
    {"", "NULL", "null", "Null", "None", "\\N", "N/A", "n/a", "#N/A", "NaN", "nan", "-", "–", "—"}
)
"""What stands for nothing. Not `NA`: it is Namibia's code."""

_WORDS = "true false yes no y n t f ja nein oui non sí si evet hayır wahr falsch vrai faux"
BOOLEANS = frozenset(_WORDS.split())
SHARE = 0.95
"""A column has a type when this share of its cells that are not null can be read so."""

_EXAMPLES = 5
_LONGEST_VALUE = 48
_EXAMPLE_CHARS = 100
_MANY = 64  # fewer different values in a chunk are read one by one
_JOIN = "\x1f"  # the unit separator stands in no cell; if it does, cells are read one by one

_INTEGERS = re.compile(r"(?:(?:-?[1-9]\d{0,17}|0)\x1f)*")
_DECIMALS = {
    POINT: re.compile(r"(?:-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?\x1f)*"),
    COMMA: re.compile(r"(?:-?(?:0|[1-9]\d{0,17})(?:,\d{1,17})?\x1f)*"),
}
_GROUPED = re.compile(r"-?[1-9]\d{0,2}\.\d{3}")
_DAYS = re.compile(r"(?:\d{4}-\d\d-\d\d(?:[ T](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)?\x1f)*")
_NUMBER_STARTS = frozenset("0123456789-+−.,(") | {unit for unit in CURRENCIES if len(unit) == 1}
_UNIT_STARTS = frozenset(unit[:2] for unit in CURRENCIES)
_MONTH_STARTS = frozenset(name[:3] for name in MONTHS)
_LONGEST_WORD = max(map(len, BOOLEANS))


Values = Mapping[str, object]
"""The different cells of a chunk, in the order of their first mention."""


class TypeTally:
    """How many cells were read one way, and the least and greatest of them."""

    __slots__ = ("count", "greatest", "least")

    def __init__(self) -> None:
        self.count = 0
        self.least: Any = None
        self.greatest: Any = None

    def add(self, values: Sequence[Any], count: int) -> None:
        """Take in different values that stand for `count` cells."""
        if not values:
            return
        self.count += count
        self.reach(min(values), max(values))

    def reach(self, least: Any, greatest: Any) -> None:  # noqa: ANN401 - numbers or texts
        """Widen the range."""
        self.least = least if self.least is None or least < self.least else self.least
        self.greatest = (
            greatest if self.greatest is None or greatest > self.greatest else self.greatest
        )

    def merged(self, other: "TypeTally") -> "TypeTally":
        """Return the tally of both."""
        both = TypeTally()
        both.count = self.count + other.count
        for each in (self, other):
            if each.count:
                both.reach(each.least, each.greatest)
        return both


@dataclass(frozen=True, slots=True)
class Customs:
    """How a table writes what a column alone does not tell."""

    mark: str = POINT
    order: str = DAY_FIRST


class ColumnTally:
    """What is known of a column so far."""

    def __init__(self) -> None:
        self.cells = 0
        self.nulls = 0
        self.plain = TypeTally()
        self.numbers = {POINT: TypeTally(), COMMA: TypeTally()}
        self.decimals = Counter[str]()
        self.days = TypeTally()
        self.short_days = {DAY_FIRST: TypeTally(), MONTH_FIRST: TypeTally()}
        self.booleans = 0
        self.texts = TypeTally()
        self.votes = Counter[str]()
        self.units = Counter[str]()
        self.forms = Counter[str]()
        self.distinct = Distinct()
        self.examples: list[str] = []

    def add_nulls(self, count: int) -> None:
        """Take in cells that rows of the file are too short to have."""
        self.cells += count
        self.nulls += count

    def trust_point(self, count: int) -> None:
        """Say that `count` cells were numbers in the file, written out with a decimal point."""
        self.votes[POINT] += count

    def add(self, cells: Sequence[str]) -> None:
        """Take in the column's part of a chunk of rows."""
        self.cells += len(cells)
        values: Values = dict.fromkeys(cells)
        nulls = NULLS & values.keys()
        if nulls:
            filled = [cell for cell in cells if cell not in nulls]
            self.nulls += len(cells) - len(filled)
            cells, values = filled, dict.fromkeys(filled)
        if len(values) < _MANY or not self._add_uniform(values, cells):
            values = self._add_one_by_one(Counter(cells))
        if values:
            self.texts.reach(min(values), max(values))
            self.distinct.add(values)
            self._keep_examples(values)

    def _keep_examples(self, values: Iterable[str]) -> None:
        if len(self.examples) < _EXAMPLES:
            fresh = dict.fromkeys([*self.examples, *(text[:_EXAMPLE_CHARS] for text in values)])
            self.examples = list(fresh)[:_EXAMPLES]

    # ------------------------------------------------ a chunk of one kind, at the speed of C

    def _add_uniform(self, values: Values, cells: Sequence[str]) -> bool:
        joined = _JOIN.join(values) + _JOIN
        if joined.count(_JOIN) != len(values):
            return False
        return any(take(self, values, cells, joined) for take in _UNIFORM)

    def _add_integers(self, values: Values, cells: Sequence[str], joined: str) -> bool:
        if _INTEGERS.fullmatch(joined) is None:
            return False
        self.plain.add(list(map(int, values)), len(cells))
        return True

    def _add_decimals(self, _: Values, cells: Sequence[str], joined: str) -> bool:
        for mark, pattern in _DECIMALS.items():
            if pattern.fullmatch(joined):
                self._take_decimals([cell.replace(COMMA, POINT) for cell in cells], mark)
                return True
        return False

    def _take_decimals(self, cells: Sequence[str], mark: str) -> None:
        """Take in decimals written with a point, which the column writes as `mark`."""
        whole = [text for text in cells if POINT not in text]
        parts = [text for text in cells if POINT in text]
        either = [text for text in parts if text[-4:-3] == POINT and _GROUPED.fullmatch(text)]
        self.plain.add(list(map(int, whole)), len(whole))
        self.numbers[mark].add(list(map(float, parts)), len(parts))
        self.decimals[mark] += len(parts)
        grouped = [int(text.replace(POINT, "")) for text in either]
        self.numbers[COMMA if mark == POINT else POINT].add(grouped, len(grouped))
        self.votes[mark] += len(parts) - len(either)

    def _add_days(self, _: Values, cells: Sequence[str], joined: str) -> bool:
        if _DAYS.fullmatch(joined) is None:
            return False
        texts = joined.replace(" ", "T").split(_JOIN)[:-1]
        try:
            for text in texts:
                date.fromisoformat(text[:10])
        except ValueError:
            return False
        self.days.add(texts, len(cells))
        self.forms["YYYY-MM-DD"] += len(cells)
        return True

    # ------------------------------------------------ any cell

    def _add_one_by_one(self, counts: Counter[str]) -> Counter[str]:
        """Read each different value; return them without space around and without nulls."""
        bare = counts
        if any(text[0].isspace() or text[-1].isspace() for text in counts):
            bare = Counter()
            for text, count in counts.items():
                bare[text.strip()] += count
        for null in NULLS & bare.keys():
            self.nulls += bare.pop(null)
        for text, count in bare.items():
            self._take(text, count)
        return bare

    def _take(self, text: str, count: int) -> None:
        if len(text) <= _LONGEST_WORD and text.lower() in BOOLEANS:
            self.booleans += count
        elif not _may_be_value(text):
            return
        elif number := read_number(text):
            self._take_number(number, count)
        elif day := read_date(text):
            self._take_day(day, count)

    def _take_number(self, number: Number, count: int) -> None:
        self.units[number.unit] += count
        if number.plain and isinstance(number.point, int):
            self.plain.add([number.point], count)
            return
        for mark, value in ((POINT, number.point), (COMMA, number.comma)):
            if value is not None:
                self.numbers[mark].add([value], count)
                self.decimals[mark] += count * isinstance(value, float)
        if number.point is None or number.comma is None:
            self.votes[POINT if number.comma is None else COMMA] += count

    def _take_day(self, day: Day, count: int) -> None:
        self.forms[day.form] += count
        if day.day_first == day.month_first:
            self.days.add([day.day_first], count)
            return
        for order, value in ((DAY_FIRST, day.day_first), (MONTH_FIRST, day.month_first)):
            if value is not None:
                self.short_days[order].add([value], count)
        if day.day_first is None or day.month_first is None:
            self.votes[DAY_FIRST if day.month_first is None else MONTH_FIRST] += count

    # ------------------------------------------------ the answer

    def settle(self, name: str, customs: Customs) -> Column:
        """Return what the column is, where it is not told, by the table's customs."""
        mark = self._voted(POINT, COMMA, customs.mark)
        order = self._voted(DAY_FIRST, MONTH_FIRST, customs.order)
        readings = (
            (self.plain.merged(self.numbers[mark]), self._numeric(mark), self._number_form(mark)),
            (self.days.merged(self.short_days[order]), "date", self._day_form(order)),
            (_counted(self.booleans, self.texts), "boolean", None),
        )
        filled = self.cells - self.nulls
        tally, kind, form = max(readings, key=lambda each: each[0].count)
        if not filled or tally.count < SHARE * filled:
            tally = _counted(filled, self.texts)
            kind, form = "text" if filled else "empty", None
        return Column(
            name=name,
            type=kind,
            nulls=self.nulls,
            distinct=min(self.distinct.count(), filled),
            distinct_is_exact=self.distinct.is_exact,
            min=_short(tally.least),
            max=_short(tally.greatest),
            examples=tuple(self.examples),
            exceptions=filled - tally.count,
            format=form,
            unit=self._unit() if kind in {"integer", "decimal", "currency"} else None,
        )

    def _voted(self, one: str, other: str, custom: str) -> str:
        if self.votes[one] == self.votes[other]:
            return custom
        return one if self.votes[one] > self.votes[other] else other

    def _numeric(self, mark: str) -> str:
        if self._unit() in CURRENCIES:
            return "currency"
        return "decimal" if self.decimals[mark] else "integer"

    def _unit(self) -> str | None:
        """Return the unit that half of the numbers or more carry."""
        unit, count = _most_common(self.units) or ("", 0)
        numbers = self.plain.count + max(tally.count for tally in self.numbers.values())
        return unit if unit and 2 * count >= numbers else None

    def _number_form(self, mark: str) -> str | None:
        return f"decimal {_MARK_NAMES[mark]}" if self.decimals[mark] else None

    def _day_form(self, order: str) -> str | None:
        form, _ = _most_common(self.forms) or (None, 0)
        if form is None or not form.startswith("a"):
            return form
        first, second = order.split("/")
        return f"{first}{form[1]}{second}{form[3:]}"


_MARK_NAMES = {POINT: "point", COMMA: "comma"}
_UNIFORM: tuple[Callable[[ColumnTally, Values, Sequence[str], str], bool], ...] = (
    ColumnTally._add_integers,
    ColumnTally._add_decimals,
    ColumnTally._add_days,
)


def _may_be_value(text: str) -> bool:
    """Sort out most texts before any pattern is tried: this loop is the slowest of all."""
    return (
        text[0] in _NUMBER_STARTS or text[:2] in _UNIT_STARTS or text[:3].lower() in _MONTH_STARTS
    ) and len(text) <= _LONGEST_VALUE


def _most_common(counts: Counter[str]) -> tuple[str, int] | None:
    """Return the commonest and its count; of equals the last by name, whichever came first."""
    return max(counts.items(), key=lambda each: (each[1], each[0]), default=None)


def _counted(count: int, texts: TypeTally) -> TypeTally:
    """Return a tally of `count` with the range of the texts."""
    tally = TypeTally()
    tally.count, tally.least, tally.greatest = count, texts.least, texts.greatest
    return tally


def _short(value: Any) -> Any:  # noqa: ANN401 - the JSON border
    return value[:_EXAMPLE_CHARS] if isinstance(value, str) else value
