"""The promise itself: whatever is killed, every accepted file ends once, with the same bytes."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from support import parts, sent
from support.folders import files_below
from support.processes import Process, alive, offspring, serving
from support.sent import hashes, look, send, wait_for

pytestmark = parts.proc_only
NUMBER = 24
STORMY = {"BATCHMILL_CHILDREN": "2", "BATCHMILL_TIERS_ANONYMOUS_RETRIES_CRASHES": "4"}
"""A kill of a child counts as a crash of the file that it worked on, and one file may be at work
at each of the four; as a rule, its second crash would set it aside."""


@pytest.fixture(scope="module")
def pictures() -> sent.Pictures:
    return sent.pictures(NUMBER)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, pictures: sent.Pictures
) -> dict[str, list[str]]:
    """What comes out when nothing is killed."""
    with serving(tmp_path_factory.mktemp("calm") / "data") as server:
        batch_id = send(server, pictures)
        wait_for(server, batch_id, NUMBER)
        return hashes(server, batch_id)


def family(server: Process) -> tuple[int, list[int]]:
    """Wait until both children are there; return the fork server, which starts them, and them."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        nurseries = offspring(server.popen.pid)
        children = [child for fork_server in nurseries for child in offspring(fork_server)]
        if len(nurseries) == 1 and len(children) == 2:
            return nurseries[0], children
        time.sleep(0.02)
    raise AssertionError("the children did not come")


def failures(server: Process, batch_id: str) -> list[dict[str, Any]]:
    """Return what went wrong with the items of a batch."""
    items = server.client.get(f"/v1/batches/{batch_id}/items?limit=1000").json()["data"]
    return [item for item in items if item["status"] != "completed"]


def leftovers(data_dir: Path) -> list[Path]:
    """Return files in folders for what is only on its way."""
    return files_below(data_dir / "tmp")


def test_kills_of_children_and_server_change_nothing_in_the_results(
    tmp_path: Path, pictures: sent.Pictures, undisturbed: dict[str, list[str]]
) -> None:
    chance = random.Random(20261122)  # noqa: S311
    data_dir = tmp_path / "stormy"
    batch_id = ""
    for kill in range(4):
        with serving(data_dir, **STORMY) as server:
            batch_id = batch_id or send(server, pictures)
            begun_with = look(server, batch_id)["counts"]["completed"]
            wait_for(server, batch_id, min(begun_with + 3, NUMBER))
            fork_server, children = family(server)
            os.kill(chance.choice(children) if kill % 2 else fork_server, signal.SIGKILL)
            time.sleep(chance.uniform(0.05, 0.5))
            below = server.children()
            server.kill()
            deadline = time.monotonic() + 60
            while any(map(alive, below)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not [pid for pid in below if alive(pid)], "children outlived their server"
    with serving(data_dir, **STORMY) as server:
        batch = wait_for(server, batch_id, NUMBER)
        assert batch["status"] == "completed", failures(server, batch_id)
        assert hashes(server, batch_id) == undisturbed
        assert server.stop() == 0
    assert leftovers(data_dir) == []
    outputs = [path for path in (data_dir / "storage").rglob("out/**/*") if path.is_file()]
    assert len(outputs) == NUMBER, "a killed attempt left its outputs"


@pytest.mark.long
def test_a_server_that_is_asked_to_stop_hands_its_items_back(
    tmp_path: Path, pictures: sent.Pictures, undisturbed: dict[str, list[str]]
) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir) as server:
        batch_id = send(server, pictures)
        wait_for(server, batch_id, 3)
        assert server.stop() == 0
    assert leftovers(data_dir) == []
    with serving(data_dir) as server:
        counts = look(server, batch_id)["counts"]
        assert counts["failed"] == counts["quarantined"] == 0
        wait_for(server, batch_id, NUMBER)
        assert failures(server, batch_id) == []
        assert hashes(server, batch_id) == undisturbed
