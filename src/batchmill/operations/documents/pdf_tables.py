"""Finds the tables on the ruled pages of a PDF."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from batchmill.operations.documents.export import FORMATS
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.result import Table
from batchmill.operations.documents.tables import TableTally

LISTED_TABLES = 100
"""Tables beyond are not looked for."""

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


class _OutOfTimeError(BaseException):
    """Raised by the alarm; no `except Exception` of a library may swallow it."""


def find_tables(
    ruled: Sequence[int], options: AnalyzeOptions, findings: Findings
) -> tuple[tuple[Table, ...], bool]:
    """Return the tables of these pages (1-based), and whether some pages were left out.

    Stops at `table_pages` pages, `table_seconds` seconds or `LISTED_TABLES` tables.
    """
    pages = ruled[: options.table_pages]
    if len(pages) < len(ruled):
        findings.hit("table_pages", f"tables were looked for on {len(pages)} of {len(ruled)} pages")
    tables: list[Table] = []
    try:
        with _alarm(options.table_seconds):
            for found in _found(pages, options, findings):
                tables.append(_described(found, options, findings))
                if len(tables) == LISTED_TABLES:
                    findings.hit("tables", f"only the first {LISTED_TABLES} tables are listed")
                    break
    except _OutOfTimeError:
        findings.hit("table_seconds", f"looking for tables ended after {options.table_seconds:g} s")
    truncated = {"table_pages", "table_seconds", "tables"} & set(findings.limits_hit)
    return tuple(tables), bool(truncated)


def _found(pages: Sequence[int], options: AnalyzeOptions, findings: Findings) -> Iterator[_Found]:
    import pdfplumber
    from pdfplumber.utils.exceptions import PdfminerException

    ends = time.monotonic() + options.table_seconds
    try:
        with pdfplumber.open(findings.work.source.path, pages=list(pages)) as pdf:
            for index, page in enumerate(pdf.pages, start=1):
                if time.monotonic() > ends:
                    raise _OutOfTimeError
                kept = filter(_is_table, map(_texts, page.extract_tables()))
                for number, rows in enumerate(kept, start=1):
                    yield _Found(page.page_number, number, rows)
                page.close()
                share = _FIRST_SHARE + (1 - _FIRST_SHARE) * index / len(pages)
                findings.work.report_progress(share)
    except PdfminerException as error:
        findings.warn(f"tables could not be read: {type(error.__cause__ or error).__name__}")


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


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTimeError` inside after `seconds`, even within one page.

    Signals reach the main thread only, which is where a child works; elsewhere the time is
    looked at between pages.
    """
    if threading.current_thread() is not threading.main_thread() or seconds <= 0:
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise _OutOfTimeError
