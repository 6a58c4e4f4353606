"""Writes rows for people and programs: CSV without live formulas, or JSON."""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

FORMULA_STARTS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""A spreadsheet may run a cell that starts so (OWASP, CSV injection)."""

_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?\s?%?")


def neutral(cell: str) -> str:
    """Return a cell that no spreadsheet runs: an apostrophe before it, but not before a number."""
    if cell[:1] not in FORMULA_STARTS or not cell or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


class RowFile:
    """A file of one table's rows, written as they come. Close it by leaving its `with`."""

    media_type = "text/csv"
    ending = "csv"

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._file: TextIO = self._path.open("w", encoding="utf-8", newline="", errors="replace")
        self._writer = csv.writer(self._file)
        return self

    def write(self, rows: Iterable[Sequence[str]]) -> None:
        """Append rows."""
        starts = FORMULA_STARTS
        self._writer.writerows(
            [cell if cell[:1] not in starts else neutral(cell) for cell in row] for row in rows
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()


class JsonRowFile(RowFile):
    """The same as a JSON array of arrays of texts, one row a line."""

    media_type = "application/json"
    ending = "json"

    def __enter__(self) -> Self:
        self._file = self._path.open("w", encoding="utf-8", errors="replace")
        self._file.write("[")
        self._first = True
        return self

    def write(self, rows: Iterable[Sequence[str]]) -> None:
        """Append rows."""
        for row in rows:
            self._file.write("\n" if self._first else ",\n")
            self._first = False
            self._file.write(json.dumps(list(row), ensure_ascii=False))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.write("\n]\n")
        self._file.close()


FORMATS: dict[str, type[RowFile]] = {"csv": RowFile, "json": JsonRowFile}
