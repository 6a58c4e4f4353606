"""Health, numbers, the description of the API, and what an end of the server looks like."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.api.health import readiness
from batchmill.notifiers.bullmq import BullmqNotifier
from batchmill.service.context import ServerContext
from batchmill.storage import keys
from batchmill.storage.objects import Bucket, ObjectStorage
from batchmill.wire import requests, responses
from batchmill.wire.system import Check, Readiness
from support import server as servers
from support.server_contexts import a_day_later


def test_a_server_that_can_take_work_is_ready(server: servers.Server) -> None:
    answer = server.client.get("/readyz")

    assert answer.status_code == 200
    assert {check["name"] for check in answer.json()["checks"]} >= {"database", "disk", "storage"}
    assert server.client.get("/healthz").text == "ok\n"


def test_a_server_without_room_on_its_disk_is_not_ready_and_refuses_files(tmp_path: Path) -> None:
    with servers.running(tmp_path, disk_reserve_bytes=2**60) as full:
        answer = full.client.get("/readyz")
        refused = full.post_files(b"one")

    (disk,) = [check for check in answer.json()["checks"] if check["name"] == "disk"]
    assert (answer.status_code, disk["ok"]) == (503, False)
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert int(refused.headers["retry-after"]) > 0


def test_a_bucket_that_does_not_answer_makes_the_server_unready(server: servers.Server) -> None:
    away = Bucket("s3://bucket", "http://127.0.0.1:9", None, "id", "secret")
    found = server.run(_ready(replace(server.context, storage=ObjectStorage(away))))

    assert (found.ready, _check(found, "storage").ok) == (False, False)


def test_a_bucket_that_answers_is_asked_and_makes_the_server_ready(
    server: servers.Server, own_bucket: Bucket
) -> None:
    found = server.run(_ready(replace(server.context, storage=ObjectStorage(own_bucket))))

    assert (found.ready, _check(found, "storage").message) == (True, "answers")


def test_a_queue_that_is_away_is_told_and_work_is_accepted_all_the_same(
    server: servers.Server,
) -> None:
    async def story() -> Readiness:
        notifier = BullmqNotifier("redis://127.0.0.1:9", queue="away")
        try:
            return await _ready(replace(server.context, notifier=notifier))
        finally:
            await notifier.aclose()

    found = server.run(story())

    assert (found.ready, _check(found, "queue").ok) == (True, False)
    assert _check(server.run(_ready(server.context)), "queue").ok


async def _ready(context: ServerContext) -> Readiness:
    return await readiness(context, draining=False)


def _check(found: Readiness, name: str) -> Check:
    (check,) = [check for check in found.checks if check.name == name]
    return check


def test_a_server_that_stops_ends_its_streams_and_is_not_ready(tmp_path: Path) -> None:
    with servers.running(tmp_path) as server:
        batch_id = server.send(b"one", keep_open=True)["id"]
        with server.client.stream("GET", f"/v1/batches/{batch_id}/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            server.drain()
            rest = list(lines)
        assert server.client.get("/readyz").status_code == 503

    assert any("batch.updated" in line for line in rest)


def test_the_numbers_tell_of_requests_and_items(server: servers.Server) -> None:
    server.wait(server.send(b"one")["id"])
    server.client.get("/made/up/by/a/stranger")

    text = server.client.get("/metrics").text

    assert re.search(r'batchmill_items\{status="completed"\} [1-9]', text)
    assert re.search(r"^batchmill_backlog_items [0-9]", text, re.MULTILINE)
    by_family = r'^batchmill_family_items\{family="images",status="completed"\} [0-9]'
    assert re.search(by_family, text, re.MULTILINE)
    assert 'path="/v1/batches/{batch_id}"' in text
    assert 'path="other"' in text
    assert "stranger" not in text
    assert "bat_" not in text


def test_what_is_asked_and_what_is_told_have_different_names() -> None:
    names = [
        {name for name, each in vars(module).items() if getattr(each, "__module__", "") == path}
        for path, module in (
            ("batchmill.wire.requests", requests),
            ("batchmill.wire.responses", responses),
        )
    ]
    assert names[0] & names[1] == set()


def test_every_operation_of_the_description_has_a_name_of_its_own(server: servers.Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]

    names = [way["operationId"] for ways in paths.values() for way in ways.values()]
    assert len(names) == len(set(names)) > 60


def test_every_request_and_answer_is_described(server: servers.Server) -> None:
    described = server.client.get("/openapi.json").json()

    refs = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert refs <= set(described["components"]["schemas"])
    create = described["paths"]["/v1/batches"]["post"]
    assert set(create["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert all(
        "default" in operation["responses"]
        for methods in described["paths"].values()
        for operation in methods.values()
    )


def test_the_page_about_the_api_needs_no_other_server(server: servers.Server) -> None:
    answer = server.client.get("/docs")

    assert "POST /v1/batches" in answer.text
    assert "<script" not in answer.text
    assert re.findall(r'(?:href|src)="([^"]*)"', answer.text) == ["/openapi.json"]


@pytest.mark.parametrize("allowed", ["off", "on"])
def test_callers_without_a_key_are_served_as_the_settings_say(tmp_path: Path, allowed: str) -> None:
    with servers.running(tmp_path, anonymous=allowed) as server:
        status = server.client.get("/v1/batches").status_code
        health = server.client.get("/healthz").status_code

    assert status == (401 if allowed == "off" else 200)
    assert health == 200


def test_leftovers_that_wait_for_an_administrator_are_said_everywhere_and_confirmed(
    tmp_path: Path,
) -> None:
    with servers.running(tmp_path, cleanup_interval_ms=1_000) as server:
        names = [f"bat_{number}" for number in range(11)]
        assert server.eventually((tmp_path / "storage" / keys.IDENTITY).exists)
        for name in names:
            (tmp_path / "storage/batches" / name / "in").mkdir(parents=True)
        assert server.eventually(lambda: cleanup(server)["paused"])
        server.run(a_day_later(server.context))
        ready = server.client.get("/readyz")
        checks = {check["name"]: check for check in ready.json()["checks"]}
        assert (ready.status_code, checks["cleanup"]["ok"]) == (200, False)
        assert "11 folders" in checks["cleanup"]["message"]
        assert "11 folders" in server.client.get("/v1/queue").json()["cleanup_pause_reason"]
        assert sorted(each["name"] for each in cleanup(server)["oldest"]) == sorted(names)
        for wrong in ({}, {"confirm": False}, {"confirm": True, "more": 1}):
            assert server.client.post("/v1/storage/cleanup", json=wrong).status_code == 422
        assert len(list((tmp_path / "storage/batches").iterdir())) == 11
        confirmed = server.client.post("/v1/storage/cleanup", json={"confirm": True}).json()
        assert not confirmed["paused"]
        assert server.eventually(lambda: cleanup(server)["orphans"] == 0)
        assert not (tmp_path / "storage/batches").exists()


def cleanup(server: servers.Server) -> Any:
    return server.client.get("/v1/storage/cleanup").json()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_leftovers_are_for_administrators(server: servers.Server, method: str) -> None:
    made = server.client.post("/v1/keys", json={"name": "berta", "owner": "berta"}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    answer = server.client.request(
        method, "/v1/storage/cleanup", headers=headers, json={"confirm": True}
    )
    assert answer.status_code == 403
