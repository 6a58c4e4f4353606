"""Adds and changes many rows at once, in the way in which each database is fastest."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    FromClause,
    Integer,
    Table,
    Update,
    bindparam,
    column,
    text,
)
from sqlalchemy.exc import DBAPIError

from batchmill.db.by_id import UpdateById
from batchmill.db.types import Clock
from batchmill.model.storable import storable

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


Part = Callable[[str], ColumnElement[Any]]
"""Returns the value that the present row gives for a name."""
Derived = tuple[str, Callable[[Part, Clock], ColumnElement[Any]]]
"""A column, and how to work it out; the function is the same object each time."""
SHAPES = 64
"""Most statements that are kept."""


def change(
    conn: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    same: tuple[str, ...],
    now: Clock,
    derived: tuple[Derived, ...] = (),
) -> int:
    """Set columns of many rows, each to values of its own; return how many rows were there.

    All of `rows` name the same columns: those of `same` find the row and the others are set.
    Names that are no column are only for `derived`, whose values the database works out.

    One statement, whose text is the same for any number of rows: servers get them as one JSON
    document, SQLite, to which there is no way, gets them one after the other.
    """
    if not rows:
        return 0
    name = conn.dialect.name
    statement = _changing(name, table, same, tuple(rows[0]), derived, now)
    if name == "sqlite":
        given = [{f"row_{key}": value for key, value in row.items()} for row in rows]
        return conn.execute(statement, given).rowcount
    document = _document(name, table, rows)
    if _UNSTORABLE.search(document):
        document = _document(name, table, storable(rows))
    return conn.execute(statement, {"rows": document}).rowcount


_UNSTORABLE = re.compile(r"\\u(0000|d[89a-f])")
"""U+0000 or half a character, or a text that looks like it."""


def _document(dialect: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps([{key: _json(dialect, table, key, row[key]) for key in row} for row in rows])


def _json(dialect: str, table: Table, key: str, value: Any) -> Any:  # noqa: ANN401 - a column's
    """Return a value as the document has it: MariaDB reads JSON only from a text in it."""
    if dialect == "mysql" and value is not None:
        kind = table.c[key].type if key in table.c else None
        if isinstance(kind, JSON):
            return json.dumps(value)
        if isinstance(kind, Boolean):
            return int(value)
    return value


@lru_cache(maxsize=SHAPES)
def _changing(  # noqa: PLR0917 - what makes a shape, in the order of `change`
    dialect: str,
    table: Table,
    same: tuple[str, ...],
    names: tuple[str, ...],
    derived: tuple[Derived, ...],
    now: Clock,
) -> Update:
    part: Part
    if dialect == "sqlite":

        def part(key: str) -> ColumnElement[Any]:
            kind = table.c[key].type if key in table.c else BigInteger()
            return bindparam(f"row_{key}", type_=kind)

    else:
        given = _given(dialect, table, names)

        def part(key: str) -> ColumnElement[Any]:
            return given.c[key]

    found = (table.c[key] == part(key) for key in same)
    plain = {key: part(key) for key in names if key not in same and key in table.c}
    worked_out = {key: build(part, now) for key, build in derived}
    return UpdateById(table).where(*found).values({**plain, **worked_out})


def _given(dialect: str, table: Table, names: tuple[str, ...]) -> FromClause:
    """Return the rows of the bound document `rows` as a table."""
    columns = [
        Column(key, table.c[key].type) if key in table.c else column(key, BigInteger())
        for key in names
    ]
    if dialect == "postgresql":
        listed = ", ".join(f"{each.name} {_postgresql_type(each)}" for each in columns)
        query = f"SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS given({listed})"  # noqa: S608
    else:
        listed = ", ".join(
            f"{each.name} {_mysql_type(each)} PATH '$.{each.name}'" for each in columns
        )
        query = f"SELECT * FROM JSON_TABLE(:rows, '$[*]' COLUMNS({listed})) AS given"  # noqa: S608
    return text(query).columns(*columns).subquery("one")


def _postgresql_type(each: ColumnElement[Any]) -> str:
    kind = each.type
    if isinstance(kind, JSON):
        return "json"
    if isinstance(kind, Boolean):
        return "boolean"
    if isinstance(kind, Float):
        return "double precision"
    return "bigint" if isinstance(kind, Integer) else "text"


def _mysql_type(each: ColumnElement[Any]) -> str:
    kind = each.type
    if isinstance(kind, JSON):
        return "LONGTEXT CHARACTER SET utf8mb4"
    if isinstance(kind, Boolean):
        return "TINYINT"
    if isinstance(kind, Float):
        return "DOUBLE"
    if isinstance(kind, Integer):
        return "BIGINT"
    length = getattr(kind, "length", None) or 1_024
    return f"VARCHAR({length}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


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
