"""Finds the tables on the ruled pages of a PDF."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from batchmill.operations.documents.export import FORMATS
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.result import Table
from batchmill.operations.documents.tables import TableTally

LISTED_TABLES = 100
"""Tables beyond are not looked for."""

_LIMITS = {"table_lines", "table_pages", "table_seconds", "tables"}
_MOST_WEIGHT = 400_000_000  # about four seconds: every cell is held against every character
_LEAST_ROWS = 2
_LEAST_COLUMNS = 2
_FIRST_SHARE = 0.6

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class _Found:
    """A table as it stands on a page; both numbers are 1-based."""

    page: int
    number: int
    rows: Rows


def find_tables(
    ruled: Mapping[int, int], options: AnalyzeOptions, findings: Findings
) -> tuple[tuple[Table, ...], bool]:
    """Return the tables of these pages (1-based, with their weight), and whether some are missing.

    A page's weight is its straight lines times its characters. Stops at `table_pages` pages,
    `table_seconds` seconds or `LISTED_TABLES` tables.
    """
    light = [page for page, weight in ruled.items() if weight <= _MOST_WEIGHT]
    for page in ruled.keys() - light:
        findings.hit("table_lines", f"page {page} has too many lines to look for tables")
    pages = light[: options.table_pages]
    if len(pages) < len(light):
        findings.hit("table_pages", f"tables were looked for on {len(pages)} of {len(light)} pages")
    tables: list[Table] = []
    for found in _found(pages, options, findings):
        tables.append(_described(found, options, findings))
        if len(tables) == LISTED_TABLES:
            findings.hit("tables", f"only the first {LISTED_TABLES} tables are listed")
            break
    return tuple(tables), not _LIMITS.isdisjoint(findings.limits_hit)


def _found(pages: Sequence[int], options: AnalyzeOptions, findings: Findings) -> Iterator[_Found]:
    import pdfplumber
    from pdfplumber.utils.exceptions import PdfminerException

    ends = time.monotonic() + options.table_seconds
    try:
        with pdfplumber.open(findings.work.source.path, pages=list(pages)) as pdf:
            for index, page in enumerate(pdf.pages, start=1):
                if time.monotonic() > ends:
                    seconds = f"{options.table_seconds:g} s"
                    findings.hit("table_seconds", f"looking for tables ended after {seconds}")
                    return
                kept = filter(_is_table, map(_texts, page.extract_tables()))
                for number, rows in enumerate(kept, start=1):
                    yield _Found(page.page_number, number, rows)
                page.close()
                share = _FIRST_SHARE + (1 - _FIRST_SHARE) * index / len(pages)
                findings.work.report_progress(share)
    except PdfminerException:
        findings.warn("tables could not be read: the PDF is damaged")


def _texts(rows: Sequence[Sequence[str | None]]) -> Rows:
    return [[" ".join((cell or "").split()) for cell in row] for row in rows]


def _is_table(rows: Rows) -> bool:
    """Frames, charts and forms have lines too: a table has two rows and columns with text."""
    filled_rows = sum(any(row) for row in rows)
    filled_columns = sum(any(column) for column in zip(*rows, strict=False))
    return filled_rows >= _LEAST_ROWS and filled_columns >= _LEAST_COLUMNS


def _described(found: _Found, options: AnalyzeOptions, findings: Findings) -> Table:
    name = f"page {found.page}, table {found.number}"
    tally = TableTally(name, sample_rows=options.sample_rows)
    tally.add(found.rows)
    table = replace(tally.settle(), page=found.page)
    if options.rows == "none":
        return table
    kind = FORMATS[options.rows]
    path = findings.output(f".p{found.page}-t{found.number}.{kind.ending}", kind.media_type)
    with kind(path) as file:
        file.write(found.rows)
    return replace(table, file=findings.files[-1].name)
