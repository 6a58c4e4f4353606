"""Document 002, row by row: workers, their settings, how fast they are, and what extends them."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import databases
from reference.photos import (
    BROKEN,
    MANY,
    PERSON,
    ZIP,
    done,
    ended,
    records,
    server,
    size,
    upload,
    zipped,
)
from support import preloaded, redis_server
from support.environment import environment
from support.folders import files_below
from support.portraits import Head, photo
from support.processes import Process, serving, working
from support.receiver import Receiver
from support.reference_rows import PARTLY, WORKS, Row

__all__ = ["done", "server"]

pytestmark = [pytest.mark.long]


@cache
def usual_photo() -> bytes:
    return bytes(photo(1_600, 1_200, Head(800, 600, 220)).jpegsave_buffer(Q=90))


# ---------------------------------------------------------------- configuration


@pytest.mark.row("Configuration", "BATCH_OUTPUT_DIR: every crop is saved there")
def test_crops_are_saved_in_the_folder(row: Row, tmp_path: Path) -> None:
    crops = tmp_path / "batch-crops"
    with serving(tmp_path / "data", BATCH_OUTPUT_DIR=str(crops), **MANY) as server:
        ended(server, upload(server))
    found = files_below(crops)

    assert [size(path.read_bytes()) for path in found] == [(300, 300)]
    row(f"BATCH_OUTPUT_DIR=…; {ZIP}", [str(path.relative_to(crops)) for path in found])


@pytest.mark.row("Configuration", "BATCH_OUTPUT_DIR: crops lie as their photos do")
def test_crops_are_found_by_the_name_of_the_photo(row: Row, tmp_path: Path) -> None:
    crops = tmp_path / "batch-crops"
    with serving(tmp_path / "data", BATCH_OUTPUT_DIR=str(crops), **MANY) as server:
        ended(server, upload(server))
    (found,) = [str(path.relative_to(crops)) for path in files_below(crops)]

    assert found.endswith("/photos/anna.jpg")
    row(f"BATCH_OUTPUT_DIR=…; {ZIP} of photos/anna.jpg", found)


@pytest.mark.row("Configuration", "WORKER_CONCURRENCY={number}")
@pytest.mark.parametrize("number", [1, 2])
def test_a_worker_has_so_many_at_once(row: Row, tmp_path: Path, number: int) -> None:
    with serving(tmp_path / "data", WORKER_CONCURRENCY=str(number), WORKER_ID="w-1") as server:
        (worker,) = server.until("/v1/workers", lambda told: told["data"])["data"]
        batch = ended(server, upload(server, zipped(**{f"{n}": PERSON for n in range(6)})))

    assert worker["id"].startswith("w-1")
    assert batch["progress"]["failed"] == 0
    row(f"WORKER_ID=w-1 WORKER_CONCURRENCY={number}; GET /v1/workers", worker)


# ---------------------------------------------------------------- workers


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the server and the workers of a fleet share."""
    with databases.new_url("postgresql", tmp_path) as url:
        yield {"BATCHMILL_DATABASE_URL": url, **MANY}


@pytest.mark.row("Quick start: manual", "a server and two workers, each in its own terminal")
def test_two_workers_share_a_batch(row: Row, tmp_path: Path, shared: dict[str, str]) -> None:
    data = tmp_path / "data"
    with ExitStack() as stack:
        server = stack.enter_context(serving(data, "--no-worker", **shared))
        for name in ("worker-1", "worker-2"):
            env = {"WORKER_ID": name, "WORKER_CONCURRENCY": "2", **shared}
            stack.enter_context(working(data, **env))
        batch = ended(server, upload(server, zipped(**{f"{n:02}": PERSON for n in range(24)})))
        alive = server.client.get("/v1/workers").json()["data"]

    names = sorted(each["id"].rpartition("-")[0] for each in alive if each["slots"])
    assert batch["progress"] == {"processed": 24, "total": 24, "failed": 0}
    assert names == ["worker-1", "worker-2"]
    call = "batchmill serve --no-worker; 2 × WORKER_ID=… WORKER_CONCURRENCY=2 batchmill worker"
    row(call, {"workers": names, **batch["progress"]})


@pytest.mark.row("Features: scaling", "a worker that comes later takes part")
def test_a_worker_that_comes_later_takes_part(
    row: Row, tmp_path: Path, shared: dict[str, str]
) -> None:
    data = tmp_path / "data"
    with serving(data, "--no-worker", **shared) as server:
        sent = upload(server, zipped(**{f"{n:02}": PERSON for n in range(12)}))
        before = server.client.get(f"/api/batch/status/{sent.json()['batchId']}").json()["batch"]
        with working(data, WORKER_ID="late", **shared):
            batch = ended(server, sent)

    assert before["progress"]["processed"] == 0
    assert batch["progress"]["processed"] == 12
    row("upload; then start a worker", {"before": before["progress"], "after": batch["progress"]})


