"""The promise itself: whatever is killed, every accepted file ends once, with the same bytes."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from support import sent
from support.processes import alive, serving
from support.sent import hashes, look, send, wait_for

pytestmark = pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="finds children by /proc, which this system does not have"
)
NUMBER = 36
PATIENT = {"BATCHMILL_TIERS_ANONYMOUS_RETRIES_CRASHES": "4"}
"""The same file may be at work at each kill; that is not what quarantine is for."""


@pytest.fixture(scope="module")
def pictures() -> sent.Pictures:
    return sent.pictures(NUMBER)


def leftovers(data_dir: Path) -> list[Path]:
    """Return files in folders for what is only on its way."""
    return [path for path in (data_dir / "tmp").rglob("*") if path.is_file()]


def test_kills_of_children_and_server_change_nothing_in_the_results(
    tmp_path: Path, pictures: sent.Pictures
) -> None:
    with serving(tmp_path / "calm") as server:
        calm_id = send(server, pictures)
        wait_for(server, calm_id, NUMBER)
        undisturbed = hashes(server, calm_id)
        assert server.stop() == 0
    chance = random.Random(20261122)  # noqa: S311
    data_dir = tmp_path / "stormy"
    batch_id = ""
    for kill in range(4):
        with serving(data_dir, **PATIENT) as server:
            batch_id = batch_id or send(server, pictures)
            wait_for(server, batch_id, 4 + 7 * kill)
            os.kill(chance.choice(server.children()), signal.SIGKILL)
            time.sleep(chance.uniform(0.05, 0.5))
            below = server.children()
            server.kill()
            deadline = time.monotonic() + 10
            while any(map(alive, below)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not [pid for pid in below if alive(pid)], "children outlived their server"
    with serving(data_dir, **PATIENT) as server:
        batch = wait_for(server, batch_id, NUMBER)
        assert batch["status"] == "completed", batch
        assert hashes(server, batch_id) == undisturbed
        assert server.stop() == 0
    assert leftovers(data_dir) == []
    outputs = [path for path in (data_dir / "storage").rglob("out/**/*") if path.is_file()]
    assert len(outputs) == NUMBER, "a killed attempt left its outputs"


def test_a_server_that_is_asked_to_stop_hands_its_items_back(
    tmp_path: Path, pictures: sent.Pictures
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
        items = server.client.get(f"/v1/batches/{batch_id}/items?limit=1000").json()["data"]
        assert {item["status"] for item in items} == {"completed"}
