"""Updates of rows that are named by their primary key, and that look at no other row."""

import re
from typing import Any, Final

from sqlalchemy import Update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class UpdateById(Update):
    """An UPDATE that finds its rows by primary key, one after the other.

    MariaDB and MySQL are told so: they would go through all of a small table, and wait for each
    row of it that another has locked.
    """

    inherit_cache = True


@compiles(UpdateById, "mysql")
def _by_primary_key(element: UpdateById, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return _TABLES.sub(_in_order, compiler.visit_update(element, **kw), count=1)


_TABLES: Final = re.compile(r"^UPDATE (\w+)(?:, (\(.*\) AS \w+))? SET ", re.DOTALL)
"""The table, and the values that it is joined with, if there are any."""


def _in_order(found: re.Match[str]) -> str:
    values = f"{found[2]} STRAIGHT_JOIN " if found[2] else ""
    return f"UPDATE {values}{found[1]} FORCE INDEX (PRIMARY) SET "  # noqa: S608 - its own text
