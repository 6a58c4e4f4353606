"""Reads PDFs with PDFium: text, pages, outline, what is known about the file, first page."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from batchmill.errors.item import EncryptedFileError, UnreadableFileError
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.pdf_dates import iso_date
from batchmill.operations.documents.pdf_tables import TableSearch
from batchmill.operations.documents.prose import SAMPLE_CHARS, count_words, language_of
from batchmill.operations.documents.result import Document, OutlineEntry, PageText, TextCounts

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfTextPage

    from batchmill.operations.documents.page_objects import PageRead

LISTED_ENTRIES = 200
"""How many bookmarks are listed."""

LISTED_PAGES = 500
"""How many pages are listed; all are counted."""

_OUTLINE_LEVELS = 8
_TITLE_CHARS = 300
_LOCKED = {4, 5}  # FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY

_LEAST_CHARACTERS = 16
_PICTURE_SHARE = 0.2
_GARBAGE_SHARE = 0.3
# Control characters, private use and replacement: what fonts without a character map give.
_GARBAGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")


def read_pdf(document: Document, options: AnalyzeOptions, findings: Findings) -> Document:
    """Return the document with all that the PDF tells.

    A damaged file is an error, unless the work is `tolerant`: then its text is rescued.

    Raises:
        EncryptedFileError: it opens only with a password.
        UnreadableFileError: it is damaged.
    """
    with findings.timed("hash"):
        document = replace(document, sha256=_sha256(findings.work.source.path))
    try:
        with _opened(findings) as pdf:
            told = _read(pdf, document, options, findings)
    except UnreadableFileError:
        if not findings.work.tolerant:
            raise
        told = _rescued(document, options, findings)
    document = told.document
    if options.language:
        with findings.timed("language"):
            document = replace(document, language=language_of(told.sample))
    return document


def _read(
    pdf: "PdfDocument", document: Document, options: AnalyzeOptions, findings: Findings
) -> "ReadDocument":
    document = replace(_about(pdf, document), outline=_outline(pdf, findings))
    search = TableSearch(options, findings)
    pages = (_page(pdf, number, search, findings) for number in range(1, len(pdf) + 1))
    told = _text(pages, document, options, findings, count=len(pdf))
    told.document = replace(
        told.document, tables=tuple(search.tables), tables_truncated=search.truncated
    )
    if options.thumbnail != "none":
        with findings.timed("thumbnail"):
            _thumbnail(pdf, options, findings)
    return told


def _rescued(document: Document, options: AnalyzeOptions, findings: Findings) -> "ReadDocument":
    from batchmill.operations.documents.pdf_rescue import rescued_pages

    with findings.timed("text"), rescued_pages(findings) as (count, pages):
        findings.warn("the PDF is damaged: only its text was rescued")
        return _text(pages, document, options, findings, count=count)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(findings: Findings) -> "Iterator[PdfDocument]":
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        pdf = PdfDocument(findings.work.source.path)
    except PdfiumError as error:
        if error.err_code in _LOCKED:
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
    pages: "Iterable[PageRead]",
    document: Document,
    options: AnalyzeOptions,
    findings: Findings,
    *,
    count: int,
) -> "ReadDocument":
    read = min(count, findings.work.limits.pages)
    if read < count:
        findings.hit("pages", f"only the first {read:,} of {count:,} pages were read")
    told = ReadDocument(document)
    with _text_file(options, findings) as file:
        for number, page in enumerate(islice(pages, read), start=1):
            told.add(number, page)
            file.write(page.text + "\f")
            findings.work.report_progress(number / read)
    if not any(page.characters for page in told.pages):
        findings.drop(Path(file.name))
    if read > LISTED_PAGES:
        findings.hit("pages_listed", f"only the first {LISTED_PAGES} pages are listed")
    told.document = replace(
        document,
        pages=tuple(told.pages[:LISTED_PAGES]),
        text=TextCounts(
            pages=count,
            words=sum(page.words for page in told.pages),
            characters=sum(page.characters for page in told.pages),
        ),
        needs_ocr=any(page.needs_ocr for page in told.pages),
    )
    return told


@dataclass(slots=True)
class ReadDocument:
    """What the pages tell, and a sample of the text."""

    document: Document
    pages: list[PageText] = field(default_factory=list)
    sample: str = ""

    def add(self, number: int, read: "PageRead") -> None:
        """Take in the next page."""
        self.pages.append(_described(number, read))
        self.sample += read.text[: SAMPLE_CHARS - len(self.sample)]


def _text_file(options: AnalyzeOptions, findings: Findings) -> TextIO:
    path = (
        findings.output(".txt", "text/plain; charset=utf-8") if options.text else Path(os.devnull)
    )
    return path.open("w", encoding="utf-8", errors="replace", newline="\n")


def _page(pdf: "PdfDocument", number: int, search: TableSearch, findings: Findings) -> "PageRead":
    from pypdfium2 import PdfiumError

    from batchmill.operations.documents.page_objects import PageObjects, PageRead, objects_of

    try:
        page = pdf[number - 1]
    except PdfiumError:
        findings.warn(f"page {number} is damaged and was left out")
        return PageRead("", PageObjects(), (0.0, 0.0))
    try:
        with findings.timed("text"):
            part = page.get_textpage()
            read = PageRead(_text_of(part), objects_of(page), page.get_size())
        with findings.timed("tables"):
            search.look(number, page, part, read.objects)
        return read
    finally:
        page.close()


def _text_of(part: "PdfTextPage") -> str:
    """Return a page's text; PDFium marks hyphens at line ends with U+FFFE and joins the lines."""
    text: str = part.get_text_range()
    return text.replace("\r\n", "\n").replace("\ufffe", "")


def _described(number: int, read: "PageRead") -> PageText:
    characters = len("".join(read.text.split()))
    garbage = len(_GARBAGE.findall(read.text))
    picture_only = characters < _LEAST_CHARACTERS and read.objects.image_share >= _PICTURE_SHARE
    return PageText(
        number=number,
        width_pt=round(read.size_pt[0], 2),
        height_pt=round(read.size_pt[1], 2),
        words=count_words(read.text),
        characters=characters,
        images=read.objects.images,
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
