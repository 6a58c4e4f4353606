"""The schema comes into being by itself, whoever starts first."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

import databases
from batchmill.db import access, migrations
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.db.schema import metadata
from batchmill.errors.outage import DatabaseMismatchError, DatabaseUnavailableError


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_many_processes_that_start_at_once_make_one_schema(kind: str, tmp_path: Path) -> None:
    with databases.new_url(kind, tmp_path) as url:
        opened = [Database(url) for _ in range(6)]
        with ThreadPoolExecutor(len(opened)) as threads:
            changed = list(threads.map(lambda database: migrate(database.engine), opened))
        for database in opened:
            database.engine.dispose()
    assert sorted(changed) == [False] * 5 + [True]


@pytest.mark.parametrize("kind", ["sqlite", *databases.SERVERS])
def test_a_database_of_the_first_version_is_brought_to_the_newest_with_what_it_holds(
    kind: str, tmp_path: Path
) -> None:
    with databases.new_url(kind, tmp_path) as url:
        database = Database(url)
        with database.engine.begin() as conn:
            _bring_to(conn, "0002")
            conn.execute(text(KEY_OF_THEN))
        assert migrate(database.engine)
        with database.engine.begin() as conn:
            assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        (kept,) = asyncio.run(database.read(access.keys_of, None))
        database.engine.dispose()
    assert kept.name == "kept"


KEY_OF_THEN = """INSERT INTO api_keys (id, secret_sha256, owner_id, name, tier, scopes, created_at)
    VALUES ('key_1', 'abc', 'local', 'kept', 'free', '["read"]', 1)"""


def _bring_to(conn: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    config.attributes["connection"] = conn
    command.upgrade(config, revision)


TABLES_OF_OTHERS = [
    "CREATE TABLE batches (id VARCHAR(20))",
    "CREATE TABLE alembic_version (version_num VARCHAR(32))",
]


@pytest.mark.parametrize("kind", ["sqlite", *databases.SERVERS])
@pytest.mark.parametrize("revision", [None, "0001", "9999"])
def test_tables_of_another_version_are_said_to_be_so(
    kind: str, revision: str | None, tmp_path: Path
) -> None:
    with databases.new_url(kind, tmp_path) as url:
        database = Database(url)
        with database.engine.begin() as conn:
            for statement in TABLES_OF_OTHERS:
                conn.execute(text(statement))
            if revision:
                conn.execute(text("INSERT INTO alembic_version VALUES (:it)"), {"it": revision})
        with pytest.raises(DatabaseMismatchError) as refused:
            migrate(database.engine)
        database.engine.dispose()
    assert refused.value.message.startswith("The database holds tables of another version")


@pytest.mark.parametrize("kind", ["sqlite", *databases.SERVERS])
def test_a_missing_column_is_no_outage(kind: str, tmp_path: Path) -> None:
    with databases.new_url(kind, tmp_path) as url:
        database = Database(url)
        migrate(database.engine)
        with database.engine.begin() as conn:
            conn.execute(text("ALTER TABLE api_keys RENAME COLUMN tier TO class"))
        with pytest.raises(DatabaseMismatchError):
            asyncio.run(database.read(access.keys_of, None))
        database.engine.dispose()


def test_a_database_that_is_away_is_an_outage() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailableError):
        migrate(database.engine)
