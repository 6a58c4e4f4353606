"""Workbooks: sheets, types of cells, and what no parser gets to see."""

import io
import json
import struct
import zipfile
from pathlib import Path

import pytest

from batchmill.model.limits import Limits
from batchmill.operations.documents.workbook import cell_text
from support.documents import analysed, ods, sheet_data, xls, xlsx, xlsx_members, zipped

ROWS: list[list[object]] = [
    ["name", "price", "since", "fresh", "note"],
    ["bread", 1.5, "date:44197", True, "1.234"],
    ["milk", 20, "date:44198", False, "=1+1"],
    ["tea", None, "date:44199.5", True, None],
]


def test_columns_have_the_types_of_their_cells(tmp_path: Path) -> None:
    document = analysed(tmp_path, xlsx(sheet_data(ROWS)), name="a.xlsx").document
    (sheet,) = document["sheets"]
    assert (sheet["name"], sheet["rows"], sheet["header"]) == ("Sheet1", 3, True)
    kinds = {column["name"]: column["type"] for column in sheet["columns"]}
    assert kinds == {
        "name": "text",
        "price": "decimal",
        "since": "date",
        "fresh": "boolean",
        "note": "text",
    }
    price, since = sheet["columns"][1], sheet["columns"][2]
    assert (price["min"], price["max"], price["nulls"]) == (1.5, 20, 1)
    assert (since["min"], since["max"]) == ("2021-01-01", "2021-01-03T12:00:00")


def test_numbers_of_cells_are_never_taken_for_thousands(tmp_path: Path) -> None:
    rows: list[list[object]] = [["weight", "typed"], [1.234, "3,5"], [2.345, "4,5"], [10, "x"]]
    columns = analysed(tmp_path, xlsx(sheet_data(rows))).document["sheets"][0]["columns"]
    assert (columns[0]["type"], columns[0]["max"], columns[0]["min"]) == ("decimal", 10, 1.234)


def test_every_sheet_is_an_output_without_formulas(tmp_path: Path) -> None:
    made = analysed(tmp_path, xlsx(sheet_data(ROWS), "", sheet_data([["x"]])), name="a.xlsx")
    files = [sheet["file"] for sheet in made.document["sheets"]]
    assert files == ["a.sheet1.csv", None, "a.sheet2.csv"]
    assert made.output("a.sheet1.csv").decode().splitlines()[2] == (
        "milk,20,2021-01-02,false,'=1+1"
    )


def test_rows_may_be_delivered_as_json_or_not_at_all(tmp_path: Path) -> None:
    body = xlsx(sheet_data([["a", "b"], ["=1", 2]]))
    made = analysed(tmp_path, body, name="a.xlsx", rows="json")
    assert json.loads(made.output("a.sheet1.json")) == [["a", "b"], ["=1", "2"]]
    assert analysed(tmp_path, body, name="b.xlsx", rows="none").names == []


def test_rows_over_the_limit_are_not_read(tmp_path: Path) -> None:
    body = xlsx(sheet_data([["n"], *([n] for n in range(50))]))
    document = analysed(tmp_path, body, limits=Limits(sheet_rows=20)).document
    assert document["sheets"][0]["rows"] == 19
    assert document["limits_hit"] == ["rows"]


def test_title_author_and_dates_come_from_the_properties(tmp_path: Path) -> None:
    core = (
        '<c:coreProperties xmlns:c="urn:c" xmlns:dc="urn:dc" xmlns:t="urn:t"><dc:title>Prices'
        "</dc:title><dc:creator>Ann</dc:creator><t:created>2021-01-01T00:00:00Z</t:created>"
        "<t:modified>2021-01-02T00:00:00Z</t:modified></c:coreProperties>"
    )
    body = xlsx(sheet_data(ROWS), more={"docProps/core.xml": core})
    document = analysed(tmp_path, body).document
    assert (document["title"], document["author"]) == ("Prices", "Ann")
    assert (document["created_at"], document["modified_at"]) == (
        "2021-01-01T00:00:00Z",
        "2021-01-02T00:00:00Z",
    )


def test_a_hidden_sheet_is_read_and_marked(tmp_path: Path) -> None:
    members = xlsx_members(sheet_data([["a"]]))
    workbook = str(members["xl/workbook.xml"]).replace("<sheet ", '<sheet state="hidden" ')
    body = zipped(members | {"xl/workbook.xml": workbook})
    assert analysed(tmp_path, body).document["sheets"][0]["visible"] is False


def test_an_old_workbook_is_read(tmp_path: Path) -> None:
    body = xls([["name", "price"], ["bread", 1.5], ["milk", 2.0]])
    document = analysed(tmp_path, body, name="a.xls").document
    (sheet,) = document["sheets"]
    assert (document["mime"], sheet["name"], sheet["rows"]) == (
        "application/vnd.ms-excel",
        "Prices",
        2,
    )
    assert [column["type"] for column in sheet["columns"]] == ["text", "decimal"]


def test_a_workbook_without_rows_is_fine(tmp_path: Path) -> None:
    (sheet,) = analysed(tmp_path, xlsx("")).document["sheets"]
    assert (sheet["rows"], sheet["columns"]) == (0, [])


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1.5, "1.5"), (-0.25, "-0.25"), (1e300, "1e+300"), (True, "true"), (3, "3")],
)
def test_cells_are_written_short(value: float | bool, text: str) -> None:
    assert cell_text(value) == text


