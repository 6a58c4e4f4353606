"""A file that kills whole workers ends by itself; what lay beside it is done."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import databases
from batchmill.db.connect import Database
from support import dying_worker, ring
from support.rows import Rows

DEADLY = "0.jpg"
FINAL = {"completed", "completed_with_errors"}
PATIENCE_S = 120


def _work(url: str, folder: Path, deadly: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, dying_worker.__file__, url, str(folder), deadly])


def _end(rows: Rows, url: str, folder: Path) -> int:
    """Let one worker work, start another where it died, until the batch ends; count the deaths."""
    deaths, until = 0, time.monotonic() + PATIENCE_S
    worker = _work(url, folder, DEADLY)
    try:
        while rows.batch_row()["status"] not in FINAL:
            assert time.monotonic() < until, rows.counts()
            if worker.poll() is not None:
                assert worker.returncode == -9
                deaths += 1
                worker = _work(url, folder, DEADLY)
            time.sleep(0.05)
    finally:
        worker.kill()
        worker.wait()
    return deaths


@pytest.mark.parametrize("kind", [k for k in databases.KINDS if ring.ALL or k == "sqlite"])
def test_a_file_that_kills_its_workers_is_quarantined_and_199_others_are_done(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    with databases.new_database(kind, tmp_path) as database:
        url = _address(database)
        rows = Rows(database)
        rows.now = int(time.time() * 1000)
        ids = rows.batch(200)
        deaths = _end(rows, url, tmp_path / "data")

        assert rows.counts() == {"completed": 199, "quarantined": 1}
        assert rows.item(ids[0])["error_code"] == "worker_lost"
        assert deaths == 4


def _address(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)