@pytest.mark.row("Features: stateless", "a worker is killed: another one does its photos")
def test_a_killed_worker_loses_nothing(row: Row, tmp_path: Path, shared: dict[str, str]) -> None:
    data, short = tmp_path / "data", {"BATCHMILL_LEASE_S": "3", "BATCHMILL_RENEW_S": "1", **shared}
    with serving(data, "--no-worker", **short) as server:
        sent = upload(server, zipped(**{f"{n:02}": PERSON for n in range(24)}))
        path = f"/api/batch/status/{sent.json()['batchId']}"
        with working(data, **short) as worker:
            server.until(path, lambda told: told["batch"]["progress"]["processed"] >= 2)
            worker.kill()
        with working(data, **short):
            batch = ended(server, sent)

    assert batch["progress"] == {"processed": 24, "total": 24, "failed": 0}
    row("kill -9 of a worker; another one starts", batch["progress"])


@pytest.mark.row("Features: graceful shutdown", "SIGTERM: running photos end, the rest goes back")
def test_a_worker_ends_gracefully(row: Row, tmp_path: Path, shared: dict[str, str]) -> None:
    data = tmp_path / "data"
    with serving(data, "--no-worker", **shared) as server:
        sent = upload(server, zipped(**{f"{n:02}": PERSON for n in range(24)}))
        path = f"/api/batch/status/{sent.json()['batchId']}"
        with working(data, **shared) as worker:
            server.until(path, lambda told: told["batch"]["progress"]["processed"] >= 2)
            code = worker.stop()
        told = server.client.get(path).json()["batch"]
        with working(data, **shared):
            batch = ended(server, sent)

    assert code == 0
    assert batch["progress"] == {"processed": 24, "total": 24, "failed": 0}
    row("SIGTERM to a worker", {"exit code": code, "then": told["progress"]})


@pytest.mark.row("Configuration", "REDIS_URL: workers are told through Redis, and reconnect")
def test_a_worker_reconnects_to_redis(row: Row, tmp_path: Path, shared: dict[str, str]) -> None:
    data = tmp_path / "data"
    with redis_server.private(tmp_path) as redis, ExitStack() as stack:
        env = {"REDIS_URL": redis.url, **shared}
        server = stack.enter_context(serving(data, "--no-worker", **env))
        stack.enter_context(working(data, **env))
        first = ended(server, upload(server))
        redis.kill()
        while_away = ended(server, upload(server))
        redis.start()
        after = ended(server, upload(server))

    done = [each["progress"]["processed"] for each in (first, while_away, after)]
    assert done == [3, 3, 3]
    row(f"REDIS_URL=…; {ZIP} before, while Redis is away, after", done)


@pytest.mark.row("Troubleshooting", "redis-cli PING; the server says how the queue is")
def test_the_state_of_redis_is_told(row: Row, tmp_path: Path, shared: dict[str, str]) -> None:
    with redis_server.private(tmp_path) as redis:
        env = {"REDIS_URL": redis.url, **shared}
        with serving(tmp_path / "data", "--no-worker", **env) as server:
            checks = server.client.get("/readyz").json()["checks"]
            pong = redis.client().ping()

    (queue,) = [each for each in checks if each["name"] == "queue"]
    assert pong is True
    assert queue["ok"] is True
    row("redis-cli PING; GET /readyz", {"PING": "PONG", **queue})


@pytest.mark.row("Queue status", "redis-cli LLEN bull:face-detection:{state}")
@pytest.mark.parametrize("state", ["active", "wait", "completed"])
def test_the_documents_keys_in_redis(
    row: Row, tmp_path: Path, shared: dict[str, str], state: str
) -> None:
    with redis_server.private(tmp_path) as redis:
        env = {"REDIS_URL": redis.url, **shared}
        with serving(tmp_path / "data", "--no-worker", **env) as server:
            upload(server)
            length = _length(redis.client(), f"bull:face-detection:{state}")
            stats = server.client.get("/api/batch/queue-stats").json()["stats"]["faceDetection"]
            shown = preloaded.run(
                ["queue", "--json"],
                env=environment(BATCHMILL_SERVER=str(server.client.base_url)),
                cwd=tmp_path,
            )

    assert stats["waiting"] == 3
    came = {"LLEN": length, "queue-stats": stats, "batchmill queue": shown.returncode}
    why = "the queue is in the database; queue-stats tells the same numbers"
    if shown.returncode == 0:
        why += ", and so does `batchmill queue --json`"
    row(f"redis-cli LLEN bull:face-detection:{state}", came, PARTLY, why=why)


