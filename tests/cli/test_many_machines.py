"""`batchmill worker` and `health`: what contradicts is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Run
from support.environment import environment

POSTGRESQL = "postgresql://postgres@127.0.0.1:1/nowhere"
REDIS = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"BATCHMILL_REDIS_URL": REDIS},
        {"BATCHMILL_DATABASE_URL": "sqlite:///here.sqlite3"},
    ],
    ids=["nothing", "Redis alone", "SQLite"],
)
def test_a_worker_that_shares_nothing_with_servers_is_refused(
    batchmill: Run, settings: dict[str, str]
) -> None:
    done = batchmill("worker", **settings)
    assert done.returncode == 2
    assert "BATCHMILL_DATABASE_URL" in done.stderr


def test_redis_beside_sqlite_is_refused_before_anything_is_made(
    batchmill: Run, tmp_path: Path
) -> None:
    done = batchmill("serve", "--port", "0", "--data-dir", "data", BATCHMILL_REDIS_URL=REDIS)
    assert done.returncode == 2
    assert "BATCHMILL_DATABASE_URL" in done.stderr
    assert "BATCHMILL_REDIS_URL" in done.stderr
    assert not (tmp_path / "data").exists()


def test_an_address_that_is_none_of_redis_is_refused(batchmill: Run) -> None:
    settings = {"BATCHMILL_DATABASE_URL": POSTGRESQL, "BATCHMILL_REDIS_URL": "http://queue"}
    assert "redis://" in batchmill("serve", "--port", "0", **settings).stderr


def test_health_says_by_its_exit_status_that_nobody_answers(batchmill: Run) -> None:
    assert batchmill("health", BATCHMILL_PORT="1").returncode == 1
    assert batchmill("health", "--worker", BATCHMILL_HEALTH_PORT="1").returncode == 1


def test_health_of_a_worker_without_a_port_is_a_usage_error(batchmill: Run) -> None:
    done = batchmill("health", "--worker")
    assert done.returncode == 2
    assert "BATCHMILL_HEALTH_PORT" in done.stderr


def test_redis_without_its_extra_names_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['bullmq'] = None\n"  # as where it is not installed
        "from batchmill.cli.main import main\n"
        "sys.argv = ['batchmill', 'worker']\n"
        "main()\n"
    )
    settings = {"BATCHMILL_DATABASE_URL": POSTGRESQL, "BATCHMILL_REDIS_URL": REDIS}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'batchmill[redis]'" in done.stderr
