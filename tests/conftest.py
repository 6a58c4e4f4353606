"""Fixtures that every folder of tests may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import databases
from batchmill.db.connect import Database


@pytest.fixture(scope="session", params=databases.KINDS)
def session_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    folder: Path = tmp_path_factory.mktemp("database")
    with databases.new_database(request.param, folder) as database:
        yield database


@pytest.fixture
def database(session_database: Database) -> Database:
    """An empty database of each kind in turn."""
    with session_database.engine.begin() as conn:
        databases.empty(conn)
    return session_database