# ---------------------------------------------------------------- refused before parsing

DOCTYPE = '<!DOCTYPE x SYSTEM "file:///etc/hostname">'
ENTITY = '<!ENTITY a "aaaaaaaaaa">'


def error_of(folder: Path, body: bytes, *, limits: Limits | None = None) -> tuple[str, str]:
    return analysed(folder, body, name="a.xlsx", limits=limits).error


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "_rels/.rels"])
@pytest.mark.parametrize("place", [0, 2**20 - 4, 2**20, 3 * 2**20 - 1])
@pytest.mark.parametrize("declaration", [DOCTYPE, ENTITY])
def test_declarations_are_refused_in_every_part_and_place(
    tmp_path: Path, part: str, place: int, declaration: str
) -> None:
    members = xlsx_members(sheet_data([["a"]]))
    head, body = str(members[part]).split("?>", 1)
    padding = f"<!--{'x' * (place - len(head) - 9)}-->" if place else ""
    declared = zipped(members | {part: f"{head}?>{padding}{declaration}{body}"})
    assert error_of(tmp_path, declared) == (
        "unsafe_file",
        "a.xlsx was refused: a part declares a DOCTYPE or an ENTITY; save it again and send that",
    )


def test_declarations_in_another_encoding_are_refused_too(tmp_path: Path) -> None:
    members = xlsx_members(sheet_data([["a"]]))
    part = "xl/worksheets/sheet1.xml"
    wide = f'<?xml version="1.0" encoding="UTF-16"?>{DOCTYPE}<a/>'.encode("utf-16")
    assert error_of(tmp_path, zipped(members | {part: wide}))[0] == "unsafe_file"


def test_declarations_are_refused_in_ods(tmp_path: Path) -> None:
    body = ods("<!DOCTYPE x>")
    assert analysed(tmp_path, body, name="a.ods").error[0] == "unsafe_file"


def test_a_part_that_unpacks_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    bomb = xlsx(sheet_data([["a"]]), more={"xl/media/zeros.bin": bytes(20_000_000)})
    assert len(bomb) < 100_000
    code, message = error_of(tmp_path, bomb)
    assert code == "unsafe_file"
    assert "unpacks to far more" in message


def test_parts_that_together_unpack_over_the_limit_are_refused(tmp_path: Path) -> None:
    parts = {f"xl/media/{n}.bin": bytes(range(256)) * 400 for n in range(5)}
    body = xlsx(sheet_data([["a"]]), more=parts)
    assert error_of(tmp_path, body, limits=Limits(unpacked_bytes=300_000))[0] == "unsafe_file"


def test_parts_that_share_bytes_are_refused(tmp_path: Path) -> None:
    body = xlsx(sheet_data([["a"]]), more={"one.bin": b"x", "two.bin": b"x"})
    places = [info.header_offset for info in zipfile.ZipFile(io.BytesIO(body)).infolist()]
    shared = body.replace(
        struct.pack("<I", places[-1]) + b"two", struct.pack("<I", places[-2]) + b"two"
    )
    assert shared != body
    assert "its parts overlap" in error_of(tmp_path, shared)[1]


def test_an_encrypted_part_is_said(tmp_path: Path) -> None:
    body = bytearray(xlsx(sheet_data([["a"]])))
    for mark, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        body[body.rfind(mark) + flags] |= 1
    assert error_of(tmp_path, bytes(body))[0] == "encrypted_file"


def test_a_part_with_a_wrong_checksum_is_unreadable(tmp_path: Path) -> None:
    body = xlsx(sheet_data([["a"]]), more={"xl/media/a.bin": b"some bytes"})
    info = zipfile.ZipFile(io.BytesIO(body)).getinfo("xl/media/a.bin")
    wrong = body.replace(struct.pack("<I", info.CRC), struct.pack("<I", info.CRC ^ 1))
    assert error_of(tmp_path, wrong)[0] == "unreadable_file"


def test_xml_that_is_not_well_formed_is_unreadable(tmp_path: Path) -> None:
    assert error_of(tmp_path, xlsx('<row r="1"><c r="A1"></row>'))[0] == "unreadable_file"


@pytest.mark.parametrize("far", ["XFD1048576", "A1048576"])
def test_a_stray_cell_far_out_does_not_take_all_memory(tmp_path: Path, far: str) -> None:
    row = far.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    stray = '<row r="1"><c r="AZZ1"><v>1</v></c></row>'
    stray += f'<row r="{row}"><c r="{far}"><v>2</v></c></row>'
    code, message = error_of(tmp_path, xlsx(stray))
    assert code == "document_too_large"
    assert "a sheet that spans more than 33,554,432 cells" in message


def test_repeated_cells_of_an_ods_do_not_take_all_memory(tmp_path: Path) -> None:
    cell = '<table:table-cell office:value-type="string" table:number-columns-repeated="1000">'
    row = f'<table:table-row table:number-rows-repeated="1000000000">{cell}<text:p>x</text:p>'
    body = ods(f"{row}</table:table-cell></table:table-row>")
    assert analysed(tmp_path, body, name="a.ods").error[0] == "document_too_large"
