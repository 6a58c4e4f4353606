"""Documents are told by their content, whatever they are called."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.model import containers, media
from batchmill.model.delimited import find_dialect
from support import documents as samples


def identified(content: bytes) -> media.MediaType | None:
    return containers.identify(io.BytesIO(content))


def test_a_workbook_is_not_an_archive_to_unpack() -> None:
    assert identified(samples.xlsx(samples.sheet_data([["a"]]))) is media.XLSX


def test_a_workbook_is_found_whichever_office_part_stands_first() -> None:
    members = samples.xlsx_members(samples.sheet_data([["a"]]))
    turned = dict(reversed(members.items()))
    assert identified(samples.zipped(turned)) is media.XLSX


def test_macros_make_another_type() -> None:
    sheet = samples.sheet_data([["a"]])
    assert identified(samples.xlsx(sheet, more={"xl/vbaProject.bin": b"x"})) is media.XLSM


def test_a_binary_workbook_is_told_by_its_main_part() -> None:
    binary: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.bin": b"\x83\x01\x00",
    }
    assert identified(samples.zipped(binary)) is media.XLSB


def test_an_ods_names_its_type_in_its_first_member() -> None:
    assert identified(samples.ods("")) is media.ODS


@pytest.mark.parametrize(
    "content",
    [
        samples.zipped({"[Content_Types].xml": "<Types/>", "word/document.xml": "<w/>"}),
        samples.ods("", mime="application/vnd.oasis.opendocument.text"),
        samples.ods("", mime="application/epub+zip"),
        samples.ole2("WordDocument", "1Table"),
        b"",
        b"\x00\x01\x02\x03" * 50,
    ],
)
def test_other_packages_and_binaries_are_refused(content: bytes) -> None:
    assert identified(content) is None


def test_a_zip_of_files_stays_an_archive() -> None:
    assert identified(samples.zipped({"xl/photo.jpg": b"x", "notes.txt": "hello"})) is media.ZIP


@pytest.mark.parametrize("name", ["Workbook", "Book"])
def test_an_ole_file_is_a_workbook_by_its_stream(name: str) -> None:
    padding = [f"Stream {number}" for number in range(9)]  # the directory takes three sectors
    assert identified(samples.ole2(*padding, name)) is media.XLS


def test_an_encrypted_workbook_keeps_its_kind() -> None:
    assert identified(samples.ole2("EncryptionInfo", "EncryptedPackage")) is media.XLSX


@given(st.binary(max_size=600))
def test_a_broken_container_is_nothing_else_and_never_raises(rest: bytes) -> None:
    of_ole = (None, media.XLS, media.XLSX)
    assert identified(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + rest) in of_ole
    assert identified(b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml" + rest) in (None, media.ZIP)
    assert identified(samples.ole2("Workbook")[:512] + rest) in of_ole


@pytest.mark.parametrize("junk", [b"", b"\xef\xbb\xbf", b"\n\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_pdf_may_start_after_a_little_junk(junk: bytes) -> None:
    assert identified(junk + b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n") is media.PDF


def test_prose_about_pdf_is_text() -> None:
    assert identified(b"The header %PDF-1.7 starts a file.") is media.TEXT


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("name;price\nbread;1,20\nmilk;0,99\n", ";"),
        ("a\tb\n1,5\t2,5\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('a,b\n1,"ha\n""ha"""\n3,4\n', ","),
        ("id, name, town\n1, Ann, Rome\n2, Bob, Oslo\n", ","),
    ],
)
def test_the_delimiter_is_the_one_that_gives_rows_of_equal_width(
    content: str, delimiter: str
) -> None:
    found = find_dialect(content)
    assert found is not None
    assert found.delimiter == delimiter


@pytest.mark.parametrize(
    "content",
    [
        "",
        "one line, with a comma",
        "Hello, world\nBye, now\n",
        "It was the best of times, it was the worst of times,\nit was the age of wisdom.\n" * 3,
        "alpha\nbeta\ngamma\n",
    ],
)
def test_prose_has_no_delimiter(content: str) -> None:
    assert find_dialect(content) is None


def test_backslashes_escape_where_that_makes_the_rows_even() -> None:
    found = find_dialect("id,title\n1,Red\\, white\n2,Blue\n3,Green\n4,Grey\n5,Pink\n6,Tan\n")
    assert found is not None
    assert (found.escape, found.columns) == ("\\", 2)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_tables_are_found_in_every_encoding(codec: str) -> None:
    assert media.sniff("Größe;Preis\n1;2\n3;4\n".encode(codec)) is media.CSV


@given(st.binary(min_size=1, max_size=200))
def test_bytes_with_a_nul_and_no_mark_are_never_text(content: bytes) -> None:
    found = media.sniff(b"a\x00" + content)
    assert found is None or not found.mime.startswith("text/")
