"""Connections that die: in the pool nobody notices, in the middle a call is run again whole."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

import databases
from batchmill.db import bulk
from batchmill.db.connect import Database
from batchmill.db.schema import secrets
from batchmill.errors.outage import DatabaseUnavailableError, StorageFullError

OWN = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


@pytest.fixture(params=databases.SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with databases.new_database(request.param, tmp_path) as database:
        yield database


def own_number(conn: Connection) -> int:
    return int(conn.execute(text(OWN[conn.dialect.name])).scalar_one())


def end(database: Database, number: int) -> None:
    """End a connection from another one."""
    engine = create_engine(database.engine.url)
    with engine.connect() as conn:
        conn.execute(text(KILL[conn.dialect.name].format(number)))
    engine.dispose()


async def test_a_connection_that_died_in_the_pool_is_replaced_and_nobody_notices(
    server: Database,
) -> None:
    for ask in (server.run, server.read):
        before = await ask(own_number)
        await asyncio.to_thread(end, server, before)
        assert await ask(own_number) != before


def many_rows(conn: Connection) -> None:
    bulk.insert(conn, secrets, [{"name": f"n{at}", "value": "v"} for at in range(2 * bulk.FEW)])


@pytest.mark.parametrize("ask", [own_number, many_rows])
def test_a_call_whose_connection_dies_in_the_middle_is_run_again_whole(
    server: Database, ask: Callable[[Connection], object]
) -> None:
    numbers = []

    def breaking(conn: Connection) -> object:
        numbers.append(own_number(conn))
        if len(numbers) == 1:
            end(server, numbers[0])
        return ask(conn)

    asyncio.run(server.run(breaking))
    assert len(numbers) == 2


async def test_a_full_disk_is_told_apart_from_a_database_that_is_away(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'small.sqlite3'}")

    def fill(conn: Connection) -> None:
        conn.exec_driver_sql("PRAGMA max_page_count = 4")
        conn.exec_driver_sql("CREATE TABLE filled (body BLOB)")
        conn.exec_driver_sql("INSERT INTO filled VALUES (zeroblob(100000))")

    with pytest.raises(StorageFullError):
        await database.run(fill)
    await database.aclose()
    with pytest.raises(DatabaseUnavailableError):
        await database.run(fill)
