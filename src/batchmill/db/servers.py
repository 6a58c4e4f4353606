"""Which database servers can be used: refuses the others at start, by a sentence."""

import re
from typing import Final

from sqlalchemy import Connection, text

from batchmill.errors.outage import DatabaseUnsuitableError

OLDEST: Final = {"MariaDB": (10, 6), "MySQL": (8, 0, 19)}
"""The first that skip rows which others have locked, and know their inserted row by a name."""
_MARIADB_AS_MYSQL: Final = re.compile(r"^5\.5\.5-(?=1\d)")
"""What MariaDB put before its version for clients that knew only MySQL."""


def refuse_unsuitable(conn: Connection) -> None:
    """Refuse a MariaDB or MySQL that is too old, or logs statements where it must log rows.

    Raises:
        DatabaseUnsuitableError: so it is; the message says what it is and what is needed.
    """
    if conn.dialect.name != "mysql":
        return
    asked = "SHOW VARIABLES WHERE Variable_name IN ('version', 'log_bin', 'binlog_format')"
    found = {str(name): str(value) for name, value in conn.execute(text(asked))}
    if problem := why_unsuitable(found):
        raise DatabaseUnsuitableError(problem)


def why_unsuitable(variables: dict[str, str]) -> str | None:
    """Say what is wrong with a server that has these variables; None where nothing is."""
    version = _MARIADB_AS_MYSQL.sub("", variables["version"])
    name = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    if _numbers(version) < OLDEST[name]:
        return (
            f"The database server is {name} {_dotted(_numbers(version))}; batchmill needs"
            " MariaDB 10.6 or MySQL 8.0.19, or newer."
        )
    # With READ COMMITTED, InnoDB refuses every write that would be logged as a statement.
    if variables.get("log_bin") == "ON" and variables.get("binlog_format") == "STATEMENT":
        return (
            f"The database server, {name}, logs statements (BINLOG_FORMAT=STATEMENT); batchmill"
            " needs MIXED or ROW."
        )
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
