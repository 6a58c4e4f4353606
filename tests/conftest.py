"""Fixtures that every folder of tests may use."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

import databases
from batchmill.db.connect import Database
from batchmill.storage.objects import Bucket
from support import seaweed

# CI tries the same examples each time, so that a red build is the change's own; at home chance
# goes on looking for new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


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


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with seaweed.running(tmp_path_factory.mktemp("seaweed")) as bucket:
        yield bucket


@pytest.fixture
def own_bucket(bucket: Bucket) -> Bucket:
    """An empty folder of the bucket, for one test alone."""
    return replace(bucket, url=f"s3://bucket/{uuid4().hex}")
