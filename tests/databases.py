"""Real databases for tests: SQLite always, PostgreSQL and MariaDB where they are found.

A server is found at the address in its variable, or else on its standard port. Tests make and drop
only databases of their own, and refuse any other.
"""

import asyncio
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.db.schema import metadata
from support import parts


@dataclass(frozen=True)
class Server:
    """Where a database server is named, and where it is looked for otherwise."""

    part: str
    variable: str
    usual: str


SERVERS = {
    "postgresql": Server(
        "PostgreSQL",
        "BATCHMILL_TEST_POSTGRESQL_URL",
        "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    ),
    "mariadb": Server(
        "MariaDB", "BATCHMILL_TEST_MYSQL_URL", "mysql+pymysql://root@127.0.0.1:3306/mysql"
    ),
}
KINDS = ("sqlite", *SERVERS)
_OURS = re.compile(r"batchmill_test_[a-z0-9_]+")


def ours(name: str) -> str:
    """Return the name of a database, a queue or a bucket that a test may drop.

    Raises:
        ValueError: It belongs to the machine.
    """
    if not _OURS.fullmatch(name):
        raise ValueError(f"{name} is no test's own: that begins with batchmill_test_")
    return name


def memory_folder(fallback: Path) -> Path:
    """Return a folder without real fsync where there is one: these tests end no power supply."""
    shared = Path("/dev/shm")  # noqa: S108
    return shared if os.access(shared, os.W_OK) else fallback


@contextmanager
def new_database(kind: str, folder: Path) -> Iterator[Database]:
    """Make a database of this kind with the newest schema, and remove it afterwards."""
    with new_url(kind, folder) as url:
        database = Database(url)
        try:
            migrate(database.engine)
            yield database
        finally:
            asyncio.run(database.aclose())


def empty(conn: Connection) -> None:
    """Remove all rows."""
    for table in reversed(metadata.sorted_tables):
        conn.execute(table.delete())


@contextmanager
def new_url(kind: str, folder: Path) -> Iterator[str]:
    """Make a database of this kind without any table, and remove it afterwards."""
    name = ours(f"batchmill_test_{os.getpid()}_{secrets.token_hex(4)}")
    if kind == "sqlite":
        path = memory_folder(folder) / f"{name}.sqlite3"
        yield f"sqlite:///{path}"
        for left in path.parent.glob(f"{name}.sqlite3*"):
            left.unlink()
        return
    url = make_url(_server_url(kind))
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        drop(admin, name)
        admin.dispose()


def drop(admin: Engine, name: str) -> None:
    """Drop a test's own database.

    Raises:
        ValueError: It is not a test's own.
    """
    with admin.connect() as conn:
        conn.execute(text(f"DROP DATABASE {ours(name)}"))


def _server_url(kind: str) -> str:
    server = SERVERS[kind]
    url = os.environ.get(server.variable) or (server.usual if _answers(server.usual) else None)
    return url or parts.missing(server.part)


@cache
def _answers(url: str) -> bool:
    """Say whether a server lets the tests in at its standard port, with its usual credentials."""
    engine = create_engine(url, connect_args={"connect_timeout": 2})
    try:
        with engine.connect():
            return True
    except DBAPIError:
        return False
    finally:
        engine.dispose()
