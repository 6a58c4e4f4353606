"""What is told of a PDF, and what is refused."""

import io
import json
import re
from pathlib import Path

import pdfplumber
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pypdfium2 import PdfDocument

from batchmill.model.limits import Limits
from batchmill.operations.documents.grids import View, grids_of
from batchmill.operations.documents.page_objects import objects_of
from batchmill.operations.documents.pdf_dates import iso_date
from support.documents import (
    analysed,
    encrypted_pdf,
    line_of_text,
    pdf,
    picture_page,
    ruled_table,
)
from support.ring import examples

ENGLISH = line_of_text("The quick brown fox jumps over the lazy dog near the river bank")


def test_pages_words_and_language_are_counted(tmp_path: Path) -> None:
    document = analysed(tmp_path, pdf(ENGLISH, line_of_text("two words"))).document
    assert document["kind"] == "pdf"
    assert document["text"] == {"pages": 2, "words": 15, "characters": 59}
    assert [page["words"] for page in document["pages"]] == [13, 2]
    assert document["pages"][0]["width_pt"] == 300
    assert document["language"]["code"] == "en"
    assert document["language"]["confidence"] > 0.5
    assert not document["encrypted"]


def test_full_text_is_an_output_with_a_form_feed_after_each_page(tmp_path: Path) -> None:
    made = analysed(tmp_path, pdf(line_of_text("one"), line_of_text("two")), name="a.pdf")
    assert made.output("a.txt") == b"one\ftwo\f"
    assert "two" not in str(made.document)


def test_a_scan_without_text_has_no_text_file_and_asks_for_ocr(tmp_path: Path) -> None:
    made = analysed(tmp_path, pdf(picture_page(), ""))
    assert made.document["needs_ocr"]
    assert [page["needs_ocr"] for page in made.document["pages"]] == [True, False]
    assert made.document["pages"][0]["images"] == 1
    assert not any(name.endswith(".txt") for name in made.names)


def test_title_author_and_dates(tmp_path: Path) -> None:
    info = "/Title(Price list\\000)/Author(Ann)/ModDate(D:2022)"
    info += "/CreationDate(D:20210206131053+02'30')"
    document = analysed(tmp_path, pdf(ENGLISH, info=info)).document
    assert (document["title"], document["author"]) == ("Price list", "Ann")
    assert document["created_at"] == "2021-02-06T13:10:53+02:30"
    assert document["modified_at"] == "2022-01-01T00:00:00"


