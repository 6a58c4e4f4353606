"""Column types and the clock that read the same on SQLite, PostgreSQL and MariaDB."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Dialect, String, literal, literal_column, types
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Instant(types.TypeDecorator[datetime]):
    """An aware UTC datetime, stored as whole milliseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Turn a datetime into milliseconds."""
        return None if value is None else to_ms(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Turn milliseconds into a datetime."""
        return None if value is None else from_ms(value)


def to_ms(instant: datetime) -> int:
    """Return the milliseconds since 1970 of an aware datetime."""
    return round(instant.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Return the aware UTC datetime of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class database_now(FunctionElement[int]):  # noqa: N801 - written like an SQL function
    """The database's own clock in milliseconds: the only clock that leases are compared with."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


@compiles(database_now, "postgresql")
def _postgresql_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"


@compiles(database_now, "mysql", "mariadb")
def _mariadb_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return "CAST(ROUND(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED)"


Clock = ColumnElement[int]
"""What the `now` of a statement may be: `NOW`, or a constant that a test means."""

NOW: Clock = database_now()


def at(milliseconds: int) -> Clock:
    """Return a constant for the `now` of a statement."""
    return literal(milliseconds, BigInteger())


def one_of(column: ColumnElement[str], words: Iterable[str]) -> ColumnElement[bool]:
    """Return `column IN (…)` with words of ours in its text: bound ones are packed out each time.

    Raises:
        ValueError: a word is more than letters and underscores.
    """
    chosen = sorted(words)
    if not all(word.replace("_", "").isalpha() for word in chosen):
        raise ValueError(f"not words: {chosen}")
    return column.in_([literal_column(f"'{word}'", String()) for word in chosen])


_BINARY = "utf8mb4_bin"


def text(length: int) -> types.TypeEngine[str]:
    """Return a text column compared byte by byte, so that prefix ranges use its index."""
    return (
        String(length)
        .with_variant(String(length, collation="C"), "postgresql")
        .with_variant(
            mysql.VARCHAR(length, charset="utf8mb4", collation=_BINARY), "mysql", "mariadb"
        )
    )
