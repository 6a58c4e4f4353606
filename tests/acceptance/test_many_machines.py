"""The promise on many machines: one server, two workers, Redis, PostgreSQL, one shared folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

import databases
from support import redis_server, sent
from support.folders import files_below
from support.ports import free_port
from support.processes import Process, Worker, serving, working
from support.redis_server import PrivateRedis
from support.sent import hashes, send, wait_for

NUMBER = 16
QUICK = {
    "BATCHMILL_LEASE_S": "3",
    "BATCHMILL_RENEW_S": "1",
    "BATCHMILL_LEADER_S": "2",
    "BATCHMILL_SWEEP_S": "0.3",
    "BATCHMILL_LOG_FORMAT": "json",
}


@dataclass
class Machines:
    """All that runs, and how to start more of it."""

    folder: Path
    redis: PrivateRedis
    settings: dict[str, str]
    stack: ExitStack
    workers: list[Worker] = field(default_factory=list)

    def serve(self) -> Process:
        """Start a server that does no work itself."""
        server = serving(self.folder / "data", "--no-worker", **self.settings)
        self.server = self.stack.enter_context(server)
        return self.server

    def hire(self, **settings: str) -> Worker:
        """Start a worker."""
        worker = working(self.folder / "data", "-j", "1", **{**self.settings, **settings})
        self.workers.append(self.stack.enter_context(worker))
        return self.workers[-1]

    def settled(self) -> Counter[str]:
        """Count how often each item was settled, over the logs of all processes."""
        lines = (self.folder / "server.log").read_text().splitlines()
        told = (json.loads(line) for line in lines if '"item.finished"' in line)
        return Counter(line["item"] for line in told)

    def stored(self, batch_id: str) -> list[Path]:
        """Return the outputs that lie in the storage."""
        folder = self.folder / "data/storage/batches" / batch_id
        return [path for path in files_below(folder) if "out" in path.parts]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    with ExitStack() as stack:
        database = stack.enter_context(databases.new_url("postgresql", folder))
        redis = stack.enter_context(redis_server.private(folder))
        settings = {
            **QUICK,
            "BATCHMILL_DATABASE_URL": database,
            "BATCHMILL_REDIS_URL": redis.url,
        }
        machines = Machines(folder, redis, settings, stack.enter_context(ExitStack()))
        machines.serve()
        machines.hire()
        machines.hire()
        yield machines


@pytest.fixture(scope="module")
def pictures() -> sent.Pictures:
    return sent.pictures(NUMBER)


@pytest.fixture(scope="module")
def undisturbed(machines: Machines, pictures: sent.Pictures) -> dict[str, list[str]]:
    """What comes out when nobody is killed."""
    batch_id = send(machines.server, pictures)
    wait_for(machines.server, batch_id, NUMBER)
    return hashes(machines.server, batch_id)


def a_worker_is_killed(machines: Machines) -> None:
    machines.workers.pop(0).kill()
    machines.hire()


def redis_forgets_everything(machines: Machines) -> None:
    machines.redis.client().flushall()


def redis_is_killed_and_comes_back_empty(machines: Machines) -> None:
    machines.redis.kill()
    time.sleep(0.5)
    machines.redis.start()


def the_server_is_killed(machines: Machines) -> None:
    machines.server.kill()
    machines.serve()


def a_worker_sleeps_past_its_lease_and_wakes(machines: Machines) -> None:
    sleeper = machines.workers[0].popen
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(2 * float(QUICK["BATCHMILL_LEASE_S"]))
    sleeper.send_signal(signal.SIGCONT)


FAULTS = (
    a_worker_is_killed,
    redis_forgets_everything,
    redis_is_killed_and_comes_back_empty,
    the_server_is_killed,
    a_worker_sleeps_past_its_lease_and_wakes,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_item_is_recorded_once_and_right_although(
    fault: Callable[[Machines], None],
    machines: Machines,
    pictures: sent.Pictures,
    undisturbed: dict[str, list[str]],
) -> None:
    batch_id = send(machines.server, pictures)
    wait_for(machines.server, batch_id, 4)
    fault(machines)
    batch = wait_for(machines.server, batch_id, NUMBER)
    assert batch["status"] == "completed"
    assert hashes(machines.server, batch_id) == undisturbed
    assert max(machines.settled().values()) == 1
    assert clean(machines, batch_id), "an attempt that lost left its outputs"


@pytest.mark.long
def test_a_worker_is_replaced_under_load_and_no_item_notices(
    machines: Machines, pictures: sent.Pictures, undisturbed: dict[str, list[str]]
) -> None:
    """A lease that a slow machine lets run out would hand items on too, so these are long."""
    short = machines.workers[:]
    machines.hire(BATCHMILL_LEASE_S="12", BATCHMILL_RENEW_S="4")
    machines.hire(BATCHMILL_LEASE_S="12", BATCHMILL_RENEW_S="4")
    for worker in short:
        assert worker.stop() == 0
        machines.workers.remove(worker)
    batch_id = send(machines.server, pictures)
    has_items(machines, machines.workers[0])
    assert machines.workers.pop(0).stop() == 0
    wait_for(machines.server, batch_id, NUMBER)
    assert hashes(machines.server, batch_id) == undisturbed
    assert max(machines.settled().values()) == 1
    assert not handed_on(machines, batch_id)


@pytest.mark.long
def test_a_worker_without_time_to_drain_hands_its_items_back_uncounted(
    machines: Machines, pictures: sent.Pictures, undisturbed: dict[str, list[str]]
) -> None:
    hasty = machines.hire(BATCHMILL_DRAIN_S="0")
    batch_id = send(machines.server, pictures)
    wait_for(machines.server, batch_id, 4)
    machines.workers.remove(hasty)
    assert hasty.stop() == 0
    wait_for(machines.server, batch_id, NUMBER)
    assert hashes(machines.server, batch_id) == undisturbed
    assert max(machines.settled().values()) == 1


@pytest.mark.long
def test_a_worker_answers_probes(machines: Machines) -> None:
    port = str(free_port())
    worker = machines.hire(BATCHMILL_HEALTH_PORT=port)
    asked = [sys.executable, "-m", "batchmill", "health", "--worker"]
    environ = {**os.environ, "BATCHMILL_HEALTH_PORT": port}
    assert subprocess.run(asked, env=environ, check=False).returncode == 0
    assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).json()["ready"]
    machines.workers.remove(worker)
    assert worker.stop() == 0
    assert subprocess.run(asked, env=environ, check=False).returncode == 1


@pytest.mark.long
def test_a_paused_worker_that_sleeps_past_its_lease_wakes_paused_and_goes_on_when_it_may(
    machines: Machines, pictures: sent.Pictures, undisturbed: dict[str, list[str]]
) -> None:
    client, worker = machines.server.client, machines.hire()
    before = row_of(machines, worker)["id"]
    assert client.post(f"/v1/workers/{before}/pause", json={"reason": "new disk"}).is_success
    worker.popen.send_signal(signal.SIGSTOP)
    others = [each for each in machines.workers if each is not worker]
    batch_id = send(machines.server, pictures)
    wait_for(machines.server, batch_id, NUMBER)
    while any(each["id"] == before for each in client.get("/v1/workers").json()["data"]):
        time.sleep(0.1)
    worker.popen.send_signal(signal.SIGCONT)
    after = row_of(machines, worker, but=before)
    assert (after["paused"], after["pause_reason"]) == (True, "new disk")
    for each in others:
        assert each.stop() == 0
        machines.workers.remove(each)
    batch_id = send(machines.server, pictures)
    assert client.post(f"/v1/workers/{after['id']}/resume").json()["paused"] is False
    wait_for(machines.server, batch_id, NUMBER)
    assert hashes(machines.server, batch_id) == undisturbed


def row_of(machines: Machines, worker: Worker, *, but: str = "") -> dict[str, Any]:
    """Wait until the server lists a worker, under another id than `but`; return its row."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        known = machines.server.client.get("/v1/workers").json()["data"]
        for each in known:
            if each["pid"] == worker.popen.pid and each["id"] != but:
                found: dict[str, Any] = each
                return found
        time.sleep(0.02)
    raise AssertionError(f"the worker is not there: {known}")


def has_items(machines: Machines, worker: Worker) -> None:
    """Wait until the server knows that a worker has an item in hand."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        known = machines.server.client.get("/v1/workers").json()["data"]
        if any(each["pid"] == worker.popen.pid and each["running"] for each in known):
            return
        time.sleep(0.02)
    raise AssertionError(f"the worker got nothing: {known}")


def clean(machines: Machines, batch_id: str) -> bool:
    """Wait until nothing lies in the storage but one output of each item."""
    for _ in range(1_200):
        if len(machines.stored(batch_id)) == NUMBER:
            return True
        time.sleep(0.05)
    return False


def handed_on(machines: Machines, batch_id: str) -> list[str]:
    """Return the files of a batch that took more than one attempt."""
    page = machines.server.client.get(f"/v1/batches/{batch_id}/items?limit=1000").json()
    return [item["input"]["path"] for item in page["data"] if item["attempts"] > 1]
