"""A batch of pictures that a test sends to a server process, watches and compares."""

import time
from typing import Any, Protocol

import httpx

from support.pictures import scene
from support.processes import Process

Pictures = list[tuple[str, bytes]]
PATIENCE_S = 60


class Answering(Protocol):
    """A server with a client that speaks to it."""

    @property
    def client(self) -> httpx.Client: ...


def pictures(number: int) -> Pictures:
    """Return names and bytes of different pictures, large enough to be interrupted."""
    return [(f"{n:03}.jpg", scene(1000, 800, seed=n).jpegsave_buffer(Q=85)) for n in range(number)]


def send(server: Process, pictures: Pictures) -> str:
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


def look(server: Answering, batch_id: str) -> dict[str, Any]:
    return server.client.get(f"/v1/batches/{batch_id}").json()


def wait_for(server: Answering, batch_id: str, finished: int) -> dict[str, Any]:
    """Wait until so many items have ended; patience begins anew with each that ends."""
    ended, until = 0, time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        batch = look(server, batch_id)
        counts = batch["counts"]
        now = counts["completed"] + counts["failed"] + counts["quarantined"]
        if now >= finished:
            return batch
        if now > ended:
            ended, until = now, time.monotonic() + PATIENCE_S
        time.sleep(0.02)
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
