"""Views for people and programs that read the database: the tables of references 001 and 002.

`batch_jobs` and `batch_files` hold document batches, `data_records` photos with their faces. On
SQLite a failed file is retried by setting its status to pending, as reference 001 does. A
migration that changes `batches`, `items` or `counters` makes them again.
"""

import functools
import operator
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    case,
    cast,
    func,
    literal,
    null,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from batchmill.db.counters import sums, with_sum
from batchmill.db.schema import batches, items
from batchmill.model.batch import ENDED, BatchStatus
from batchmill.model.families import DOCUMENTS, PHOTOS
from batchmill.model.item import UNSUCCESSFUL, ItemStatus

BATCH_WORDS: Final = {
    "processing": (BatchStatus.PROCESSING, BatchStatus.FINALIZING, BatchStatus.CANCELLING),
    "completed": (BatchStatus.COMPLETED, BatchStatus.COMPLETED_WITH_ERRORS),
    "failed": (BatchStatus.FAILED, BatchStatus.CANCELLED, BatchStatus.EXPIRED),
}
ITEM_WORDS: Final = {
    "processing": (ItemStatus.PROCESSING,),
    "completed": (ItemStatus.COMPLETED, ItemStatus.SKIPPED),
    "failed": (ItemStatus.FAILED, ItemStatus.QUARANTINED, ItemStatus.CANCELLED),
}
"""Every other status is `pending` in the documents."""


def renew(conn: Connection) -> None:
    """Make the views, and on SQLite the trigger that retries a file, in place of older ones."""
    for name, query in _views().items():
        conn.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")  # its trigger goes with it
        shown = query.compile(conn.engine, compile_kwargs={"literal_binds": True})
        conn.exec_driver_sql(f"CREATE VIEW {name} AS {shown}")
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql(_RETRY)


def _views() -> Mapping[str, Select[Any]]:
    return {"batch_jobs": _jobs(), "batch_files": _files(), "data_records": _records()}


def _jobs() -> Select[Any]:
    counted = sums(*(f"n_{status}" for status in ItemStatus))
    number = {status: with_sum(f"n_{status}", counted) for status in ItemStatus}
    failed = _sum(number, ItemStatus.FAILED, ItemStatus.QUARANTINED, ItemStatus.CANCELLED)
    finished = failed + _sum(number, ItemStatus.COMPLETED, ItemStatus.SKIPPED)
    word = _word(batches.c.status, BATCH_WORDS)
    query = select(
        batches.c.id,
        func.coalesce(batches.c.tag, batches.c.owner_id).label("user_id"),
        word.label("status"),
        cast(_sum(number, *ItemStatus), BigInteger).label("total_files"),
        cast(finished, BigInteger).label("processed_files"),
        cast(failed, BigInteger).label("failed_files"),
        _priority().label("priority"),
        iso(batches.c.created_at).label("created_at"),
        iso(batches.c.started_at).label("started_at"),
        iso(batches.c.ended_at).label("completed_at"),
        case((word == "failed", "No file could be processed."), else_=null()).label("error"),
    )
    together = batches.outerjoin(counted, counted.c.batch_id == batches.c.id)
    return query.select_from(together).where(batches.c.family == DOCUMENTS)


def _sum(
    number: Mapping[ItemStatus, ColumnElement[int]], *statuses: ItemStatus
) -> ColumnElement[int]:
    return functools.reduce(operator.add, (number[status] for status in statuses))


def _files() -> Select[Any]:
    spent = items.c.errors + items.c.crashes + items.c.timeouts
    given_up = items.c.status.in_([str(status) for status in sorted(UNSUCCESSFUL)])
    return (
        select(
            items.c.id,
            items.c.batch_id,
            items.c.name.label("filename"),
            items.c.input_bytes.label("file_size"),
            items.c.input_sha256.label("file_hash"),
            _word(items.c.status, ITEM_WORDS).label("status"),
            cast(func.round(items.c.progress * 100), BigInteger).label("progress"),
            cast(items.c.data, Text).label("result"),
            items.c.error_message.label("error"),
            case((given_up & (spent > 0), spent - 1), else_=spent).label("retry_count"),
            iso(batches.c.created_at).label("created_at"),
            iso(items.c.started_at).label("started_at"),
            iso(items.c.ended_at).label("completed_at"),
            _priority().label("priority"),
        )
        .join(batches, batches.c.id == items.c.batch_id)
        .where(batches.c.family == DOCUMENTS)
    )


def _records() -> Select[Any]:
    known = items.c.data.is_not(null())  # MariaDB would read false where nothing is known
    seen = case((known, items.c.data["face_detected"].as_boolean()), else_=null())
    crop = case((known & items.c.data["face_detected"].as_boolean(), _result_url()), else_=null())
    whole = ("face_x", "face_y", "face_width", "face_height")
    return (
        select(
            func.coalesce(items.c.custom_id, items.c.id).label("id"),
            _word(items.c.status, ITEM_WORDS).label("processing_status"),
            seen.label("face_detected"),
            crop.label("cropped_photo_url"),
            crop.label("face_crop_url"),
            *(items.c.data[name].as_integer().label(name) for name in whole),
            batches.c.tag.label("project_id"),
            items.c.batch_id,
            items.c.name.label("filename"),
            items.c.error_message.label("error"),
        )
        .join(batches, batches.c.id == items.c.batch_id)
        .where(batches.c.family == PHOTOS)
    )


