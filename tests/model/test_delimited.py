"""Quotes and escapes of delimited text, found by what they do to the width of its rows."""

from batchmill.model.delimited import find_dialect, rows_of


def test_a_backslash_before_a_delimiter_keeps_a_row_at_its_width() -> None:
    text = "name;size;pieces\nnuts\\; bolts;3;100\n" + "screws;4;200\n" * 8
    dialect = find_dialect(text)
    assert dialect is not None
    assert (dialect.delimiter, dialect.escape) == (";", "\\")
    assert rows_of(text, dialect)[1] == ["nuts; bolts", "3", "100"]


def test_single_quotes_are_quotes_where_there_are_no_others() -> None:
    text = "name;size;pieces\n'nuts; bolts';'3';'100'\n" + "'screws';'4';'200'\n" * 8
    dialect = find_dialect(text)
    assert dialect is not None
    assert (dialect.delimiter, dialect.quote) == (";", "'")


def test_rows_end_where_csv_cannot_read_on() -> None:
    text = "a;b\n1;2\n" + "x" * 200_000 + ";3\n4;5\n"
    dialect = find_dialect("a;b\n1;2\n")
    assert dialect is not None
    assert rows_of(text, dialect)[:2] == [["a", "b"], ["1", "2"]]
    assert len(rows_of(text, dialect)) == 2
