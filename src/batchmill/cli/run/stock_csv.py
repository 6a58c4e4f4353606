"""The CSV for stock agencies that `batchmill run --stock-csv` writes beside the results."""

import csv
from pathlib import Path
from typing import Self

from batchmill.errors.request import UsageError
from batchmill.local.results import ItemResult
from batchmill.operations.documents.export import neutral
from batchmill.operations.vision import stock


class StockCsv:
    """An open file; `more` goes on after the rows that it has."""

    def __init__(self, path: Path, *, more: bool) -> None:
        try:
            self._file = path.open("a" if more else "w", encoding="utf-8", newline="")
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror}.") from error
        self._writer = csv.writer(self._file)
        if not self._file.tell():
            self._writer.writerow(stock.COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, result: ItemResult) -> None:
        """Append the row of a file that was described."""
        name = result.files[0].output.name if result.files else result.source.name
        row = stock.row(name, result.data)
        if row is not None:
            self._writer.writerow(neutral(cell) for cell in row)
