"""A column's type, range and counts, whatever the order of rows and the size of chunks."""

import random
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.operations.documents.columns import NULLS, ColumnTally, Customs
from batchmill.operations.documents.dates import DAY_FIRST, MONTH_FIRST
from batchmill.operations.documents.numbers import COMMA
from batchmill.operations.documents.result import Column
from support.ring import examples


def column(cells: list[str], *, chunk: int = 10_000, customs: Customs | None = None) -> Column:
    tally = ColumnTally()
    for at in range(0, len(cells), chunk):
        tally.add(cells[at : at + chunk])
    return tally.settle("it", customs or Customs())


def padded(cells: list[str]) -> list[str]:
    """Return the cells with spaces around, which sends every one down the slow path."""
    return [f" {cell} " for cell in cells]


values = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.decimals(-1000, 1000, places=2).map(str),
    st.decimals(-1000, 1000, places=3).map(str),
    st.decimals(-1000, 1000, places=2).map(lambda each: str(each).replace(".", ",")),
    st.dates().map(date.isoformat),
    st.dates(date(1990, 1, 1)).map(lambda day: day.strftime("%d/%m/%Y")),
    st.sampled_from(["true", "no", "3 €", "12 %", "Ann", "0", "", "-", " x ", "7 ", "1,234"]),
    st.text(max_size=8),
)


@given(st.lists(values, max_size=40), st.integers(1, 12))
def test_the_size_of_chunks_makes_no_difference(cells: list[str], chunk: int) -> None:
    assert column(cells, chunk=chunk) == column(cells)


@given(st.lists(values, max_size=40), st.randoms())
def test_the_order_of_rows_changes_the_examples_only(
    cells: list[str], chance: random.Random
) -> None:
    turned = chance.sample(cells, len(cells))
    assert replace(column(turned), examples=()) == replace(column(cells), examples=())


MANY = 100
uniform = {
    "integers": lambda chance: str(chance.randint(-(10**9), 10**9)),
    "cents": lambda chance: f"{chance.uniform(-999, 999):.2f}",
    "thousandths": lambda chance: f"{chance.uniform(-9999, 9999):.3f}",
    "comma": lambda chance: f"{chance.uniform(-9999, 9999):.3f}".replace(".", ","),
    "wholes and parts": lambda chance: f"{chance.uniform(-999, 999):.{chance.randint(0, 2)}f}",
    "days": lambda chance: (date(2000, 1, 1) + timedelta(chance.randint(0, 9999))).isoformat(),
    "moments": lambda chance: f"2021-01-{chance.randint(10, 31)} 0{chance.randint(0, 9)}:30:00",
    "false days": lambda chance: f"2021-02-{chance.randint(10, 31)} 0{chance.randint(0, 9)}:30:00",
    "open": lambda chance: f"{chance.randint(1, 999)}.{chance.randint(0, 999):03d}",
    "separators": lambda chance: (
        "1\x1f2" if chance.random() < 0.03 else f"{chance.uniform(0, 9):.4f}"
    ),
}


@pytest.mark.parametrize("kind", uniform)
@settings(max_examples=examples(25))
@given(seed=st.integers(0, 2**32), mark=st.sampled_from(".,"))
def test_a_uniform_chunk_gives_what_reading_one_by_one_gives(
    kind: str, seed: int, mark: str
) -> None:
    chance = random.Random(seed)  # noqa: S311
    cells = [uniform[kind](chance) for _ in range(MANY)]
    customs = Customs(mark=mark)
    assert column(cells, customs=customs) == column(padded(cells), customs=customs)


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1))
def test_whole_numbers_are_ordered_as_numbers(numbers: list[int]) -> None:
    found = column(list(map(str, numbers)))
    assert (found.type, found.min, found.max) == ("integer", min(numbers), max(numbers))
    assert found.distinct == len(set(numbers))


@given(st.lists(st.integers(100, 10**9), min_size=1), st.sampled_from(".,"))
def test_amounts_keep_their_size_by_either_convention(cents: list[int], mark: str) -> None:
    found = column([f"{each // 100}{mark}{each % 100:02d}" for each in cents])
    assert (found.min, found.max) == (min(cents) / 100, max(cents) / 100)
    assert found.format == {".": "decimal point", ",": "decimal comma"}[mark]