def _length(client: Any, key: str) -> int:
    redis: Redis = client
    return int(redis.llen(key))


@pytest.mark.row("Configuration", "MYSQL_HOST, MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE")
def test_the_documents_database_names(row: Row, tmp_path: Path) -> None:
    from sqlalchemy.engine import make_url

    with databases.new_url("mariadb", tmp_path) as url:
        where = make_url(url)
        env = {
            "MYSQL_HOST": f"{where.host}:{where.port or 3306}",
            "MYSQL_USER": where.username or "",
            "MYSQL_PASSWORD": where.password or "",
            "MYSQL_DATABASE": where.database or "",
            **MANY,
        }
        env = {name: value for name, value in env.items() if value}
        with (
            serving(tmp_path / "data", "--no-worker", **env) as server,
            working(tmp_path / "data", **env),
        ):
            batch = ended(server, upload(server))

    assert batch["progress"] == {"processed": 3, "total": 3, "failed": 1}
    row("MYSQL_…; batchmill serve --no-worker, batchmill worker", batch)


# ---------------------------------------------------------------- performance, extensions


@pytest.mark.row("Performance", "6 to 10 images a second and worker, 1 million a day on 2 workers")
def test_the_throughput_is_measured(row: Row, tmp_path: Path) -> None:
    archive = zipped(**{f"{number:03}": usual_photo() for number in range(120)})
    with serving(tmp_path / "data", WORKER_CONCURRENCY="2", **MANY) as server:
        ended(server, upload(server, zipped(**{f"{number}": usual_photo() for number in range(4)})))
        began = time.monotonic()
        batch = ended(server, upload(server, archive))
        per_s = 120 / (time.monotonic() - began)

    assert batch["progress"]["failed"] == 0
    enough = per_s >= 6
    row(
        f"120 photos of 2 Mpx through one worker of 2; {os.cpu_count()} cores, shared",
        f"{per_s:.1f} images a second, {per_s * 86_400:,.0f} a day",
        WORKS if enough else PARTLY,
        why="" if enough else "fewer than 6 a second here",
    )


@pytest.mark.row("To extend: webhooks", "a notice when a batch is complete")
def test_a_webhook_is_called_at_the_end(row: Row, server: Process) -> None:
    with Receiver() as other:
        body = {"url": other.url, "every_batch": True}
        made = server.client.post("/v1/webhooks", json=body)
        assert made.status_code == 201, made.text
        batch = ended(server, upload(server, zipped(anna=PERSON)))
        (got,) = other.until(1)
        server.client.delete(f"/v1/webhooks/{made.json()['id']}")

    told = json.loads(got.body)
    assert batch["batchId"] in got.body.decode()
    row(f"POST /v1/webhooks; {ZIP}", told)


@pytest.mark.row("To extend: S3", "photos and crops lie in a bucket")
def test_everything_lies_in_a_bucket(row: Row, tmp_path: Path, own_bucket: Any) -> None:
    env = {
        "BATCHMILL_STORAGE_URL": own_bucket.url,
        "BATCHMILL_S3_ENDPOINT": own_bucket.endpoint,
        "BATCHMILL_S3_REGION": own_bucket.region,
        "BATCHMILL_S3_ACCESS_KEY_ID": own_bucket.access_key_id,
        "BATCHMILL_S3_SECRET_ACCESS_KEY": own_bucket.secret_access_key,
        **MANY,
    }
    with serving(tmp_path / "data", **env) as server:
        batch = ended(server, upload(server))
        anna = records(server, batch["batchId"], "face_crop_url")[0]
        got = server.client.get(anna["face_crop_url"])

    assert size(got.content) == (300, 300)
    assert not files_below(tmp_path / "data" / "storage")
    row("BATCHMILL_STORAGE_URL=s3://… (a server that speaks S3)", batch["progress"])


@pytest.mark.row("To extend: CI/CD", "one command with an exit code, without a server")
def test_one_command_crops_a_folder(row: Row, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "anna.jpg").write_bytes(PERSON)
    (folder / "broken.jpg").write_bytes(BROKEN)
    out = tmp_path / "out"
    asked = ["run", "face-crop", folder, "-o", out]
    code = preloaded.run(asked, env=environment(), cwd=tmp_path).returncode

    assert code == 1
    assert [size(path.read_bytes()) for path in files_below(out)] == [(300, 300)]
    row("batchmill run face-crop photos/ -o out/; one of two is broken", f"exit code {code}")