def _result_url() -> ColumnElement[str]:
    """Return the address of an item's first result, as `api/compat/result_tokens.py` reads it."""
    by_token = literal("/api/results/").concat(batches.c.result_token).concat("/")
    native = literal("/v1/items/").concat(items.c.id).concat("/thumbnail")
    return case(
        (batches.c.result_token.is_not(None), by_token.concat(items.c.id).concat("/1.jpg")),
        else_=native,
    )


def _word(status: ColumnElement[str], words: Mapping[str, tuple[str, ...]]) -> ColumnElement[str]:
    return case(
        *((status.in_([str(each) for each in named]), word) for word, named in words.items()),
        else_="pending",
    )


def _priority() -> ColumnElement[str]:
    """Return the document's name of a priority: 10 is high, 50 normal, 90 low within a tier."""
    rank = batches.c.priority % 100
    return case((rank <= 30, "high"), (rank <= 70, "normal"), else_="low")  # noqa: PLR2004


class iso(FunctionElement[str]):  # noqa: N801 - written like an SQL function
    """An instant as text: 2026-01-31T12:00:00.000Z."""

    type = Text()
    inherit_cache = True


def _shown(element: iso, compiler: SQLCompiler) -> str:
    return compiler.process(element.clauses.clauses[0])


@compiles(iso, "sqlite")
def _sqlite_iso(element: iso, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    seconds = f"{_shown(element, compiler)} / 1000.0"
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {seconds}, 'unixepoch')"


@compiles(iso, "postgresql")
def _postgresql_iso(element: iso, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    instant = f"to_timestamp({_shown(element, compiler)} / 1000.0) AT TIME ZONE 'UTC'"
    return f"""to_char({instant}, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


@compiles(iso, "mysql", "mariadb")
def _mariadb_iso(element: iso, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    since = f"{_shown(element, compiler)} * 1000, '1970-01-01 00:00:00'"
    instant = f"CAST(CAST(TIMESTAMPADD(MICROSECOND, {since}) AS DATETIME(3)) AS CHAR)"
    return f"CONCAT(REPLACE({instant}, ' ', 'T'), 'Z')"


_ENDED: Final = ", ".join(f"'{status}'" for status in sorted({*ENDED, BatchStatus.FINALIZING}))
_ENDED_ITEMS: Final = "n_completed + n_failed + n_skipped + n_cancelled + n_quarantined"
_FINISHED: Final = (
    f"({_ENDED_ITEMS} + (SELECT coalesce(sum({_ENDED_ITEMS}), 0) FROM counters"  # noqa: S608
    " WHERE batch_id = OLD.batch_id))"
)
_RETRY: Final = f"""
CREATE TRIGGER batch_files_retry INSTEAD OF UPDATE ON batch_files
WHEN NEW.status = 'pending' AND OLD.status = 'failed' AND (
  SELECT status FROM batches WHERE id = OLD.batch_id) NOT IN ('cancelling', 'uploading')
BEGIN
  UPDATE failures SET count = max(0, count - 1)
    WHERE no = (SELECT failure_no FROM items WHERE id = OLD.id);
  UPDATE batches SET
    n_pending = n_pending + 1,
    n_failed = n_failed - (SELECT status = 'failed' FROM items WHERE id = OLD.id),
    n_quarantined = n_quarantined
      - (SELECT status = 'quarantined' FROM items WHERE id = OLD.id),
    n_cancelled = n_cancelled - (SELECT status = 'cancelled' FROM items WHERE id = OLD.id),
    run_no = run_no + (run_started_at IS NOT NULL OR {_FINISHED} > run_base),
    run_base = {_FINISHED} - 1,
    run_started_at = NULL, settled_at = NULL, run_ms = 0, run_s2 = 0.0, busy_ms = 0,
    pause_reason = CASE WHEN status IN ({_ENDED}) THEN NULL ELSE pause_reason END,
    ended_at = NULL, expires_at = NULL, outage_since = NULL, outage_until = NULL,
    status = CASE WHEN status IN ({_ENDED}) THEN 'queued' ELSE status END,
    revision = revision + 1
    WHERE id = OLD.batch_id;
  UPDATE counters SET run_ms = 0, run_s2 = 0.0 WHERE batch_id = OLD.batch_id;
  UPDATE items SET status = 'pending', errors = 0, crashes = 0, timeouts = 0, lost = 0,
    failure_no = NULL, error_code = NULL, error_message = NULL, error_step = NULL,
    error_retryable = NULL, ended_at = NULL, due_at = 0, lease_until = NULL, worker_id = NULL
    WHERE id = OLD.id;
END
"""  # noqa: S608 - made of words of ours alone
"""What `service.control.retry` does, for SQLite alone; the sweep starts the file."""
