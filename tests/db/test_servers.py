"""A database server that can't be used is refused at start, by a sentence."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

import databases
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.db.servers import why_unsuitable
from batchmill.errors.outage import DatabaseUnsuitableError
from support import mariadb


@pytest.mark.parametrize(
    ("version", "is_refused"),
    [
        ("10.5.23-MariaDB-1:10.5.23+maria~ubu2004", True),
        ("5.5.5-10.3.39-MariaDB-0ubuntu0.20.04.2", True),
        ("5.5.68-MariaDB", True),
        ("10.6.0-MariaDB", False),
        ("5.5.5-10.11.19-MariaDB-0+deb12u1", False),
        ("11.4.2-MariaDB-log", False),
        ("5.7.44-log", True),
        ("8.0.18", True),
        ("8.0.19", False),
        ("8.0.36-0ubuntu0.22.04.1", False),
        ("9.1.0", False),
    ],
)
def test_servers_before_mariadb_10_6_and_mysql_8_0_19_are_refused(
    version: str, is_refused: bool
) -> None:
    assert (why_unsuitable({"version": version}) is not None) == is_refused


def test_the_sentence_names_the_server_and_what_is_needed() -> None:
    assert why_unsuitable({"version": "10.5.23-MariaDB-1:10.5.23+maria~ubu2004"}) == (
        "The database server is MariaDB 10.5.23; batchmill needs MariaDB 10.6 or MySQL 8.0.19,"
        " or newer."
    )


@pytest.mark.parametrize(
    ("log", "form", "is_refused"),
    [("ON", "STATEMENT", True), ("OFF", "STATEMENT", False), ("ON", "MIXED", False)],
)
def test_only_a_log_that_is_kept_must_be_one_of_rows(log: str, form: str, is_refused: bool) -> None:
    found = {"version": "10.11.19-MariaDB", "log_bin": log, "binlog_format": form}

    assert (why_unsuitable(found) is not None) == is_refused


@pytest.mark.parametrize("kind", databases.KINDS)
def test_a_server_that_can_be_used_is_not_refused(kind: str, tmp_path: Path) -> None:
    with databases.new_url(kind, tmp_path) as url:
        database = Database(url)
        assert migrate(database.engine)
        database.engine.dispose()


def test_a_server_that_logs_statements_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    options = ("--log-bin", "--server-id=1", "--binlog-format=STATEMENT")
    with mariadb.running(tmp_path, *options) as url:
        root = Database(url)
        with root.engine.begin() as conn:
            conn.exec_driver_sql("SET SESSION binlog_format = 'ROW'")
            conn.exec_driver_sql("CREATE DATABASE batchmill_test_log")
        root.engine.dispose()
        database = Database(make_url(url).set(database="batchmill_test_log").render_as_string())
        with pytest.raises(DatabaseUnsuitableError, match="BINLOG_FORMAT=STATEMENT"):
            migrate(database.engine)
        with database.engine.connect() as conn:
            assert conn.exec_driver_sql("SHOW TABLES").all() == []
        database.engine.dispose()
