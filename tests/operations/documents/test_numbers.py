"""Numbers are read by the convention they are written in, and never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.documents.numbers import CURRENCIES, read_number

cents = st.integers(-(10**12), 10**12)
groups = {".": ["", ",", "'", " ", "\u00a0", "\u2019"], ",": ["", ".", "'", " ", "\u202f"]}


def written(value_cents: int, mark: str, group: str) -> str:
    """Write an amount of cents as a person would, with two decimals."""
    whole, part = divmod(abs(value_cents), 100)
    digits = f"{whole:,}".replace(",", group)
    return f"{'-' if value_cents < 0 else ''}{digits}{mark}{part:02d}"


@given(value=cents, mark=st.sampled_from([".", ","]), data=st.data())
def test_what_is_written_with_two_decimals_is_read_back(
    value: int, mark: str, data: st.DataObject
) -> None:
    group = data.draw(st.sampled_from(groups[mark]))
    number = read_number(written(value, mark, group))
    assert number is not None
    own, other = (number.point, number.comma) if mark == "." else (number.comma, number.point)
    assert own == value / 100
    assert other is None


@given(st.integers(-(10**17), 10**17))
def test_whole_numbers_are_the_same_by_both_conventions(value: int) -> None:
    number = read_number(str(value))
    assert number is not None
    assert number.plain
    assert number.point == value
    assert isinstance(number.point, int)


@given(st.integers(1, 999), st.integers(0, 999))
def test_three_digits_after_one_mark_stay_open(thousands: int, rest: int) -> None:
    number = read_number(f"{thousands},{rest:03d}")
    assert number is not None
    assert number.point == thousands * 1000 + rest
    assert number.comma == float(f"{thousands}.{rest:03d}")
    turned = read_number(f"{thousands}.{rest:03d}")
    assert turned is not None
    assert (turned.comma, turned.point) == (number.point, number.comma)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("€ 12.50", 12.5, "€"),
        ("12.50 €", 12.5, "€"),
        ("$-7", -7, "$"),
        ("-$7", -7, "$"),
        ("(1,234.50)", -1234.5, ""),
        ("USD 3", 3, "USD"),
        ("15 %", 15, "%"),
        ("\u22124.5", -4.5, ""),
        ("1e-3", 0.001, ""),
        (".5", 0.5, ""),
        ("0.123", 0.123, ""),
    ],
)
def test_signs_and_units_stand_on_either_side(text: str, value: float, unit: str) -> None:
    number = read_number(text)
    assert number is not None
    assert (number.point, number.unit) == (value, unit)


@pytest.mark.parametrize("unit", sorted(CURRENCIES))
def test_every_currency_is_known_before_and_after(unit: str) -> None:
    for text in (f"{unit} 1.50", f"1.50 {unit}", f"{unit}1.50", f"1.50{unit}"):
        number = read_number(text)
        assert number is not None
        assert (number.point, number.unit) == (1.5, unit)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "abc", "1.2.3", "12,34,56", "1,23.4", "007", "02134", "1 2", "5.", "1.234,5.6"),
        *("12-", "--5", "$5€", "(5", "5)", "1e999", "1234567890123456789", "1'23", "1,2345,678"),
        *("+49 30 123456", "192.168.0.1", "½", "٣", "0x1F", "NaN", "inf"),
    ],
)
def test_identifiers_and_broken_numbers_are_texts(text: str) -> None:
    assert read_number(text) is None


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_without_an_error(text: str) -> None:
    number = read_number(text)
    assert number is None or number.point is not None or number.comma is not None
