"""Reads PDFs with PDFium: text, pages, outline, what is known about the file, first page."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from batchmill.errors.item import EncryptedFileError, UnreadableFileError
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.pdf_dates import iso_date
from batchmill.operations.documents.prose import SAMPLE_CHARS, count_words, language_of
from batchmill.operations.documents.result import Counts, Document, OutlineEntry, Page

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

    from batchmill.operations.documents.page_objects import PageObjects

LISTED_ENTRIES = 200
"""How many bookmarks are listed."""

_OUTLINE_LEVELS = 8
_TITLE_CHARS = 300
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_TEXT_SHARE = 0.6  # of the progress; the rest is looking for tables

_LEAST_CHARACTERS = 16
_PICTURE_SHARE = 0.2
_GARBAGE_SHARE = 0.3
# Control characters, private use and replacement: what fonts without a character map give.
_GARBAGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")


def read_pdf(document: Document, options: AnalyzeOptions, findings: Findings) -> Document:
    """Return the document with all that the PDF tells.

    Raises:
        EncryptedFileError: it opens only with a password.
        UnreadableFileError: it is damaged.
    """
    with findings.timed("hash"):
        document = replace(document, sha256=_sha256(findings.work.source.path))
    with _opened(findings) as pdf:
        document = replace(_about(pdf, document), outline=_outline(pdf, findings))
        with findings.timed("text"):
            document, ruled, sample = _text(pdf, document, options, findings)
        if options.thumbnail != "none":
            with findings.timed("thumbnail"):
                _thumbnail(pdf, options, findings)
    if ruled:
        with findings.timed("tables"):
            document = _tables(document, ruled, options, findings)
    if options.language:
        with findings.timed("language"):
            document = replace(document, language=language_of(sample))
    return document


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(findings: Findings) -> "Iterator[PdfDocument]":
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        pdf = PdfDocument(findings.work.source.path)
    except PdfiumError as error:
        if error.err_code == _PASSWORD_ERROR:
            raise EncryptedFileError(findings.name) from error
        reason = "it is damaged or no PDF"
        raise UnreadableFileError(findings.name, reason, detail=str(error)) from error
    with pdf:
        yield pdf


def _about(pdf: "PdfDocument", document: Document) -> Document:
    from pypdfium2.raw import FPDF_GetSecurityHandlerRevision

    known = pdf.get_metadata_dict(skip_empty=True)
    return replace(
        document,
        encrypted=FPDF_GetSecurityHandlerRevision(pdf) >= 0,
        title=_line(known.get("Title", "")),
        author=_line(known.get("Author", "")),
        created_at=iso_date(known.get("CreationDate", "")),
        modified_at=iso_date(known.get("ModDate", "")),
    )


def _line(text: str) -> str | None:
    """Return a text as one clean line, None when nothing is left."""
    return " ".join(_GARBAGE.sub(" ", text).split())[:_TITLE_CHARS] or None


def _outline(pdf: "PdfDocument", findings: Findings) -> tuple[OutlineEntry, ...]:
    found = []
    for mark in islice(pdf.get_toc(max_depth=_OUTLINE_LEVELS), LISTED_ENTRIES + 1):
        target = mark.get_dest()
        index = target.get_index() if target else None
        page = None if index is None else index + 1
        found.append(OutlineEntry(_line(mark.get_title()) or "", mark.level + 1, page))
    if len(found) > LISTED_ENTRIES:
        findings.hit("outline", f"only the first {LISTED_ENTRIES} bookmarks are listed")
    return tuple(found[:LISTED_ENTRIES])


# ---------------------------------------------------------------- pages


def _text(
    pdf: "PdfDocument", document: Document, options: AnalyzeOptions, findings: Findings
) -> tuple[Document, dict[int, int], str]:
    """Return the document with its pages; the ruled ones with their weight; a sample of text."""
    work, count = findings.work, len(pdf)
    read = min(count, work.limits.pages)
    if read < count:
        findings.hit("pages", f"only the first {read} of {count} pages were read")
    pages: list[Page] = []
    ruled: dict[int, int] = {}
    sample = ""
    with _text_file(options, findings) as file:
        for number in range(1, read + 1):
            text, objects, page = _page(pdf, number, findings)
            pages.append(page)
            if objects.ruled:
                ruled[number] = objects.lines * page.characters
            sample += text[: SAMPLE_CHARS - len(sample)]
            file.write(text + "\f")
            work.report_progress(number / read * _TEXT_SHARE)
    counts = Counts(
        pages=count,
        words=sum(page.words for page in pages),
        characters=sum(page.characters for page in pages),
    )
    if counts.characters == 0:
        findings.drop(Path(file.name))
    needs_ocr = any(page.needs_ocr for page in pages)
    return replace(document, pages=tuple(pages), text=counts, needs_ocr=needs_ocr), ruled, sample


def _text_file(options: AnalyzeOptions, findings: Findings) -> TextIO:
    path = (
        findings.output(".txt", "text/plain; charset=utf-8") if options.text else Path(os.devnull)
    )
    return path.open("w", encoding="utf-8", errors="replace", newline="\n")


def _page(pdf: "PdfDocument", number: int, findings: Findings) -> "tuple[str, PageObjects, Page]":
    from pypdfium2 import PdfiumError

    from batchmill.operations.documents.page_objects import PageObjects, objects_of

    try:
        page = pdf[number - 1]
    except PdfiumError:
        findings.warn(f"page {number} is damaged and was left out")
        return "", PageObjects(), Page(number, 0, 0, 0, 0, 0)
    try:
        text, objects = _text_of(page), objects_of(page)
        return text, objects, _described(page, number, text, objects)
    finally:
        page.close()


def _text_of(page: "PdfPage") -> str:
    """Return a page's text; PDFium marks hyphens at line ends with U+FFFE and joins the lines."""
    part = page.get_textpage()
    text: str = part.get_text_range()
    part.close()
    return text.replace("\r\n", "\n").replace("\ufffe", "")


def _described(page: "PdfPage", number: int, text: str, objects: "PageObjects") -> Page:
    width, height = page.get_size()
    characters = len("".join(text.split()))
    garbage = len(_GARBAGE.findall(text))
    picture_only = characters < _LEAST_CHARACTERS and objects.image_share >= _PICTURE_SHARE
    return Page(
        number=number,
        width_pt=round(width, 2),
        height_pt=round(height, 2),
        words=count_words(text),
        characters=characters,
        images=objects.images,
        needs_ocr=picture_only or garbage > _GARBAGE_SHARE * max(characters, _LEAST_CHARACTERS),
    )


# ---------------------------------------------------------------- parts that may be left out


def _thumbnail(pdf: "PdfDocument", options: AnalyzeOptions, findings: Findings) -> None:
    from batchmill.operations.documents.thumbnail import draw

    media_type = f"image/{options.thumbnail}"
    path = findings.output(f".thumb.{options.thumbnail}", media_type)
    if not draw(pdf, path, options.thumbnail_px, findings.work.limits.pixels):
        findings.drop(path)
        findings.warn("the first page could not be drawn")


def _tables(
    document: Document, ruled: dict[int, int], options: AnalyzeOptions, findings: Findings
) -> Document:
    from batchmill.operations.documents.pdf_tables import find_tables

    tables, truncated = find_tables(ruled, options, findings)
    return replace(document, tables=tables, tables_truncated=truncated)
