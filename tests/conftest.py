"""Fixtures that every folder of tests may use; `support/whole_run.py` has what holds for a run."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase

import databases
from batchmill.db.connect import Database
from batchmill.storage.objects import Bucket
from support import ring, seaweed

pytest_plugins = ["support.reference_rows", "support.whole_run"]
BUILD = Path(__file__).parents[1] / "build"

# Shells start what runs in the background with Ctrl-C ignored, and every process that a test
# starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Try other examples each time; keep the failing ones, and print how to have one again."""
    set_hypothesis_home_dir(BUILD / "hypothesis")
    settings.register_profile(
        "batchmill",
        deadline=None,  # a busy machine is no fault of the code
        derandomize=False,  # which Hypothesis would choose in CI
        max_examples=ring.examples(100),
        print_blob=True,
        database=DirectoryBasedExampleDatabase(BUILD / "hypothesis" / "failed"),
    )
    settings.load_profile("batchmill")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Use every kind of database where SQL is the subject, and SQLite alone elsewhere."""
    if "session_database" in metafunc.fixturenames:
        every = ring.ALL or metafunc.definition.get_closest_marker("all_databases")
        kinds = databases.KINDS if every else ("sqlite",)
        metafunc.parametrize("session_database", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio alone: the product knows no other."""
    return "asyncio"


@pytest.fixture(scope="session")
def session_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    folder: Path = tmp_path_factory.mktemp("database")
    with databases.new_database(request.param, folder) as database:
        yield database


@pytest.fixture
def database(session_database: Database) -> Database:
    """An empty database: SQLite, or each kind in turn (see `pytest_generate_tests`)."""
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
