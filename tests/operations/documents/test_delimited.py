"""CSV and TSV: dialect, header, types, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.model.limits import Limits
from batchmill.operations.documents.tables import TableTally, is_header
from support.documents import analysed
from support.ring import examples

PRICES = "Artikel;Preis;Datum\nBrot;1.234,50;03/04/2021\nMilch;0,99;31/12/2021\nTee;;\n"


def table_of(folder: Path, content: str | bytes, **options: Any) -> Any:
    body = content.encode() if isinstance(content, str) else content
    return analysed(folder, body, **options).document["tables"][0]


def test_a_german_price_list_is_understood(tmp_path: Path) -> None:
    document = analysed(tmp_path, PRICES.encode("cp1252"), name="preise.csv").document
    assert (document["kind"], document["mime"]) == ("table", "text/csv")
    assert document["dialect"] == {
        "delimiter": ";",
        "quote": '"',
        "escape": None,
        "consistency": 1.0,
    }
    (table,) = document["tables"]
    assert (table["rows"], table["width"], table["header"]) == (3, 3, True)
    name, price, day = table["columns"]
    assert (name["name"], name["type"], name["distinct"]) == ("Artikel", "text", 3)
    assert (price["type"], price["max"], price["nulls"]) == ("decimal", 1234.5, 1)
    assert (day["type"], day["min"], day["format"]) == ("date", "2021-04-03", "DD/MM/YYYY")
    assert table["sample"][0] == ["Brot", "1.234,50", "03/04/2021"]


def test_tabs_make_another_type(tmp_path: Path) -> None:
    document = analysed(tmp_path, b"a\tb\n1\t2\n3\t4\n").document
    assert (document["mime"], document["dialect"]["delimiter"]) == (
        "text/tab-separated-values",
        "\t",
    )


def test_a_semicolon_file_reads_open_numbers_with_a_decimal_comma(tmp_path: Path) -> None:
    columns = table_of(tmp_path, "a;b\nx;1.234\ny;2.345\n")["columns"]
    assert (columns[1]["type"], columns[1]["max"]) == ("integer", 2345)


def test_a_column_that_tells_decides_for_one_that_does_not(tmp_path: Path) -> None:
    columns = table_of(tmp_path, "a|b\n1,5|1.234\n2,5|2.345\n")["columns"]
    assert (columns[1]["type"], columns[1]["max"]) == ("integer", 2345)


def test_titles_above_the_header_are_left_out(tmp_path: Path) -> None:
    table = table_of(tmp_path, "Prices 2021,,\n,,\nname,price,unit\nbread,1,kg\nmilk,2,l\n")
    assert (table["preamble_rows"], table["rows"]) == (2, 2)
    assert [column["name"] for column in table["columns"]] == ["name", "price", "unit"]


def test_a_table_without_header_keeps_its_first_row(tmp_path: Path) -> None:
    table = table_of(tmp_path, "bread,1\nmilk,2\n")
    assert (table["header"], table["rows"]) == (False, 2)
    assert [column["name"] for column in table["columns"]] == ["column 1", "column 2"]


def test_quoted_cells_may_hold_delimiters_quotes_and_lines(tmp_path: Path) -> None:
    table = table_of(tmp_path, 'a,b\n1,"ha, \n""ha"""\n3,4\n')
    assert table["rows"] == 2
    assert table["sample"][0] == ["1", 'ha, \n"ha"']


def test_uneven_rows_are_counted_as_nulls_and_said(tmp_path: Path) -> None:
    rows = "a,b,c\n" + "1,2,3\n" * 30 + "4\n" + "5,6,7,8\n"
    document = analysed(tmp_path, rows.encode()).document
    (table,) = document["tables"]
    assert table["width"] == 4
    assert [column["nulls"] for column in table["columns"]] == [0, 1, 1, 31]
    assert document["warnings"] == ["2 of 32 rows have another number of cells than most"]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a,b\n\n1,2\n\n3,4\n")
    assert (table["rows"], table["columns"][0]["nulls"]) == (2, 0)