@pytest.mark.parametrize(
    ("written", "iso"),
    [
        ("D:20080915112205-04'00'", "2008-09-15T11:22:05-04:00"),
        ("D:20120417Z", "2012-04-17T00:00:00+00:00"),
        ("20130116", "2013-01-16T00:00:00"),
        ("D:20131399", None),
        ("D:20100316021332-0100", "2010-03-16T02:13:32-01:00"),
        ("D:20230410074654Z07'46'", "2023-04-10T07:46:54+07:46"),
        ("D:20230410074654+99'00'", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_of_pdf(written: str, iso: str | None) -> None:
    assert iso_date(written) == iso


def test_outline_has_levels_and_one_based_pages(tmp_path: Path) -> None:
    marks = (
        "<</First 9 0 R/Last 9 0 R>>",
        "<</Title(Chapter)/Parent 8 0 R/Dest[6 0 R/Fit]/First 10 0 R/Last 10 0 R>>",
        "<</Title(Part)/Parent 9 0 R>>",
    )
    content = pdf(ENGLISH, ENGLISH, more=marks, catalog="/Outlines 8 0 R")
    assert analysed(tmp_path, content).document["outline"] == [
        {"title": "Chapter", "level": 1, "page": 2},
        {"title": "Part", "level": 2, "page": None},
    ]


def test_pages_over_the_limit_are_counted_but_not_read(tmp_path: Path) -> None:
    made = analysed(tmp_path, pdf(*[ENGLISH] * 5), limits=Limits(pages=2))
    assert made.document["text"]["pages"] == 5
    assert len(made.document["pages"]) == 2
    assert made.document["limits_hit"] == ["pages"]
    assert made.report.warnings == ("only the first 2 of 5 pages were read",)


def test_progress_is_told_for_each_page_and_never_goes_back(tmp_path: Path) -> None:
    seen: list[float] = []
    table = ruled_table([["a", "b"], ["1", "2"]])
    pages = (ENGLISH, table, table)
    analysed(
        tmp_path,
        pdf(*pages),
        on_progress=lambda each: seen.append(each.fraction) if each.step == "analyze" else None,
    )
    assert seen == sorted(seen)
    assert len(set(seen)) == 4
    assert seen[-1] == 1


def test_a_pdf_that_needs_a_password_says_so(tmp_path: Path) -> None:
    code, message = analysed(tmp_path, encrypted_pdf(), name="menu.pdf").error
    assert code == "encrypted_file"
    assert message == "menu.pdf is encrypted; remove the password and send it again"


@pytest.mark.parametrize("content", [b"%PDF-1.4\n", pdf(ENGLISH)[:200], b"%PDF-1.7\n" + b"\0" * 99])
def test_a_damaged_pdf_is_unreadable(tmp_path: Path, content: bytes) -> None:
    code, message = analysed(tmp_path, content, name="menu.pdf").error
    assert (code, message) == (
        "unreadable_file",
        "menu.pdf cannot be read: it is damaged or no PDF",
    )


def test_text_of_a_damaged_pdf_is_rescued_where_damage_is_tolerated(tmp_path: Path) -> None:
    damaged = pdf(ENGLISH).replace(b"/Pages 2 0 R", b"/Pages 9 0 R")
    assert analysed(tmp_path, damaged, name="a.pdf").error[0] == "unreadable_file"
    made = analysed(tmp_path, damaged, name="b.pdf", tolerant=True)
    assert made.document["text"] == {"pages": 1, "words": 13, "characters": 51}
    assert made.document["language"]["code"] == "en"
    assert "the PDF is damaged: only its text was rescued" in made.report.warnings
    assert made.names == ["b.txt"]


def test_a_pdf_that_nothing_can_read_stays_an_error_where_damage_is_tolerated(
    tmp_path: Path,
) -> None:
    assert analysed(tmp_path, b"%PDF-1.4 gone", tolerant=True).error[0] == "unreadable_file"


def test_a_lock_that_is_unknown_counts_as_encrypted(tmp_path: Path) -> None:
    odd = pdf(ENGLISH).replace(b"/Root 1 0 R", b"/Root 1 0 R/Encrypt<</Filter/Odd/V 9>>")
    assert analysed(tmp_path, odd).error[0] == "encrypted_file"


def test_all_pages_are_counted_and_five_hundred_listed(tmp_path: Path) -> None:
    body = pdf(*["BT /F1 9 Tf 9 9 Td (x) Tj ET"] * 501)
    made = analysed(tmp_path, body, limits=Limits(pages=5_000), thumbnail="none")
    assert made.document["text"]["pages"] == 501
    assert len(made.document["pages"]) == 500
    assert made.document["limits_hit"] == ["pages_listed"]


def test_a_damaged_page_is_left_out_and_said(tmp_path: Path) -> None:
    content = pdf(ENGLISH, ENGLISH).replace(b"/Kids[4 0 R", b"/Kids[9 0 R")
    made = analysed(tmp_path, content)
    assert "page 1 is damaged and was left out" in made.report.warnings
    assert [page["words"] for page in made.document["pages"]] == [0, 13]


@pytest.mark.parametrize(("form", "kind"), [("webp", "WEBP"), ("png", "PNG")])
def test_the_first_page_is_drawn_upright_within_the_box(
    tmp_path: Path, form: str, kind: str
) -> None:
    made = analysed(tmp_path, pdf(ENGLISH), name="a.pdf", thumbnail=form, thumbnail_px=100)
    picture = Image.open(io.BytesIO(made.output(f"a.thumb.{form}")))
    assert (picture.format, picture.size) == (kind, (75, 100))
    histogram = picture.convert("L").histogram()
    assert any(histogram[:160])
    assert any(histogram[251:])


@pytest.mark.parametrize("width_pt", [1, 14_400])
def test_pages_of_odd_shape_are_drawn_too(tmp_path: Path, width_pt: int) -> None:
    made = analysed(tmp_path, pdf(ENGLISH, width_pt=width_pt), name="a.pdf", thumbnail="png")
    assert max(Image.open(io.BytesIO(made.output("a.thumb.png"))).size) == 320


def test_a_first_page_with_a_huge_picture_is_not_drawn(tmp_path: Path) -> None:
    made = analysed(tmp_path, pdf(picture_page()), limits=Limits(pixels=3))
    assert not any("thumb" in name for name in made.names)
    assert "the first page could not be drawn" in made.report.warnings


def test_tables_are_found_where_lines_rule_a_page(tmp_path: Path) -> None:
    rows = [["item", "price"], ["bread", "1.20"], ["milk", "0.99"], ["=cmd()", "3.00"]]
    made = analysed(tmp_path, pdf(ENGLISH, ruled_table(rows)), name="a.pdf")
    (table,) = made.document["tables"]
    assert (table["page"], table["rows"], table["header"]) == (2, 3, True)
    assert [column["type"] for column in table["columns"]] == ["text", "decimal"]
    assert table["columns"][1]["max"] == 3
    assert table["file"] == "a.p2-t1.csv"
    text = "item,price\r\nbread,1.20\r\nmilk,0.99\r\n'=cmd(),3.00\r\n"
    assert made.output(table["file"]).decode() == text


def test_a_frame_around_text_is_no_table(tmp_path: Path) -> None:
    frame = "20 20 260 360 re S 30 30 240 340 re S 40 40 220 320 re S " + ENGLISH
    assert analysed(tmp_path, pdf(frame)).document["tables"] == []


def test_pages_beyond_the_cap_are_not_searched_for_tables(tmp_path: Path) -> None:
    table = ruled_table([["a", "b"], ["1", "2"]])
    document = analysed(tmp_path, pdf(table, table, table), table_pages=1).document
    assert [each["page"] for each in document["tables"]] == [1]
    assert document["tables_truncated"]
    assert "tables were looked for up to page 1 only" in document["warnings"]


def test_the_search_for_tables_ends_in_time(tmp_path: Path) -> None:
    table = ruled_table([["a", "b"], ["1", "2"]])
    document = analysed(tmp_path, pdf(table, table), table_seconds=0).document
    assert (document["tables"], document["tables_truncated"]) == ([], True)
    assert document["limits_hit"] == ["table_seconds"]


def test_a_page_of_too_many_lines_is_not_searched_for_tables(tmp_path: Path) -> None:
    level = "".join(f"0 {10 * n} m 14000 {10 * n} l S " for n in range(1_100))
    upright = "".join(f"{10 * n} 0 m {10 * n} 14000 l S " for n in range(1_100))
    document = analysed(tmp_path, pdf(level + upright + ENGLISH, width_pt=14_400)).document
    assert document["tables_truncated"]
    assert document["warnings"] == ["page 1 has too many lines to look for tables"]


PRICES = [["item", "price"], ["bread", "1.20"], ["milk", "0.99"]]


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(2, 9), st.integers(2, 3), st.data())
def test_every_ruled_table_is_read_back_as_pdfplumber_reads_it(
    rows: int, columns: int, data: st.DataObject
) -> None:
    cells = st.lists(st.text("abcXYZ09.", max_size=8), min_size=columns, max_size=columns)
    table = data.draw(st.lists(cells, min_size=rows, max_size=rows))
    body = pdf(ruled_table(table))
    with PdfDocument(body) as document:
        page = document[0]
        view, part = View(page), page.get_textpage()
        grids = grids_of(objects_of(page).lines, view)
        assert grids is not None
        (grid,) = grids
        boxes = [[view.on_page(cell) for cell in row if cell] for row in grid]
        read = [[part.get_text_bounded(*box).strip() for box in row] for row in boxes]
    with pdfplumber.open(io.BytesIO(body)) as other:
        assert other.pages[0].extract_tables() == [read]
    assert read == table


@pytest.mark.parametrize(
    ("page", "matrix"),
    [
        ("", "1 0 0 1 0 0"),
        ("/Rotate 90", "0 1 -1 0 300 0"),
        ("/Rotate 180", "-1 0 0 -1 300 400"),
        ("/Rotate 270", "0 -1 1 0 0 400"),
        ("/CropBox[10 20 290 390]", "1 0 0 1 0 0"),
        ("/CropBox[10 20 290 390]/Rotate 90", "0 1 -1 0 300 0"),
    ],
)
def test_tables_are_read_as_the_page_is_shown(tmp_path: Path, page: str, matrix: str) -> None:
    content = f"{matrix} cm 1 0 0 1 20 -120 cm {ruled_table(PRICES)}"
    made = analysed(tmp_path, pdf(content, page=page), name="a.pdf", rows="json")
    assert json.loads(made.output("a.p1-t1.json")) == PRICES


def form(content: str) -> str:
    return (
        "<</Type/XObject/Subtype/Form/BBox[0 0 300 400]/Matrix[.8 0 0 .8 10 0]"
        "/Resources<</Font<</F1 3 0 R>>/XObject<</X2 7 0 R>>>>"
        f"/Length {len(content)}>>stream\n{content}\nendstream"
    )


@pytest.mark.parametrize(
    "forms",
    [(form(ruled_table(PRICES)),), (form("1 0 0 1 9 9 cm /X2 Do"), form(ruled_table(PRICES)))],
    ids=["in a form", "in a form of a form"],
)
def test_tables_inside_a_form_are_read_where_the_form_stands(
    tmp_path: Path, forms: tuple[str, ...]
) -> None:
    body = pdf("1 0 0 1 30 40 cm /X1 Do", more=forms)
    made = analysed(tmp_path, body, name="a.pdf", rows="json")
    assert json.loads(made.output("a.p1-t1.json")) == PRICES


def test_cells_drawn_as_closed_paths_make_a_table_too(tmp_path: Path) -> None:
    cells = ruled_table(PRICES).split("\n")
    closed = [
        re.sub(
            r"(\d+) (\d+) 80 20 re S",
            lambda at: (
                f"{at[1]} {at[2]} m {int(at[1]) + 80} {at[2]} l {int(at[1]) + 80} "
                f"{int(at[2]) + 20} l {at[1]} {int(at[2]) + 20} l h S"
            ),
            cell,
        )
        for cell in cells
    ]
    made = analysed(tmp_path, pdf("\n".join(closed)), name="a.pdf", rows="json")
    assert json.loads(made.output("a.p1-t1.json")) == PRICES


def test_one_row_of_boxes_is_no_table(tmp_path: Path) -> None:
    body = pdf(ruled_table([["name", "street", "town"]]))
    assert analysed(tmp_path, body).document["tables"] == []


def test_text_without_a_character_map_asks_for_ocr(tmp_path: Path) -> None:
    body = pdf(line_of_text("".join(f"\\{code:03o}" for code in range(1, 26)) * 2))
    document = analysed(tmp_path, body).document
    assert document["text"]["words"] > 0
    assert document["needs_ocr"]


def test_lines_drawn_as_thin_boxes_make_a_table_too(tmp_path: Path) -> None:
    boxes = [f"20 {y} 160 0.7 re f" for y in (300, 320, 340, 360)]
    boxes += [f"{x} 300 0.7 60 re f" for x in (20, 100, 180)]
    words = [
        line_of_text(text, x=24 + 80 * c, y=345 - 20 * r)
        for r, row in enumerate(PRICES)
        for c, text in enumerate(row)
    ]
    made = analysed(tmp_path, pdf(" ".join(boxes + words)), name="a.pdf", rows="json")
    assert json.loads(made.output("a.p1-t1.json")) == PRICES


def test_cells_that_span_others_leave_gaps(tmp_path: Path) -> None:
    cells = ["20 340 160 20", "20 320 80 20", "100 320 80 20", "20 300 80 20", "100 300 80 20"]
    words = [line_of_text("both", x=24, y=345)]
    words += [line_of_text(f"c{n}", x=24 + 80 * (n % 2), y=325 - 20 * (n // 2)) for n in range(4)]
    content = " ".join([*(f"{cell} re S" for cell in cells), *words])
    made = analysed(tmp_path, pdf(content), name="a.pdf", rows="json")
    assert json.loads(made.output("a.p1-t1.json")) == [["both", ""], ["c0", "c1"], ["c2", "c3"]]


def test_no_thumbnail_text_and_rows_are_made_when_not_asked_for(tmp_path: Path) -> None:
    table = pdf(ruled_table([["a", "b"], ["1", "2"]]))
    made = analysed(tmp_path, table, text=False, rows="none", thumbnail="none", language=False)
    assert made.names == []
    assert len(made.document["tables"]) == 1


def test_links_and_scripts_are_never_followed(tmp_path: Path) -> None:
    opens = "/OpenAction<</S/URI/URI(http://127.0.0.1:9/x)>>/Names<</JavaScript<</Names[(a)"
    opens += "<</S/JavaScript/JS(app.alert\\(1\\))>>]>>>>"
    made = analysed(tmp_path, pdf(ENGLISH, catalog=opens))
    assert made.document["text"]["words"] == 13
    assert not re.search("127|alert", str(made.document))
