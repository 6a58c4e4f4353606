"""The schema comes into being by itself, whoever starts first."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text

import databases
from batchmill.db import access, migrations, workers
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.db.schema import metadata
from batchmill.db.types import NOW
from batchmill.errors.outage import (
    DatabaseMismatchError,
    DatabaseUnavailableError,
    OldProcessesError,
)


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


ITEM_OF_THEN = """INSERT INTO items (id, batch_id, position, name, status, attempt, input_key,
    input_bytes, worker_id) VALUES ('{0}', 'bat_1', {1}, 'a.jpg', '{2}', 2, 'k', 1, {3})"""
BATCH_OF_THEN = """INSERT INTO batches (id, owner_id, status, pipeline, pipeline_name, family, tier,
    priority, metadata, created_at, n_pending, n_queued, n_processing) VALUES ('bat_1', 'local',
    'processing', '{}', 'p', 'images', 'free', 1050, '{}', 1, 1, 1, 1)"""
WORKER_OF_THEN = """INSERT INTO workers (id, host, pid, slots, started_at, lease_until, stats)
    VALUES ('wrk_old', 'h', 1, 1, 1, :until, '{}')"""


@pytest.mark.parametrize("kind", ["sqlite", *databases.SERVERS])
def test_what_was_queued_in_an_older_version_waits_and_what_ran_is_left_to_the_rescue(
    kind: str, tmp_path: Path
) -> None:
    with databases.new_url(kind, tmp_path) as url:
        database = Database(url)
        with database.engine.begin() as conn:
            _bring_to(conn, "0004")
            conn.exec_driver_sql(BATCH_OF_THEN)
            for number, (status, worker) in enumerate(
                (("pending", "NULL"), ("queued", "NULL"), ("processing", "'wrk_old'"))
            ):
                row = ITEM_OF_THEN.format(f"itm_{number}", number, status, worker)
                conn.exec_driver_sql(row)
            conn.execute(text(WORKER_OF_THEN), {"until": 1})
        assert migrate(database.engine)
        with database.engine.begin() as conn:
            rows = conn.execute(text("SELECT status, begun FROM items ORDER BY position")).all()
            counts = conn.execute(text("SELECT n_pending, n_queued, n_processing FROM batches"))
            assert [tuple(row) for row in rows] == [
                ("pending", 2),
                ("pending", 2),
                ("processing", 2),
            ]
            assert tuple(counts.one()) == (2, 0, 1)
            assert workers.gone(conn) == ["wrk_old"]
        database.engine.dispose()


BEGUN_OF_THEN = "ALTER TABLE items ADD COLUMN begun INTEGER DEFAULT 0 NOT NULL"


def test_a_migration_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    """MariaDB can't take a change of a table back: what was done before the end stays."""
    with databases.new_url("mariadb", tmp_path) as url:
        database = Database(url)
        with database.engine.begin() as conn:
            _bring_to(conn, "0004")
            conn.exec_driver_sql(BEGUN_OF_THEN)
        assert migrate(database.engine)
        assert not migrate(database.engine)
        database.engine.dispose()


@pytest.mark.parametrize("before", ["0004", "0005"])
def test_a_migration_that_was_broken_off_at_its_end_finds_all_there(
    before: str, tmp_path: Path
) -> None:
    with databases.new_url("mariadb", tmp_path) as url:
        database = Database(url)
        with database.engine.begin() as conn:
            _bring_to(conn, "0005" if before == "0004" else "0006")
            version = {"version": before}
            conn.execute(text("UPDATE alembic_version SET version_num = :version"), version)
        assert migrate(database.engine)
        with database.engine.begin() as conn:
            assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        database.engine.dispose()


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_a_process_of_an_older_version_at_work_is_named_and_one_that_is_gone_is_waited_for(
    kind: str, tmp_path: Path
) -> None:
    with databases.new_url(kind, tmp_path) as url, ThreadPoolExecutor(1) as threads:
        database = Database(url)
        with database.engine.begin() as conn:
            _bring_to(conn, "0004")
            soon = conn.execute(select(NOW + 2_000)).scalar_one()
            conn.execute(text(WORKER_OF_THEN), {"until": soon})
        other = Database(url)
        refused = threads.submit(migrate, other.engine)
        while not refused.done():
            with database.engine.begin() as conn:
                renewed = conn.execute(select(NOW + 2_000)).scalar_one()
                conn.execute(text("UPDATE workers SET lease_until = :until"), {"until": renewed})
            time.sleep(0.2)
        with pytest.raises(OldProcessesError, match="wrk_old"):
            refused.result()
        assert migrate(database.engine), "its lease is not renewed any more"
        for each in (database, other):
            each.engine.dispose()


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
