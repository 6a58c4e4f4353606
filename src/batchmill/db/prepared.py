"""Statements that are built once for each shape: to build one takes longer than to run it."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Insert,
    Table,
    Update,
    bindparam,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from batchmill.db.types import Clock

SHAPES = 256
"""Most statements that are kept; the hot path has about ten."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A value that the database works out: `build(*terms, *numbers)`; only the numbers vary."""

    build: Callable[..., ColumnElement[Any]]
    terms: tuple[ColumnElement[Any], ...]
    numbers: tuple[float, ...]

    def expression(self) -> ColumnElement[Any]:
        """Return the expression with the numbers in it."""
        return self.build(*self.terms, *self.numbers)


def plus(term: ColumnElement[Any], number: float) -> Formula:
    """Return `term + number`."""
    return Formula(operator.add, (term,), (number,))


def change(
    conn: Connection, table: Table, same: Mapping[str, Any], values: Mapping[str, Any]
) -> int:
    """Set columns of the rows whose columns equal `same`; return how many rows those are.

    A value is plain, a Formula, or an expression, which should be the same object each time.
    """
    shape = tuple((name, _shape(value)) for name, value in values.items())
    given = {f"same_{name}": value for name, value in same.items()}
    for name, value in values.items():
        if isinstance(value, Formula):
            given |= {f"set_{name}_{at}": number for at, number in enumerate(value.numbers)}
        elif not isinstance(value, ColumnElement):
            given[f"set_{name}"] = value
    return conn.execute(_statement(table, tuple(same), shape), given).rowcount


def add_up(
    conn: Connection,
    table: Table,
    row: Mapping[str, Any],
    *,
    summed: tuple[str, ...] = (),
    renewed: tuple[str, ...] = (),
    now: Mapping[str, Clock] | None = None,
) -> None:
    """Insert a row; where its primary key is taken, change the row that is there.

    Columns that are `summed` grow by the new value, those that are `renewed` take it, all others
    stay. `now` gives columns the database's clock.
    """
    clocks = tuple((now or {}).items())
    statement = _upsert(conn.dialect.name, table, tuple(row), summed, renewed, clocks)
    conn.execute(statement, dict(row))


def _shape(value: Any) -> Any:  # noqa: ANN401 - any column's value
    if isinstance(value, Formula):
        return value.build, value.terms, tuple(map(type, value.numbers))
    return value if isinstance(value, ColumnElement) else None


@lru_cache(maxsize=SHAPES)
def _statement(table: Table, same: tuple[str, ...], shape: tuple[tuple[str, Any], ...]) -> Update:
    rows = (table.c[name] == bindparam(f"same_{name}", type_=table.c[name].type) for name in same)
    values = {name: _bound(table, name, part) for name, part in shape}
    return update(table).where(*rows).values(values)


def _bound(table: Table, name: str, part: Any) -> ColumnElement[Any]:  # noqa: ANN401 - of `_shape`
    if part is None:
        return bindparam(f"set_{name}", type_=table.c[name].type)
    if isinstance(part, ColumnElement):
        return part
    build, terms, types = part
    numbers = (
        bindparam(f"set_{name}_{at}", type_=BigInteger() if kind is int else Float())
        for at, kind in enumerate(types)
    )
    built: ColumnElement[Any] = build(*terms, *numbers)
    return built


@lru_cache(maxsize=SHAPES)
def _upsert(  # noqa: PLR0917 - what makes a shape, in the order of `add_up`
    dialect: str,
    table: Table,
    names: Sequence[str],
    summed: Sequence[str],
    renewed: Sequence[str],
    clocks: Sequence[tuple[str, Clock]],
) -> Insert:
    values = {name: bindparam(name, type_=table.c[name].type) for name in names} | dict(clocks)
    if dialect == "mysql":
        statement = mysql.insert(table).values(values)
        new = statement.inserted
        changed = {name: table.c[name] + new[name] for name in summed}
        return statement.on_duplicate_key_update(
            {**changed, **{name: new[name] for name in renewed}}
        )
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    adding = make(table).values(values)
    changed = {name: table.c[name] + adding.excluded[name] for name in summed}
    return adding.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={**changed, **{name: adding.excluded[name] for name in renewed}},
    )
