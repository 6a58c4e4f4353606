"""Brings a database to the newest schema: Alembic, imported only where there is work to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, inspect, text

from batchmill.db.connect import translated
from batchmill.db.schema import metadata
from batchmill.db.servers import refuse_unsuitable
from batchmill.errors.outage import DatabaseMismatchError

HEAD = "0006"
"""The newest revision under `migrations/versions`; a test compares it with Alembic's own."""


def revision(conn: Connection) -> str | None:
    """Return the schema's revision, without importing Alembic; None: there is no schema yet."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found = conn.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def migrate(engine: Engine) -> bool:
    """Apply all missing migrations; idempotent. Returns True when something was changed.

    Raises:
        DatabaseUnavailableError: the database does not answer.
        DatabaseMismatchError: its tables are those of another version.
        DatabaseUnsuitableError: its server is too old, or set up in a way that does not work.
    """
    with translated(), engine.connect() as conn:
        refuse_unsuitable(conn)
        if revision(conn) == HEAD:
            _refuse_others(conn)
            return False
    # Here and not at the top: 0.3 s that a start with a current schema saves.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with translated(), _patient(engine) as conn, _alone(conn), conn.begin():
        if revision(conn) == HEAD:
            return False
        config.attributes["connection"] = conn
        try:
            command.upgrade(config, "head")
        except CommandError as error:  # a revision that is not known here
            raise DatabaseMismatchError(detail=str(error)) from error
        _refuse_others(conn)
    return True


def _refuse_others(conn: Connection) -> None:
    """Refuse tables that lack a column, such as those of a version before the first release."""
    found = inspect(conn).get_multi_columns()
    known = {name: {column["name"] for column in there} for (_, name), there in found.items()}
    for name, table in metadata.tables.items():
        if lacking := set(table.columns.keys()) - known.get(name, set()):
            raise DatabaseMismatchError(detail=f"{name} lacks {', '.join(sorted(lacking))}")


@contextmanager
def _patient(engine: Engine) -> Iterator[Connection]:
    """Open a connection that waits for as long as a change of large tables takes."""
    is_sqlite = engine.dialect.name == "sqlite"
    own = engine if is_sqlite else create_engine(engine.url, isolation_level="READ COMMITTED")
    try:
        with own.connect() as conn:
            yield conn
    finally:
        if own is not engine:
            own.dispose()


@contextmanager
def _alone(conn: Connection) -> Iterator[None]:
    """Let one process at a time go on: servers and workers may all start at once."""
    lock, unlock = _LOCKS.get(conn.dialect.name, ("SELECT 1", "SELECT 1"))
    while conn.scalar(text(lock)) == 0:  # MariaDB gives up after a minute
        pass
    conn.commit()
    try:
        yield
    finally:
        conn.execute(text(unlock))


_LOCKS: Final = {
    "postgresql": ("SELECT pg_advisory_lock(2207)", "SELECT pg_advisory_unlock(2207)"),
    "mysql": ("SELECT GET_LOCK('batchmill', 60)", "SELECT RELEASE_LOCK('batchmill')"),
}
"""For as long as a connection wants; SQLite knows one writer anyway."""
