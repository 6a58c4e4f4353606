"""Two API servers and a worker on one database: whoever is asked gives the same answer."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

import databases
from api.v1.test_events import listening
from batchmill.db import workers
from batchmill.service import api_keys
from batchmill.settings.compat import DocumentsSettings
from support import redis_server, whole_server
from support.pictures import scene
from support.whole_server import WholeServer

PICTURE = scene(400, 300, seed=1).jpegsave_buffer()


class Servers(NamedTuple):
    """Two that only serve; a third that also works."""

    one: WholeServer
    two: WholeServer
    worker: WholeServer


@pytest.fixture(scope="module", params=databases.SERVERS)
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        database = stack.enter_context(databases.new_url(request.param, folder))
        redis_url, queue = stack.enter_context(redis_server.own_queue())
        shared: dict[str, Any] = {
            "database_url": SecretStr(database),
            "redis_url": SecretStr(redis_url),
            "redis_queue": queue,
            "renew_s": 1,
            "documents": DocumentsSettings(uploads_per_hour=3),
        }
        yield Servers(
            *(
                stack.enter_context(whole_server.running(folder, with_worker=with_worker, **shared))
                for with_worker in (False, False, True)
            )
        )


def send(server: WholeServer, number: int = 1, **headers: str) -> dict[str, Any]:
    files = [("files", (f"{n}.jpg", PICTURE)) for n in range(number)]
    answer = server.client.post(
        "/v1/batches", files=files, data={"pipeline": "thumbnail"}, headers=headers
    )
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_what_one_accepts_the_other_tells_of_until_its_end(servers: Servers) -> None:
    batch_id = send(servers.one, 3)["id"]
    with listening(servers.two, f"/v1/batches/{batch_id}/events") as messages:
        told = list(messages)
    assert told[-1].name == "batch.completed"
    assert told[-1].body["counts"]["completed"] == 3
    item = servers.two.client.get(f"/v1/batches/{batch_id}/items").json()["data"][0]
    for server in servers:
        assert server.client.get(item["outputs"][0]["url"]).content


def test_a_repeat_at_the_other_server_makes_no_second_batch(servers: Servers) -> None:
    headers: dict[str, Any] = {"Idempotency-Key": uuid4().hex}
    first = send(servers.one, **headers)
    assert send(servers.two, **headers)["id"] == first["id"]


def test_a_batch_is_paused_here_resumed_there_and_cancelled_anywhere(servers: Servers) -> None:
    one, two, _ = (server.client for server in servers)
    fields = {"pipeline": "thumbnail", "options": '{"keep_open": true}'}
    answer = one.post("/v1/batches", files=[("files", PICTURE)], data=fields)
    path = f"/v1/batches/{answer.json()['id']}"
    servers.two.until(path, lambda told: told["counts"]["completed"] == 1)
    two.post(f"{path}/pause")
    one.post(f"{path}/items", files=[("files", PICTURE)])
    assert one.get(path).json()["paused"]
    assert two.get(path).json()["counts"]["pending"] == 1
    one.post(f"{path}/resume")
    servers.two.until(path, lambda told: told["counts"]["completed"] == 2)
    one.post(f"{path}/cancel")
    assert servers.two.until(path, lambda told: told["status"] == "cancelled")


def test_a_rate_limit_counts_over_all_servers(servers: Servers) -> None:
    files = [("file", ("menu.csv", b"dish;price\nsoup;4,50\n"))]
    with ThreadPoolExecutor(4) as threads:
        asked = [
            threads.submit(server.client.post, "/api/batch/upload", files=files)
            for server in (servers.one, servers.two) * 2
        ]
        statuses = sorted(each.result().status_code for each in asked)
    assert statuses == [200, 200, 200, 429]


def test_one_sweeps_and_all_know_all_slots(servers: Servers) -> None:
    for server in servers:
        server.until("/v1/queue", lambda told: told["slots"] == 2)
        alive = server.client.get("/v1/workers").json()["data"]
        assert sorted(each["slots"] for each in alive) == [0, 0, 2]
        assert server.context.vitals.slots == 2
    leading = [
        server.run(
            server.context.database.run(
                workers.lead, "sweep", server.context.process_id, lease_ms=6_000
            )
        )
        for server in servers
    ]
    assert leading.count(True) == 1


QUESTIONS = (
    "/v1/batches?status=completed_with_errors&created_after=2026-01-01T00:00:00Z&limit=1",
    "/v1/batches?active=true",
    "{batch}/items?status=completed&limit=1",
    "{batch}/items?q=0&limit=1",
    "{batch}/items?error=unreadable_file",
    "{batch}/errors",
    "{batch}/report?format=csv",
    "{batch}/results.zip",
    "/v1/queue",
    "/v1/webhooks",
    "/metrics",
    "/readyz",
    "/api/batch/jobs",
    "/api/batch/queue-stats",
    "/api/sequential-batch/queue-stats",
    "/api/stats",
    "/api/health",
)


@pytest.fixture(scope="module")
def mixed(servers: Servers) -> str:
    """A batch of which one file can't be read, once it has ended."""
    files = [("files", ("0.jpg", PICTURE)), ("files", ("00.jpg", PICTURE[:700]))]
    answer = servers.one.client.post("/v1/batches", files=files, data={"pipeline": "thumbnail"})
    path = f"/v1/batches/{answer.json()['id']}"
    servers.one.until(path, lambda told: told["status"] == "completed_with_errors")
    return path


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_answered_whoever_is_asked(
    servers: Servers, mixed: str, question: str
) -> None:
    answers = [answered(server, question.format(batch=mixed)) for server in servers]
    assert {(answer.status_code, bool(answer.content)) for answer in answers} == {(200, True)}


def answered(server: WholeServer, question: str) -> httpx.Response:
    """Ask again where a check of /readyz took longer beside load than it has."""
    for _ in range(60):
        answer = server.client.get(question)
        if answer.status_code != 503:
            break
        threading.Event().wait(0.5)
    return answer


def test_an_admin_link_of_one_server_opens_the_other_once(servers: Servers) -> None:
    token = servers.one.run(api_keys.offer_admin_link(servers.one.context.database))
    statuses = [
        servers.two.client.get("/login", params={"token": token}).status_code for _ in range(2)
    ]
    assert statuses[0] < 400 <= statuses[1]
