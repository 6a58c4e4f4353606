"""Reads CSV and TSV: streamed, with flat memory, whatever the size."""

import csv
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from io import BufferedReader, TextIOWrapper
from itertools import islice
from typing import cast

from batchmill.errors.item import DocumentTooLargeError, UnreadableFileError
from batchmill.model.delimited import CHECKED_ROWS, Dialect, find_dialect
from batchmill.operations.documents.columns import Customs
from batchmill.operations.documents.export import FORMATS, RowFile
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.numbers import COMMA, POINT
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.prose import TABLE_CONFIDENCE, language_of
from batchmill.operations.documents.result import DialectFound, Document
from batchmill.operations.documents.survey import Survey, survey
from batchmill.operations.documents.tables import LISTED_COLUMNS, TableTally

CHUNK_ROWS = 10_000
_CHUNK_BYTES = 8_000_000
_SOME_ROWS = 64
_SURVEY_SHARE = 0.1


def read_delimited(document: Document, options: AnalyzeOptions, findings: Findings) -> Document:
    """Return the document with its one table.

    Raises:
        UnreadableFileError: it holds binary data, or quotes that never end.
        DocumentTooLargeError: a line or the number of columns is over the limit.
    """
    with findings.timed("survey"):
        seen = survey(findings, _SURVEY_SHARE, line_bytes=findings.work.limits.csv_line_bytes)
    with findings.timed("rows"):
        dialect = _dialect(seen, findings)
        tally = _tally(seen, dialect, options, findings)
    return replace(
        document,
        sha256=seen.sha256,
        encoding=seen.encoding,
        language=language_of(tally.prose, least=TABLE_CONFIDENCE) if options.language else None,
        dialect=_found(dialect),
        tables=(replace(tally.settle(_customs(dialect)), file=_file_name(findings)),),
    )


def _dialect(seen: Survey, findings: Findings) -> Dialect:
    with _opened(seen, findings) as file:
        lines = "".join(islice(file, CHECKED_ROWS))
    return find_dialect(lines) or Dialect(",")


def _tally(
    seen: Survey, dialect: Dialect, options: AnalyzeOptions, findings: Findings
) -> TableTally:
    work, limit = findings.work, findings.work.limits.sheet_rows
    tally, read = TableTally(work.source.name, sample_rows=options.sample_rows), 0
    with _opened(seen, findings) as file, _copy(options, findings) as copy:
        for rows in _chunks(file, dialect, findings):
            room = limit - read
            read += len(rows)
            tally.add(rows[:room])
            if copy:
                copy.write(rows[:room])
            if len(rows) > room:
                findings.hit("rows", f"only the first {limit:,} rows were read")
                break
            place = _place(file) / work.source.bytes
            work.report_progress(_SURVEY_SHARE + (1 - _SURVEY_SHARE) * place)
    _note(tally, findings)
    return tally


def _opened(seen: Survey, findings: Findings) -> TextIOWrapper:
    path = findings.work.source.path
    return path.open("r", encoding=seen.encoding, errors="replace", newline="", buffering=2**18)


def _place(file: TextIOWrapper) -> int:
    """Return how many bytes were taken from the file; `tell` of a text file is slow and barred."""
    return cast("BufferedReader", file.buffer).tell()


def _copy(options: AnalyzeOptions, findings: Findings) -> AbstractContextManager[RowFile | None]:
    if not options.copy_delimited or options.rows == "none":
        return nullcontext()
    kind = FORMATS[options.rows]
    return kind(findings.output(f".rows.{kind.ending}", kind.media_type))


def _chunks(file: TextIOWrapper, dialect: Dialect, findings: Findings) -> Iterator[list[list[str]]]:
    """Yield rows, some thousands at a time, fewer where they are long: memory stays flat."""
    limits = findings.work.limits
    csv.field_size_limit(limits.csv_line_bytes)
    reader = csv.reader(
        file, delimiter=dialect.delimiter, quotechar=dialect.quote, escapechar=dialect.escape
    )
    while rows := _chunk(reader, file, findings):
        if max(map(len, rows)) > limits.sheet_columns:
            raise DocumentTooLargeError(
                findings.name, f"a row of more than {limits.sheet_columns:,} cells"
            )
        yield rows


def _chunk(reader: Iterator[list[str]], file: TextIOWrapper, findings: Findings) -> list[list[str]]:
    """Return the next rows that are not blank; none at the end of the file."""
    rows: list[list[str]] = []
    end = _place(file) + _CHUNK_BYTES
    try:
        while len(rows) < CHUNK_ROWS and _place(file) < end:
            some = list(islice(reader, _SOME_ROWS))
            rows.extend(filter(None, some))
            if len(some) < _SOME_ROWS:
                break
    except csv.Error as error:
        reason = "a cell never ends; a quotation mark is probably missing its partner"
        raise UnreadableFileError(findings.name, reason, detail=str(error)) from error
    return rows


def _note(tally: TableTally, findings: Findings) -> None:
    if tally.uneven_rows:
        findings.warn(
            f"{tally.uneven_rows:,} of {tally.rows:,} rows have another number of cells than most"
        )
    if tally.width > LISTED_COLUMNS:
        findings.hit("columns_listed", f"only the first {LISTED_COLUMNS} columns are described")


def _customs(dialect: Dialect) -> Customs:
    """Semicolons separate where the comma is taken: as the decimal mark."""
    return Customs(COMMA if dialect.delimiter == ";" else POINT)


def _found(dialect: Dialect) -> DialectFound:
    return DialectFound(
        delimiter=dialect.delimiter,
        quote=dialect.quote,
        escape=dialect.escape,
        consistency=round(dialect.consistency, 4),
    )


def _file_name(findings: Findings) -> str | None:
    return findings.files[-1].name if findings.files else None
