"""While nothing of anybody is started, every place where people look says so, and why."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchmill.settings.compat import ImagesSettings
from support import whole_server
from support.pictures import scene
from support.whole_server import WholeServer

PHOTO = bytes(scene(40, 30).jpegsave_buffer())
SHORT = 1 << 50
"""Bytes of memory to keep free that no machine has."""


@pytest.fixture
def paused(tmp_path: Path) -> Iterator[WholeServer]:
    """A server whose queue an administrator has paused."""
    with whole_server.running(tmp_path, images=ImagesSettings(rate_requests=1_000)) as server:
        sent = server.client.post("/v1/queue/pause", json={"reason": "new disks until noon"})
        assert sent.is_success, sent.text
        yield server


def job(server: WholeServer) -> Any:
    sent = server.client.post("/api/process/single", files={"image": ("a.jpg", PHOTO)})
    return server.client.get(f"/api/job/{sent.json()['jobId']}").json()


def batch_of(server: WholeServer, job_id: str) -> httpx.Response:
    batch_id = server.client.get(f"/v1/items/{job_id}").json()["batch_id"]
    return server.client.get(f"/v1/batches/{batch_id}")


def test_a_paused_queue_is_said_by_job_batch_and_health(paused: WholeServer) -> None:
    waiting = job(paused)
    batch = batch_of(paused, waiting["jobId"]).json()
    (listed,) = paused.client.get("/v1/batches").json()["data"]
    health = paused.client.get("/api/health")

    why = "The queue is paused: new disks until noon"
    assert (waiting["status"], waiting["paused"], waiting["pauseReason"]) == ("queued", True, why)
    assert (batch["status"], batch["paused"], batch["pause_reason"]) == ("queued", False, why)
    assert listed["pause_reason"] == why
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["reason"] == why
    assert {"name": "work", "ok": False, "message": why} in paused.client.get("/readyz").json()[
        "checks"
    ]


def test_nothing_says_so_any_more_once_work_goes_on(paused: WholeServer) -> None:
    waiting = job(paused)
    before = batch_of(paused, waiting["jobId"])
    paused.client.post("/v1/queue/resume")
    ended = paused.until(f"/api/job/{waiting['jobId']}", lambda told: told["result"])
    batch_id = before.json()["id"]
    tag = {"If-None-Match": before.headers["ETag"]}

    assert "paused" not in ended
    assert paused.client.get(f"/v1/batches/{batch_id}", headers=tag).json()["pause_reason"] is None
    assert paused.client.get("/api/health").json()["status"] == "healthy"


def test_a_stream_says_when_work_stands_still_and_when_it_goes_on(paused: WholeServer) -> None:
    """Although nothing of the batch itself has changed."""
    files = {"files": ("a.jpg", PHOTO)}
    order = {"pipeline": "web", "options": '{"keep_open": true}'}
    batch_id = paused.client.post("/v1/batches", files=files, data=order).json()["id"]
    paused.client.post("/v1/queue/resume")
    paused.until(f"/v1/batches/{batch_id}", lambda told: told["counts"]["completed"])
    told: list[str] = []
    with paused.client.stream("GET", f"/v1/batches/{batch_id}/events") as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("data: {"))
        for action, reason in (("", "null"), ("pause", '"The queue'), ("resume", "null")):
            if action:
                paused.client.post(f"/v1/queue/{action}", json={})
            told.append(next(line for line in lines if f'"pause_reason":{reason}' in line))

    revisions = [json.loads(line.removeprefix("data: "))["revision"] for line in told]
    assert len(set(revisions)) == 1


def test_a_server_that_is_short_of_memory_says_so_everywhere(tmp_path: Path) -> None:
    with whole_server.running(tmp_path, memory_reserve_bytes=SHORT) as server:
        waiting = job(server)
        batch = batch_of(server, waiting["jobId"]).json()
        health = server.client.get("/api/health").json()
        queue = server.client.get("/v1/queue").json()

    assert queue["standstill"] == health["reason"]
    assert waiting["pauseReason"] == batch["pause_reason"] == health["reason"]
    assert health["reason"].startswith("No file is started: only ")
    assert health["reason"].endswith(" MB of memory are free.")
    assert health["status"] == "degraded"
