"""Reads workbooks with calamine: XLSX, XLSM, XLSB, XLS and ODS."""

import datetime
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, is_zipfile

from batchmill.errors.item import DocumentTooLargeError, EncryptedFileError, UnreadableFileError
from batchmill.model.media import ODS, XLS
from batchmill.operations.documents.export import FORMATS, RowFile
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.package import check_package
from batchmill.operations.documents.prose import TABLE_CONFIDENCE, language_of
from batchmill.operations.documents.result import Document, Table
from batchmill.operations.documents.tables import LISTED_COLUMNS, TableTally

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook, SheetMetadata

LISTED_SHEETS = 100
"""Sheets beyond are not read."""

CHUNK_ROWS = 10_000
_CHUNK_CELLS = 1_000_000
_PROPERTY_BYTES = 1_000_000
_TITLE_CHARS = 300


def read_workbook(document: Document, options: AnalyzeOptions, findings: Findings) -> Document:
    """Return the document with its sheets.

    Raises:
        EncryptedFileError: it opens only with a password.
        UnreadableFileError: it is damaged.
        UnsafeFileError, DocumentTooLargeError: as `package.check_package`.
    """
    source = findings.work.source
    with findings.timed("hash"), source.path.open("rb") as file:
        document = replace(document, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    if source.media is not XLS:
        with findings.timed("check"):
            _check_container(findings)
            document = _about(document, findings)
    with _opened(findings) as book:
        tallies = _sheets(book, options, findings)
    prose = "\n".join(tally.prose for _, tally in tallies)
    return replace(
        document,
        sheets=tuple(table for table, _ in tallies),
        language=language_of(prose, least=TABLE_CONFIDENCE) if options.language else None,
    )


def _check_container(findings: Findings) -> None:
    """Only an encrypted workbook lies in OLE2 in place of a ZIP."""
    if not is_zipfile(findings.work.source.path):
        with findings.work.source.path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise EncryptedFileError(findings.name)
    check_package(findings)


@contextmanager
def _opened(findings: Findings) -> "Iterator[CalamineWorkbook]":
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    path = _named(findings)
    try:
        with CalamineWorkbook.from_path(path) as book:
            yield book
    except PasswordError as error:
        raise EncryptedFileError(findings.name) from error
    except CalamineError as error:
        if "limit exceeded" in str(error):  # repeated cells of an ODS, counted by calamine
            raise DocumentTooLargeError(
                findings.name, "a sheet of more than 100,000,000 cells"
            ) from error
        raise _unreadable(findings, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how pyo3 hands on a panic of Rust
            raise
        raise _unreadable(findings, error) from error
    finally:
        path.unlink()


def _named(findings: Findings) -> Path:
    """Copy the source to a name with its type's extension: calamine trusts that, or guesses.

    Guessing loses the reason where a workbook cannot be opened. The sandbox allows no links.
    """
    source = findings.work.source
    return shutil.copyfile(source.path, findings.work.folder / f"workbook.{source.media.extension}")


def _unreadable(findings: Findings, error: BaseException) -> UnreadableFileError:
    return UnreadableFileError(findings.name, "the workbook is damaged", detail=str(error))


# ---------------------------------------------------------------- sheets


def _sheets(
    book: "CalamineWorkbook", options: AnalyzeOptions, findings: Findings
) -> list[tuple[Table, TableTally]]:
    from python_calamine import SheetTypeEnum

    listed = [
        (index, about)
        for index, about in enumerate(book.sheets_metadata)
        if about.typ is SheetTypeEnum.WorkSheet
    ]
    if len(listed) > LISTED_SHEETS:
        findings.hit("sheets", f"only the first {LISTED_SHEETS} of {len(listed)} sheets were read")
    found = []
    for done, (index, about) in enumerate(listed[:LISTED_SHEETS]):
        with findings.timed("sheets"):
            found.append(_sheet(book.get_sheet_by_index(index), about, options, findings))
        findings.work.report_progress((done + 1) / len(listed))
    return found


def _sheet(
    sheet: "CalamineSheet", about: "SheetMetadata", options: AnalyzeOptions, findings: Findings
) -> tuple[Table, TableTally]:
    from python_calamine import SheetVisibleEnum

    tally = TableTally(about.name, sample_rows=options.sample_rows)
    files = len(findings.files)
    with _copy(sheet, options, findings) as copy:
        for columns, numbers in _chunks(sheet, findings):
            rows = list(zip(*columns, strict=True))
            tally.add(rows)
            for column, count in zip(tally.columns, numbers, strict=False):
                column.trust_point(count)
            if copy:
                copy.write(rows)
    if tally.width > LISTED_COLUMNS:
        findings.hit("columns_listed", f"only the first {LISTED_COLUMNS} columns are described")
    table = replace(
        tally.settle(),
        visible=about.visible is SheetVisibleEnum.Visible,
        merged_cells=len(sheet.merged_cell_ranges or ()),
        file=findings.files[-1].name if len(findings.files) > files else None,
    )
    return table, tally


def _copy(
    sheet: "CalamineSheet", options: AnalyzeOptions, findings: Findings
) -> AbstractContextManager[RowFile | None]:
    if options.rows == "none" or not sheet.height:
        return nullcontext()
    kind = FORMATS[options.rows]
    number = sum(each.name.endswith(f".{kind.ending}") for each in findings.files) + 1
    return kind(findings.output(f".sheet{number}.{kind.ending}", kind.media_type))


def _chunks(
    sheet: "CalamineSheet", findings: Findings
) -> Iterator[tuple[list[Sequence[str]], list[int]]]:
    """Yield the columns of some rows as text, and how many cells of each were numbers."""
    limit = findings.work.limits.sheet_rows
    rows = iter(sheet.iter_rows())
    chunk_rows = min(CHUNK_ROWS, max(1, _CHUNK_CELLS // max(sheet.width, 1)))
    read = 0
    while chunk := list(islice(rows, min(chunk_rows, limit - read))):
        read += len(chunk)
        texts = [_column_texts(cells) for cells in zip(*chunk, strict=True)]
        yield [each for each, _ in texts], [numbers for _, numbers in texts]
    if next(rows, None) is not None:
        findings.hit("rows", f"only the first {limit:,} rows of a sheet were read")


def _column_texts(cells: Sequence[Any]) -> tuple[Sequence[str], int]:
    """Return a column's cells as text and how many were numbers; most columns are of one type."""
    kinds = set(map(type, cells))
    if kinds == {str}:
        return cells, 0
    if kinds == {float}:
        return [text.removesuffix(".0") for text in map(repr, cells)], len(cells)
    return list(map(cell_text, cells)), sum(type(cell) in {float, int} for cell in cells)


def cell_text(value: Any) -> str:  # noqa: ANN401 - whatever calamine gives
    """Return a cell as text: whole floats without a fraction, dates as ISO 8601."""
    return _TEXTS[type(value)](value)


_TEXTS: dict[type, Callable[[Any], str]] = {
    str: str,
    float: lambda value: repr(value).removesuffix(".0"),
    int: str,
    bool: lambda value: str(value).lower(),
    datetime.date: datetime.date.isoformat,
    datetime.datetime: lambda value: value.isoformat(" ", "seconds"),
    datetime.time: datetime.time.isoformat,
    datetime.timedelta: str,
}


# ---------------------------------------------------------------- properties


def _about(document: Document, findings: Findings) -> Document:
    """Read title, author and dates, which `package` has found free of declarations."""
    part = "meta.xml" if findings.work.source.media is ODS else "docProps/core.xml"
    with ZipFile(findings.work.source.path) as archive:
        if part not in archive.namelist():
            return document
        with archive.open(part) as file:
            known = _properties(file.read(_PROPERTY_BYTES))
    return replace(
        document,
        title=known.get("title"),
        author=known.get("creator") or known.get("initial-creator"),
        created_at=known.get("created") or known.get("creation-date"),
        modified_at=known.get("modified") or known.get("date"),
    )


def _properties(xml: bytes) -> dict[str, str]:
    """Return the texts of all elements by their names without prefix."""
    from xml.etree import ElementTree as ET

    try:
        root = ET.fromstring(xml)  # noqa: S314 - no declarations, so no entities to expand
    except ET.ParseError:
        return {}
    texts = (
        (each.tag.rpartition("}")[2], " ".join((each.text or "").split())) for each in root.iter()
    )
    return {name: text[:_TITLE_CHARS] for name, text in texts if text}
