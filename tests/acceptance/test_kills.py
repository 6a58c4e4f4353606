"""The promise itself: whatever is killed, every accepted file ends once, with the same bytes."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from support.pictures import scene
from support.processes import Process, alive, serving

pytestmark = pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="finds children by /proc, which this system does not have"
)
NUMBER = 36


@pytest.fixture(scope="module")
def pictures() -> list[tuple[str, bytes]]:
    return [(f"{n:03}.jpg", scene(1000, 800, seed=n).jpegsave_buffer(Q=85)) for n in range(NUMBER)]


def send(server: Process, pictures: list[tuple[str, bytes]]) -> str:
    """Submit in requests of 50 files, as callers without a key must."""
    batch_id = ""
    for first in range(0, len(pictures), 50):
        files = [("files", picture) for picture in pictures[first : first + 50]]
        if not batch_id:
            fields = {"pipeline": "web", "options": '{"keep_open": true}'}
            answer = server.client.post("/v1/batches", files=files, data=fields)
            batch_id = answer.json()["id"]
        else:
            answer = server.client.post(f"/v1/batches/{batch_id}/items", files=files)
        assert answer.status_code == 202, answer.text
    server.client.post(f"/v1/batches/{batch_id}/close")
    return batch_id


def look(server: Process, batch_id: str) -> dict:
    return server.client.get(f"/v1/batches/{batch_id}").json()


def wait_for(server: Process, batch_id: str, finished: int) -> dict:
    """Wait until so many items have ended."""
    for _ in range(1200):
        batch = look(server, batch_id)
        counts = batch["counts"]
        if counts["completed"] + counts["failed"] + counts["quarantined"] >= finished:
            return batch
        time.sleep(0.05)
    raise AssertionError(f"the batch stalled: {batch}")


def hashes(server: Process, batch_id: str) -> dict[str, list[str]]:
    """Return the digests of every item's outputs, by the name of its file."""
    found, cursor = {}, None
    while True:
        query = {"limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = server.client.get(f"/v1/batches/{batch_id}/items", params=query).json()
        for item in page["data"]:
            assert item["status"] == "completed", item
            found[item["input"]["path"]] = [output["sha256"] for output in item["outputs"]]
        cursor = page["next_cursor"]
        if not cursor:
            return found


def leftovers(data_dir: Path) -> list[Path]:
    """Return files in folders for what is only on its way."""
    return [path for path in (data_dir / "tmp").rglob("*") if path.is_file()]


def test_kills_of_children_and_server_change_nothing_in_the_results(
    tmp_path: Path, pictures: list[tuple[str, bytes]]
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
        with serving(data_dir) as server:
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
    with serving(data_dir) as server:
        batch = wait_for(server, batch_id, NUMBER)
        assert batch["status"] == "completed", batch
        assert hashes(server, batch_id) == undisturbed
        assert server.stop() == 0
    assert leftovers(data_dir) == []
    outputs = [path for path in (data_dir / "storage").rglob("out/**/*") if path.is_file()]
    assert len(outputs) == NUMBER, "a killed attempt left its outputs"


def test_a_server_that_is_asked_to_stop_hands_its_items_back(
    tmp_path: Path, pictures: list[tuple[str, bytes]]
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
