"""The one door to the database: `await database.run(items.claim, …)` is one transaction.

The functions of this package are plain and synchronous; here they get a thread. On SQLite one
writer thread takes all calls that wait, runs each in a savepoint and commits them together:
one fsync for many callers, who are answered after the commit. On PostgreSQL and MariaDB each
call is a transaction of its own, repeated when the server chose it as a deadlock's victim.
"""

import asyncio
import contextlib
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from batchmill.errors.outage import (
    DatabaseMismatchError,
    DatabaseUnavailableError,
    ServerBusyError,
    StorageFullError,
)

__all__ = ["Connection", "Database", "translated"]

P = ParamSpec("P")
T = TypeVar("T")

READER_THREADS = 4
SERVER_THREADS = 8
LIST_THREADS = 2
LIST_WAIT_S: Final = 1.0
"""While a list has waited for longer, no other is begun."""
GROUP_LIMIT = 128
"""Most calls that share one commit on SQLite."""

IDLE_S: Final = 5
"""A server ends a transaction that asks nothing for this long: its process is frozen or cut off."""
SILENCE_S: Final = 60
"""A line on which nothing comes for this long counts as dead; no statement of ours takes longer."""
_MYSQL_LINE: Final = {"read_timeout": SILENCE_S, "write_timeout": SILENCE_S}
_POSTGRESQL_LINE: Final = {
    "connect_timeout": 10,
    "keepalives_idle": SILENCE_S // 3,
    "keepalives_interval": SILENCE_S // 6,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_S * 1000,
}
LOCK_WAIT_S: Final = 10
"""How long a call waits for a lock: twice what one who holds it may idle."""

_DEADLOCKS = frozenset({"40P01", "40001", "1213"})
_DEADLOCK_TRIES = 12


