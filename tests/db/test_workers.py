"""Who leads: a row that processes compete for, and that any of them makes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import databases
from batchmill.db import workers
from batchmill.model.item import WorkerId


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_processes_that_make_the_same_leadership_at_once_all_go_on(kind: str, tmp_path: Path):
    with databases.new_database(kind, tmp_path) as database, ThreadPoolExecutor(6) as threads:

        def enter(number: int) -> None:
            with database.engine.begin() as conn:
                workers.enter_leadership(conn, f"leadership {number // 6}")

        list(threads.map(enter, range(60)))
        with database.engine.begin() as conn:
            led = [
                workers.lead(conn, f"leadership {number}", WorkerId("a"), lease_ms=1000)
                for number in range(10)
            ]

    assert led == [True] * 10
