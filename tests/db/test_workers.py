"""Who leads: a row that processes compete for, and that any of them makes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import databases
from batchmill.db import workers
from batchmill.errors.request import UsageError
from batchmill.model import ids
from batchmill.model.item import WorkerId
from batchmill.settings import loading


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_processes_that_make_the_same_leadership_at_once_all_go_on(
    kind: str, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize("kind", databases.KINDS)
def test_the_longest_name_that_a_worker_may_have_fits_into_the_database(
    kind: str, tmp_path: Path
) -> None:
    longest = "w" * 31
    settings = loading.load({"BATCHMILL_WORKER_ID": longest})
    with pytest.raises(UsageError):
        loading.load({"BATCHMILL_WORKER_ID": f"{longest}w"})

    worker_id = ids.worker_id(settings.worker_id)
    with databases.new_database(kind, tmp_path) as database, database.engine.begin() as conn:
        workers.enter(conn, worker_id, host="h", pid=1, slots=3, stats={}, lease_ms=60_000)
        assert workers.known_slots(conn) == (3, 1)