class Database:
    """A database by URL: `sqlite:///file.db`, `postgresql://…` or `mysql://…`.

    `run` is for calls that write, `read` for calls that only look, and `browse` for those that may
    look at many rows; each is a transaction, and none of them waits for another kind.
    """

    def __init__(self, url: str) -> None:
        self._writes: _Writer
        parsed = make_url(_with_driver(url))
        if parsed.get_backend_name() == "sqlite":
            path = parsed.database or ""
            self.engine = _sqlite_engine(path, begin="BEGIN")
            self._writes = _GroupingWriter(_sqlite_engine(path, begin="BEGIN IMMEDIATE"))
            threads = READER_THREADS
        else:
            self.engine = _server_engine(parsed.render_as_string(hide_password=False))
            self._writes = _PooledWriter(self.engine)
            threads = SERVER_THREADS
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="db-read")
        self._browsers = ThreadPoolExecutor(LIST_THREADS, thread_name_prefix="db-list")
        self._lists: dict[object, float] = {}
        self.list_wait_s = LIST_WAIT_S

    @property
    def is_sqlite(self) -> bool:
        """True where all callers live on one machine."""
        return self.engine.dialect.name == "sqlite"

    @property
    def address(self) -> str:
        """The URL by which the database's own clients reach it, with its password."""
        url = self.engine.url.set(drivername=self.engine.dialect.name)
        return url.render_as_string(hide_password=False)

    async def run(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(conn, …)` in a transaction that is durable when this returns.

        The call may run more than once after a deadlock, so it must have no effect but SQL.

        Raises:
            DatabaseUnavailableError: the database is away; nothing was changed.
            StorageFullError: the disk of an SQLite database is full; nothing was changed.
        """
        future = self._writes.submit(lambda conn: function(conn, *args, **kwargs))
        return await _settled(future)

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(conn, …)` without changing anything; it sees one consistent state.

        Raises:
            DatabaseUnavailableError: the database is away.
        """
        call = self._looking(lambda conn: function(conn, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def browse(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(conn, …)`, which reads a list, as `read` does, without delaying that.

        Raises:
            ServerBusyError: lists that were asked for before have waited for too long.
            DatabaseUnavailableError: the database is away.
        """
        self.refuse_lists_when_busy()
        return await self.browse_on(function, *args, **kwargs)

    def refuse_lists_when_busy(self) -> None:
        """Refuse to begin a list where others have waited for too long.

        Raises:
            ServerBusyError: so it is.
        """
        oldest_s = next(iter(tuple(self._lists.values())), None)
        if oldest_s is not None and time.monotonic() - oldest_s > self.list_wait_s:
            raise ServerBusyError("too many lists to read")

    async def browse_on(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(conn, …)`, which reads the next page of a list that was begun.

        Raises:
            DatabaseUnavailableError: the database is away.
        """
        waiting, look = object(), self._looking(lambda conn: function(conn, *args, **kwargs))

        def call() -> T:
            self._lists.pop(waiting, None)
            return look()

        self._lists[waiting] = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._browsers, call)
        finally:  # one that was cancelled never began
            self._lists.pop(waiting, None)

    def _looking(self, function: Callable[[Connection], T]) -> Callable[[], T]:
        def call() -> T:
            with translated():
                return _on_living(self.engine, function)

        return call

    async def empty_log(self) -> None:
        """Move SQLite's write-ahead log, which still holds rows overwritten, into its file."""
        if self.is_sqlite:
            await asyncio.to_thread(self._empty_log)

    def _empty_log(self) -> None:
        connection = self.engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()

    async def aclose(self) -> None:
        """Finish the calls that wait and close every connection. Safe to call twice."""
        await asyncio.to_thread(self._writes.close)
        self._readers.shutdown(wait=True)
        self._browsers.shutdown(wait=True)
        self.engine.dispose()


async def _settled(future: "Future[T]") -> T:
    """Wait for a write even when cancelled: the caller must know whether it happened."""
    wrapped = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(wrapped)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await asyncio.wait({wrapped})
        raise


@dataclass(slots=True)
class _Call:
    function: Callable[[Connection], Any]
    future: "Future[Any]"
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Writer(Protocol):
    """Takes calls and answers each after its commit."""

    def submit(self, function: Callable[[Connection], Any]) -> "Future[Any]": ...

    def close(self) -> None: ...


class _GroupingWriter:
    """SQLite: one thread, one connection, many calls a commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="db-write", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[Connection], Any]) -> "Future[Any]":
        if self._closed:
            raise DatabaseUnavailableError("The database is closed.")
        call = _Call(function, Future())
        self._calls.put(call)
        return call.future

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        self._thread.join()
        self._engine.dispose()

    def _loop(self) -> None:
        while (first := self._calls.get()) is not None:
            group = [first]
            while len(group) < GROUP_LIMIT and not self._calls.empty():
                following = self._calls.get()
                if following is None:
                    self._calls.put(None)
                    break
                group.append(following)
            self._commit(group)

    def _commit(self, group: list[_Call]) -> None:
        try:
            with translated(), self._engine.begin() as conn:
                for call in group:
                    _run_in_savepoint(conn, call)
        except Exception as error:
            for call in group:
                call.error = error
        for call in group:
            call.answer()


def _run_in_savepoint(conn: Connection, call: _Call) -> None:
    conn.exec_driver_sql("SAVEPOINT one_call")
    try:
        with translated():
            call.result = call.function(conn)
    except Exception as error:
        call.error = error
        try:
            conn.exec_driver_sql("ROLLBACK TO one_call")
        except OperationalError:  # a full disk has ended the whole transaction already
            raise error from None
    conn.exec_driver_sql("RELEASE one_call")


class _PooledWriter:
    """PostgreSQL and MariaDB: threads, one transaction a call, deadlocks repeated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(SERVER_THREADS, thread_name_prefix="db-write")

    def submit(self, function: Callable[[Connection], Any]) -> "Future[Any]":
        return self._threads.submit(self._run, function)

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _run(self, function: Callable[[Connection], T]) -> T:
        for tried in range(1, _DEADLOCK_TRIES + 1):
            try:
                return _on_living(self._engine, function)
            except DBAPIError as error:
                if tried == _DEADLOCK_TRIES or _sql_state(error) not in _DEADLOCKS:
                    raise _public(error) from error
            time.sleep(random.uniform(0, 0.01 * 2 ** min(tried, 6)))  # noqa: S311 - jitter
        raise AssertionError("unreachable")


def _on_living(engine: Engine, function: Callable[[Connection], T]) -> T:
    """Run a transaction, once more if its connection had died while it lay in the pool.

    Asking first whether it lives would cost every transaction a round trip. What broke off at the
    commit is not run again: it may have happened.
    """
    try:
        return _transaction(engine, function)
    except _DiedError:
        with engine.begin() as conn:
            return function(conn)


def _transaction(engine: Engine, function: Callable[[Connection], T]) -> T:
    with engine.begin() as conn:
        try:
            return function(conn)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _DiedError from error
            raise


class _DiedError(Exception):
    """The connection broke before the commit was asked for."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what the drivers raise into our own errors."""
    try:
        yield
    except DBAPIError as error:
        raise _public(error) from error


def _public(error: DBAPIError) -> BaseException:
    """Turn an outage into our own error; a mistake in our SQL stays what it is."""
    if isinstance(error.orig, sqlite3.OperationalError) and "full" in str(error.orig):
        return StorageFullError()
    if _sql_state(error) in _MISSING or _MISSING_IN_SQLITE.match(str(error.orig)):
        return DatabaseMismatchError(detail=str(error.orig))
    if error.connection_invalidated or _is_outage(error):
        return DatabaseUnavailableError("The database does not answer.", detail=str(error.orig))
    return error


def _is_outage(error: DBAPIError) -> bool:
    """Say whether the database is short of something, and not the row of what it allows.

    The drivers count both as operational: MariaDB a document that is no JSON or breaks a
    constraint, PostgreSQL what goes past a limit of the program (its class 54).
    """
    state = _sql_state(error)
    if state in _READ_ONLY or (len(state) == SQLSTATE and state[:2] in _SHORT_OF):
        return True
    is_refused = state.startswith("54") if len(state) == SQLSTATE else _is_refused(state)
    return isinstance(error, OperationalError) and not is_refused


def _is_refused(number: str) -> bool:
    return number.isdecimal() and (int(number) in _TOO_LARGE or int(number) in _NO_JSON)


_READ_ONLY: Final = frozenset({"25006", "25P03", "25P04"})
"""PostgreSQL turned read-only, as after a failover, or ended a session that was silent."""
_SHORT_OF: Final = frozenset({"08", "53", "57", "58", "XX"})
"""Classes of PostgreSQL: connection, resources, an operator, the system, a fault of its own."""
SQLSTATE: Final = 5
"""Characters of PostgreSQL's codes; MariaDB's numbers have four."""
_TOO_LARGE: Final = frozenset({1118, 1153, 1162, 1301, 4025})
"""A row, a packet or a text over its limit, and a CHECK that does not hold."""
_NO_JSON: Final = frozenset({*range(3140, 3160), *range(4035, 4050), 4174})
"""MySQL's and MariaDB's numbers for a document that they can't read."""
_MISSING: Final = frozenset({"42P01", "42703", "42P07", "1146", "1054", "1050"})
"""A table or a column is not there, or a table to be made is: PostgreSQL, then MariaDB."""
_MISSING_IN_SQLITE: Final = re.compile(r"no such (table|column)|table \S+ (already exists|has no)")


def _sql_state(error: DBAPIError) -> str:
    """Return the code of an error: MariaDB's own number, PostgreSQL's SQLSTATE."""
    args = getattr(error.orig, "args", ())
    if args and isinstance(args[0], int):
        return str(args[0])  # its SQLSTATE, which not every PyMySQL knows, tells less
    return str(getattr(error.orig, "sqlstate", None) or "")


def _with_driver(url: str) -> str:
    scheme, _, rest = url.partition("://")
    drivers = {
        "postgres": "postgresql+psycopg",
        "postgresql": "postgresql+psycopg",
        "mysql": "mysql+pymysql",
        "mariadb": "mysql+pymysql",
    }
    return f"{drivers.get(scheme, scheme)}://{rest}"


def _sqlite_engine(path: str, *, begin: str) -> Engine:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=READER_THREADS,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-16000")

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


def _server_engine(url: str) -> Engine:
    parsed = make_url(url)
    is_postgresql = parsed.get_backend_name() == "postgresql"
    bounds = _postgresql_bounds if is_postgresql else _mysql_bounds
    line = _POSTGRESQL_LINE if is_postgresql else _MYSQL_LINE
    engine = create_engine(
        url,
        pool_size=SERVER_THREADS,
        max_overflow=SERVER_THREADS + LIST_THREADS,
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        connect_args={key: value for key, value in line.items() if key not in parsed.query},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's own
        with connection.cursor() as cursor:
            for statement in bounds(connection):
                cursor.execute(statement)
        connection.commit()

    return engine


def _postgresql_bounds(_connection: object) -> Iterator[str]:
    yield f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'"
    yield f"SET lock_timeout = '{LOCK_WAIT_S}s'"


def _mysql_bounds(connection: Any) -> Iterator[str]:  # noqa: ANN401 - PyMySQL's
    yield f"SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT_S}"
    if "mariadb" in connection.get_server_info().lower():
        yield f"SET SESSION idle_transaction_timeout = {IDLE_S}"
    else:  # MySQL knows no bound but that of every silence; what dies in the pool is replaced
        yield f"SET SESSION wait_timeout = {6 * IDLE_S}"
