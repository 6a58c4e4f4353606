"""Fixtures that every folder of tests may use."""

import os
import signal
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
settings.register_profile("home", deadline=None)  # a busy machine is no fault of the code
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")

# Shells start what runs in the background with Ctrl-C ignored, and every process that a test
# starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
