"""Connections that die: in the pool nobody notices, in the middle a call is run again whole."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

import databases
from batchmill.db import bulk, workers
from batchmill.db.connect import IDLE_S, LOCK_WAIT_S, Database
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


def lock_a_row(conn: Connection) -> None:
    workers.go_alone(conn, "one at a time")


@pytest.mark.long
async def test_a_process_that_is_frozen_in_a_transaction_holds_its_locks_for_seconds(
    server: Database,
) -> None:
    frozen, locked, thawed = Database(server.address), threading.Event(), threading.Event()

    def freeze(conn: Connection) -> None:
        lock_a_row(conn)
        locked.set()
        thawed.wait(60)

    await server.run(lock_a_row)
    holding = asyncio.create_task(frozen.run(freeze))
    await asyncio.to_thread(locked.wait)
    async with asyncio.timeout(30):
        await server.run(lock_a_row)
    assert not holding.done()
    thawed.set()
    with pytest.raises(DatabaseUnavailableError):  # what it did may be asked for again
        await holding
    await frozen.aclose()


def test_every_connection_bounds_how_long_locks_are_held_and_waited_for(server: Database) -> None:
    names = {
        "postgresql": ("idle_in_transaction_session_timeout", "lock_timeout"),
        "mysql": ("idle_transaction_timeout", "innodb_lock_wait_timeout"),
    }[server.engine.dialect.name]
    ask = {"postgresql": "SHOW {}", "mysql": "SELECT @@{}"}[server.engine.dialect.name]

    def bounds(conn: Connection) -> list[str]:
        return [str(conn.scalar(text(ask.format(name)))).removesuffix("s") for name in names]

    assert asyncio.run(server.run(bounds)) == [str(IDLE_S), str(LOCK_WAIT_S)]


REFUSED = {
    "postgresql": "SELECT CAST(repeat('[', 100000) AS json)",  # class 54: more than its stack holds
    "mysql": "SELECT * FROM JSON_TABLE('[', '$[*]' COLUMNS(a TEXT PATH '$.a')) AS t",
}


async def test_what_a_server_refuses_is_no_outage(server: Database) -> None:
    """An outage is waited out; a row that is refused would be written for ever."""
    with pytest.raises(OperationalError):
        await server.run(lambda conn: conn.execute(text(REFUSED[conn.dialect.name])).all())
