"""Looks for tables on the ruled pages of a PDF, within bounds of pages, time and number."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from batchmill.operations.documents.export import FORMATS
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.result import Table
from batchmill.operations.documents.tables import TableTally

if TYPE_CHECKING:
    from pypdfium2 import PdfPage, PdfTextPage

    from batchmill.operations.documents.grids import Box, View
    from batchmill.operations.documents.page_objects import PageObjects

LISTED_TABLES = 100
"""Tables beyond are not looked for."""

_LEAST_ROWS = 2
_LEAST_COLUMNS = 2

Rows = list[list[str]]


class TableSearch:
    """The tables found so far in one PDF."""

    def __init__(self, options: AnalyzeOptions, findings: Findings) -> None:
        self.tables: list[Table] = []
        self.truncated = False
        self._options = options
        self._findings = findings
        self._pages = 0
        self._spent_s = 0.0

    def look(
        self, number: int, page: "PdfPage", part: "PdfTextPage", objects: "PageObjects"
    ) -> None:
        """Find the tables of a page (1-based), unless it has too few lines or a bound is reached.

        Bounds are `table_pages` ruled pages, `table_seconds` seconds and `LISTED_TABLES` tables.
        """
        if not objects.ruled or self._is_over(number):
            return
        from batchmill.operations.documents.grids import View, grids_of

        self._pages += 1
        began = time.monotonic()
        view = View(page)
        grids = grids_of(objects.lines, view)
        if grids is None:
            self._cut("table_lines", f"page {number} has too many lines to look for tables")
        kept = (rows for grid in grids or () if _is_table(rows := _texts(grid, part, view)))
        for index, rows in enumerate(kept, start=1):
            self._keep(number, index, rows)
        self._spent_s += time.monotonic() - began

    def _is_over(self, number: int) -> bool:
        options = self._options
        bounds = (
            ("table_pages", self._pages >= options.table_pages),
            ("table_seconds", self._spent_s >= options.table_seconds),
            ("tables", len(self.tables) >= LISTED_TABLES),
        )
        for limit, reached in bounds:
            if reached:
                self._cut(limit, f"tables were looked for up to page {number - 1} only")
        return any(reached for _, reached in bounds)

    def _cut(self, limit: str, sentence: str) -> None:
        self.truncated = True
        if limit not in self._findings.limits_hit:
            self._findings.hit(limit, sentence)

    def _keep(self, page: int, number: int, rows: Rows) -> None:
        tally = TableTally(f"page {page}, table {number}", sample_rows=self._options.sample_rows)
        tally.add(rows)
        table = replace(tally.settle(), page=page)
        if self._options.rows != "none":
            kind = FORMATS[self._options.rows]
            ending = f".p{page}-t{number}.{kind.ending}"
            with kind(self._findings.output(ending, kind.media_type)) as file:
                file.write(rows)
            table = replace(table, file=self._findings.files[-1].name)
        self.tables.append(table)


def _texts(grid: "list[list[Box | None]]", part: "PdfTextPage", view: "View") -> Rows:
    return [[_text(cell, part, view) for cell in row] for row in grid]


def _text(cell: "Box | None", part: "PdfTextPage", view: "View") -> str:
    if cell is None:
        return ""
    text: str = part.get_text_bounded(*view.on_page(cell))
    return " ".join(text.replace("\ufffe", "").split())


def _is_table(rows: Rows) -> bool:
    """Frames, charts and forms have lines too: a table has two rows and columns with text."""
    filled_rows = sum(any(row) for row in rows)
    filled_columns = sum(any(column) for column in zip(*rows, strict=False))
    return filled_rows >= _LEAST_ROWS and filled_columns >= _LEAST_COLUMNS
