"""Real databases for tests: SQLite always, PostgreSQL and MariaDB where their address is set."""

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.db.schema import metadata

SERVERS = {
    "postgresql": "BATCHMILL_TEST_POSTGRESQL_URL",
    "mariadb": "BATCHMILL_TEST_MYSQL_URL",
}
KINDS = ("sqlite", *SERVERS)


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
    name = f"batchmill_test_{os.getpid()}_{secrets.token_hex(4)}"
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
        with admin.connect() as conn:
            conn.execute(text(f"DROP DATABASE {name}"))
        admin.dispose()


def _server_url(kind: str) -> str:
    variable = SERVERS[kind]
    url = os.environ.get(variable)
    if not url:
        if os.environ.get("CI"):
            pytest.fail(f"{variable} is not set: CI must test all three databases")
        pytest.skip(f"{variable} is not set")
    return url