@given(st.lists(st.dates(date(1970, 1, 1), date(2060, 1, 1)), min_size=1), st.booleans())
def test_one_day_after_the_twelfth_decides_for_the_column(
    days: list[date], day_first: bool
) -> None:
    form = "%d/%m/%Y" if day_first else "%m/%d/%Y"
    telling = date(2020, 5, 31)
    found = column([day.strftime(form) for day in (*days, telling)])
    assert found.type == "date"
    assert found.min == min(*days, telling).isoformat()
    assert found.max == max(*days, telling).isoformat()
    assert found.format == ("DD/MM/YYYY" if day_first else "MM/DD/YYYY")


def test_one_clear_decimal_mark_decides_for_the_column() -> None:
    found = column(["1.234", "2.500", "7,5"])
    assert (found.type, found.min, found.max) == ("decimal", 7.5, 2500)
    found = column(["1.234", "2.500", "7.5"], customs=Customs(mark=COMMA))
    assert (found.type, found.min, found.max) == ("decimal", 1.234, 7.5)


def test_the_form_of_most_dates_is_reported() -> None:
    many = [(date(2000, 1, 1) + timedelta(each)).isoformat() for each in range(100)]
    assert column([*many, "1.1.2000", "1.2.2000"], chunk=100).format == "YYYY-MM-DD"


def test_space_around_a_cell_is_not_part_of_it() -> None:
    found = column(["yes", " yes", "no\t", "no"])
    assert (found.type, found.distinct, found.exceptions) == ("boolean", 2, 0)


def test_open_numbers_follow_the_customs_of_the_table() -> None:
    cells = ["1.234", "2.500"]
    assert column(cells).max == 2.5
    german = column(cells, customs=Customs(mark=COMMA))
    assert (german.type, german.max) == ("integer", 2500)


def test_open_dates_follow_the_customs_of_the_table() -> None:
    cells = ["03/04/2021"]
    assert column(cells, customs=Customs(order=DAY_FIRST)).min == "2021-04-03"
    assert column(cells, customs=Customs(order=MONTH_FIRST)).min == "2021-03-04"


@pytest.mark.parametrize(
    ("cells", "kind", "unit"),
    [
        (["1", "2"], "integer", None),
        (["1", "2.5"], "decimal", None),
        (["€ 1", "€ 2"], "currency", "€"),
        (["1,50 EUR", "2,00 EUR", "3"], "currency", "EUR"),
        (["5 %", "7 %"], "integer", "%"),
        (["2021-01-01", "2021-01-02T10:00:00"], "date", None),
        (["yes", "No", "YES"], "boolean", None),
        (["true", "false", ""], "boolean", None),
        (["0", "1"], "integer", None),
        (["007", "008"], "text", None),
        (["a", "1"], "text", None),
        (["", "NULL", "-"], "empty", None),
        ([], "empty", None),
    ],
)
def test_types(cells: list[str], kind: str, unit: str | None) -> None:
    found = column(cells)
    assert (found.type, found.unit) == (kind, unit)


def test_a_few_remarks_do_not_make_a_column_of_numbers_a_text() -> None:
    found = column([str(number) for number in range(95)] + ["see note"] * 5)
    assert (found.type, found.exceptions, found.max) == ("integer", 5, 94)
    assert column([str(number) for number in range(94)] + ["see note"] * 6).type == "text"


@given(st.lists(values, max_size=40))
def test_every_cell_is_null_of_the_type_or_an_exception(cells: list[str]) -> None:
    found = column(cells)
    assert found.nulls <= len(cells)
    assert 0 <= found.exceptions <= 0.05 * (len(cells) - found.nulls)
    assert found.type not in {"text", "empty"} or found.exceptions == 0


@given(st.lists(st.sampled_from(sorted(NULLS))), st.lists(st.just("x")))
def test_nulls_are_counted_apart_from_values(nulls: list[str], others: list[str]) -> None:
    found = column([*nulls, *others])
    assert found.nulls == len(nulls)
    assert found.distinct == min(1, len(others))


def test_namibia_is_no_null() -> None:
    assert column(["NA", "DE"]).nulls == 0


def test_long_cells_are_cut_in_what_is_shown() -> None:
    found = column(["x" * 500, "y" * 500])
    assert len(found.max) == len(found.examples[0]) == 100
