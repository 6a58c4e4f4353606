"""Adds many rows at once, in the way in which each database is fastest."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

FEW = 50
"""Up to so many rows the ordinary way has fewer round trips."""


def insert(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows that all name the same columns; no rows are fine.

    PostgreSQL takes them by COPY: a fifth of the CPU of INSERT, measured with rows of an archive.
    """
    if conn.dialect.name == "postgresql" and len(rows) > FEW:
        _copy(conn, table, rows)
    elif rows:
        conn.execute(table.insert(), rows)


def _copy(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(rows[0])
    types = (table.c[name].type.dialect_impl(conn.dialect) for name in names)
    bound = [
        (name, kind.bind_processor(conn.dialect)) for name, kind in zip(names, types, strict=True)
    ]
    statement = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"
    driver: Any = conn.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copying:
            for row in rows:
                copying.write_row([bind(row[name]) if bind else row[name] for name, bind in bound])
    except conn.dialect.loaded_dbapi.Error as error:
        raise _wrapped(conn, statement, error) from error


def _wrapped(conn: Connection, statement: str, error: Any) -> BaseException:  # noqa: ANN401
    """Return what SQLAlchemy would raise, so that deadlocks and outages are known as such."""
    dialect, kind = conn.dialect, conn.dialect.loaded_dbapi.Error
    died = dialect.is_disconnect(error, conn.connection, None)
    found: BaseException = DBAPIError.instance(
        statement, None, error, kind, connection_invalidated=died, dialect=dialect
    )
    if died:
        conn.invalidate(error)
    return found
