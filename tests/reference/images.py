"""What the rows of document 004 share: its requests, and a server to send them to."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.pictures import scene
from support.processes import Process, serving

MANY = {"RATE_LIMIT_MAX_REQUESTS": "1000000", "BATCHMILL_DISK_RESERVE_BYTES": "0"}
PNG = ("small.png", bytes(scene(320, 200).pngsave_buffer()))
SLOW = {"MAX_IMAGE_WIDTH": "5000", "MAX_IMAGE_HEIGHT": "5000", **MANY}
SINGLE = "POST /api/process/single"


@cache
def phone_photo() -> tuple[str, bytes]:
    """Return name and bytes of the photo of the document's example."""
    return "image.jpg", bytes(scene(3_024, 4_032).jpegsave_buffer(Q=95))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("images") / "data", **MANY) as server:
        yield server


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Process]:
    """A server whose jobs wait."""
    with serving(tmp_path / "idle", BATCHMILL_CHILDREN="1", **MANY) as server:
        assert server.client.post("/v1/queue/pause", json={"reason": "a test"}).is_success
        yield server


def single(server: Process, file: tuple[str, bytes] = PNG, **fields: str) -> httpx.Response:
    return server.client.post("/api/process/single", files={"image": file}, data=fields)


def started(server: Process, file: tuple[str, bytes] = PNG, **fields: str) -> str:
    sent = single(server, file, **fields)
    assert sent.status_code == 200, sent.text
    job_id: str = sent.json()["jobId"]
    return job_id


def ended(server: Process, job_id: str) -> Any:
    done = {"completed", "failed"}
    return server.until(f"/api/job/{job_id}", lambda job: job["status"] in done)


def state_of(job: Any) -> Any:
    return job["status"]


def told_of(server: Process, path: str) -> Any:
    settings = {each["name"]: each for each in server.client.get("/v1/settings").json()["data"]}
    return settings[path]


@pytest.fixture(scope="module")
def done(server: Process) -> Any:
    """The job of a photo of a phone, once it has ended."""
    return ended(server, started(server, phone_photo()))


def slow_picture() -> tuple[str, bytes]:
    """Return an image that takes seconds in the box of `SLOW`."""
    return "slow.jpg", bytes(scene(5_000, 4_000).jpegsave_buffer(Q=95))
