"""Reports of a batch as CSV, JSON lines or the CSV of stock agencies, written page by page."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Final, Literal

from batchmill.api import serialize
from batchmill.model.batch import Batch
from batchmill.model.item import Item
from batchmill.operations.vision import stock
from batchmill.wire import responses

Format = Literal["csv", "jsonl", "stock"]
_CSV_TYPE: Final = "text/csv; charset=utf-8"
MEDIA_TYPES: Final = {"csv": _CSV_TYPE, "jsonl": "application/x-ndjson", "stock": _CSV_TYPE}
EXTENSIONS: Final = {"csv": "csv", "jsonl": "jsonl", "stock": "stock.csv"}
COLUMNS: Final = (
    *("custom_id", "item_id", "status", "path", "bytes", "type", "sha256"),
    *("output", "output_url", "output_bytes", "output_type", "width", "height", "output_sha256"),
    *("error_code", "error_message", "error_step", "attempts", "queued_ms", "run_ms", "data"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def head(kind: Format) -> bytes:
    """Return what stands before the first line."""
    columns = {"csv": COLUMNS, "stock": stock.COLUMNS}
    return _csv([columns[kind]]) if kind in columns else b""


def lines(kind: Format, items: Sequence[Item], batch: Batch, base_url: str) -> bytes:
    """Return a page of items as lines.

    In CSV one for each output, in JSON one for each item, for stock agencies one for each item
    that has a description.
    """
    described = [serialize.result_line(item, batch, base_url) for item in items]
    if kind == "csv":
        return _csv([row for line in described for row in _rows(line)])
    if kind == "stock":
        return _csv([row for line in described if (row := _stock_row(line)) is not None])
    return b"".join(line.model_dump_json().encode() + b"\n" for line in described)


def neutral(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _rows(line: responses.ResultLine) -> list[tuple[object, ...]]:
    sent, error, timings = line.input, line.error, line.timings
    before = (line.custom_id, line.item_id, line.status, sent.path, sent.bytes, sent.type)
    failed = (error.code, error.message, error.step) if error else (None, None, None)
    data = json.dumps(line.data, ensure_ascii=False) if line.data else None
    after = (*failed, line.attempts, timings.queued_ms, timings.run_ms, data)
    outputs: list[tuple[object, ...]] = [
        (each.name, each.url, each.bytes, each.type, each.width, each.height, each.sha256)
        for each in line.outputs
    ]
    nothing = (None,) * 7
    return [(*before, sent.sha256, *output, *after) for output in outputs or [nothing]]


def _stock_row(line: responses.ResultLine) -> tuple[str, ...] | None:
    name = line.outputs[0].name if line.outputs else line.input.path
    return stock.row(name, line.data)


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([neutral(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
