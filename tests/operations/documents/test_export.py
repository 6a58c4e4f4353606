"""No exported cell runs as a formula."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.operations.documents.export import RowFile, neutral
from batchmill.operations.documents.numbers import read_number

starts = st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "", "x"])


@given(st.builds(str.__add__, starts, st.text(max_size=12)))
@example("-1+1")
@example("=cmd|' /C calc'!A0")
@example("+49 30 123")
@example("@SUM(1)")
def test_no_cell_starts_a_formula_unless_it_is_a_number(cell: str) -> None:
    made = neutral(cell)
    assert made in (cell, f"'{cell}")
    if made[:1] in tuple("=+-@\t\r"):
        assert made == "" or read_number(made) or made.strip("+-0123456789.,% eE") == ""
        assert not set(made[1:]) & set("=@()|!")


@pytest.mark.parametrize("cell", ["-5", "+1", "-1,234.50", "-3 %", "1-1", "a=b", "", "12"])
def test_numbers_and_harmless_texts_stay_as_they_are(cell: str) -> None:
    assert neutral(cell) == cell


@pytest.mark.parametrize(
    "cell", ["=1", "+a", "-a", "--1", "-", "@x", "\t=1", "\r=1", "-1+1", "\uff1d1"]
)
def test_everything_else_gets_an_apostrophe(cell: str) -> None:
    assert neutral(cell) == f"'{cell}"


@given(st.lists(st.lists(st.text(max_size=9), min_size=1, max_size=4), max_size=9))
def test_rows_read_back_as_they_were_but_for_apostrophes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    with RowFile(path) as file:
        file.write(rows)
    text = path.read_bytes().decode()
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [[neutral(cell) for cell in row] for row in rows]
