"""Updates that are built once for each shape: to build one takes longer than to run it."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Table,
    Update,
    bindparam,
    update,
)

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