def test_the_limit_of_rows_counts_over_all_chunks(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,2\n" * 25_000
    document = analysed(tmp_path, content, limits=Limits(sheet_rows=15_000)).document
    assert document["tables"][0]["rows"] == 14_999
    assert document["warnings"] == ["only the first 15,000 rows were read"]


def test_rows_over_the_limit_are_not_read(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,2\n" * 50
    document = analysed(tmp_path, content, limits=Limits(sheet_rows=20)).document
    assert document["tables"][0]["rows"] == 19
    assert document["limits_hit"] == ["rows"]


@pytest.mark.parametrize(
    ("content", "limits", "said"),
    [
        (b"a,b\n1,2\n" * 9 + b"1" * 60, Limits(csv_line_bytes=50), "a line of more than 50 bytes"),
        (b"a,b,c\n1,2,3\n", Limits(sheet_columns=2), "a row of more than 2 cells"),
    ],
)
def test_lines_and_rows_without_end_are_refused(
    tmp_path: Path, content: bytes, limits: Limits, said: str
) -> None:
    code, message = analysed(tmp_path, content, name="a.csv", limits=limits).error
    assert code == "document_too_large"
    assert message == f"a.csv has {said}; split it or raise the limit"


def test_a_quotation_mark_that_never_closes_is_unreadable(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,2\n" * 2000 + b'1,"' + b"3,4\n" * 2000
    code, message = analysed(
        tmp_path, content, name="a.csv", limits=Limits(csv_line_bytes=5000)
    ).error
    assert code == "unreadable_file"
    assert "a quotation mark is probably missing its partner" in message


def test_columns_beyond_the_listed_are_counted(tmp_path: Path) -> None:
    wide = "\n".join(",".join(f"{prefix}{n}" for n in range(300)) for prefix in ("c", "1", "2"))
    document = analysed(tmp_path, wide.encode()).document
    assert (document["tables"][0]["width"], len(document["tables"][0]["columns"])) == (300, 256)
    assert document["limits_hit"] == ["columns_listed"]


def test_a_copy_is_utf8_with_commas_and_without_formulas(tmp_path: Path) -> None:
    content = "name;note\nBörek;=1+1\nÇay;-5\n".encode("cp1254")
    made = analysed(tmp_path, content, name="a.csv", copy_delimited=True)
    assert made.document["tables"][0]["file"] == "a.rows.csv"
    assert made.output("a.rows.csv").decode() == "name,note\r\nBörek,'=1+1\r\nÇay,-5\r\n"


def test_a_json_copy_keeps_cells_as_they_are(tmp_path: Path) -> None:
    content = "name;note\nBörek;=1+1\nx;\n".encode()
    made = analysed(tmp_path, content, name="a.csv", copy_delimited=True, rows="json")
    rows = json.loads(made.output("a.rows.json"))
    assert rows == [["name", "note"], ["Börek", "=1+1"], ["x", ""]]


def test_progress_never_goes_back(tmp_path: Path) -> None:
    seen: list[float] = []
    content = b"number,word\n" + b"".join(b"%d,word\n" % n for n in range(60_000))
    analysed(
        tmp_path,
        content,
        on_progress=lambda each: seen.append(each.fraction) if each.step == "analyze" else None,
    )
    assert seen == sorted(seen)
    assert len(seen) > 6
    assert seen[-1] == 1


def test_language_is_told_where_cells_hold_sentences(tmp_path: Path) -> None:
    text = "The bread was fresh and the delivery came right on time to our door"
    content = "id,review\n" + "".join(f"{n},{text}\n" for n in range(5))
    assert analysed(tmp_path, content.encode()).document["language"]["code"] == "en"


@settings(max_examples=examples(40))
@given(st.lists(st.lists(st.text(max_size=4), max_size=5), max_size=30), st.integers(1, 9))
def test_every_cell_of_any_table_is_counted_once(rows: list[list[str]], chunk: int) -> None:
    tally = TableTally("it")
    for at in range(0, len(rows), chunk):
        tally.add(rows[at : at + chunk])
    table = tally.settle()
    assert table.rows + table.preamble_rows + table.header == len(rows)
    assert all(column.nulls + column.distinct <= table.rows for column in table.columns)
    assert all(tally.cells == table.rows for tally in tally.columns)


@pytest.mark.parametrize(
    ("first", "header"),
    [
        (["name", "price"], True),
        (["name", ""], True),
        (["name", "", ""], False),
        (["name", "name"], False),
        (["name", "3"], False),
        (["name", "2021-01-01"], False),
    ],
)
def test_a_header_is_different_texts(first: list[str], header: bool) -> None:
    assert is_header(first, [["x", "1"]]) == header
