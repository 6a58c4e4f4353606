"""`batchmill keys` and `workers` beside a server."""

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import databases
from batchmill import bootstrap
from batchmill.cli import host_workers
from batchmill.db import workers
from batchmill.db.connect import Database
from batchmill.model.item import WorkerId
from batchmill.settings.fields import Settings
from cli.conftest import Run
from support import redis_server
from support.served import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started


def test_a_worker_that_is_being_started_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    member = host_workers.Member("worker-1", tmp_path)
    (tmp_path / "worker-1.lock").write_text(str(os.getpid()))
    member.log.mkdir()  # so that starting stops right after it has locked
    with pytest.raises(IsADirectoryError):
        member.start([], os.environ)

    assert member.pid is None


def test_a_key_opens_its_owners_batches_alone_until_it_is_revoked(
    batchmill: Run, server: Server, photos: Path
) -> None:
    at_home = {"BATCHMILL_SERVER": server.url, "BATCHMILL_DATA_DIR": str(server.data_dir)}
    grant = ("--name", "button", "--tier", "pro", "--owner", "shop")
    secret = batchmill("keys", "create", *grant, **at_home).stdout.strip()
    with_key = {**at_home, "BATCHMILL_API_KEY": secret}

    sent = batchmill("submit", "web", photos / "a.png", "--wait", "--json", **with_key)
    seen = batchmill("status", json.loads(sent.stdout)["id"], **at_home)
    listed = batchmill("keys", "list", **at_home).stdout
    batchmill("keys", "revoke", listed.split()[0], **at_home)
    refused = batchmill("status", **with_key)

    assert sent.returncode == 0
    assert seen.returncode == 2
    assert secret not in listed
    assert refused.returncode == 2


def test_workers_are_listed(batchmill: Run, server: Server) -> None:
    table = batchmill("workers", BATCHMILL_SERVER=server.url).stdout.splitlines()
    (worker,) = batchmill("workers", "--json", BATCHMILL_SERVER=server.url).stdout.splitlines()

    assert table[0].split() == ["worker", "host", "pid", "slots", "since"]
    assert json.loads(worker)["id"] in table[1]


def test_workers_and_queue_are_counted(batchmill: Run, server: Server, photos: Path) -> None:
    at_home = {"BATCHMILL_SERVER": server.url}
    batchmill("submit", "face-crop", photos / "a.png", "--wait", **at_home)
    queue = json.loads(batchmill("queue", "--json", **at_home).stdout)
    told = json.loads(batchmill("workers", "stats", "--json", **at_home).stdout)
    table = batchmill("queue", **at_home).stdout.splitlines()
    stats = batchmill("workers", "stats", **at_home).stdout

    faces = queue["families"]["faceDetection"]
    assert (faces["completed"], faces["processing"], faces["pending"]) == (1, 0, 0)
    assert table[0].split() == ["family", "waiting", "active", "completed", "failed"]
    assert ["faceDetection", "0", "0", "1", "0"] in [line.split() for line in table]
    assert told["queue"]["families"] == queue["families"]
    (worker,) = told["workers"]
    assert worker["slots"] > 0
    assert f"{worker['id']}  " in stats
    assert "\n".join(table[:2]) in stats


def test_a_worker_is_paused_and_resumed_by_its_ids_beginning_or_its_host_and_process(
    batchmill: Run, server: Server
) -> None:
    at_home = {"BATCHMILL_SERVER": server.url}
    worker = json.loads(batchmill("workers", "--json", **at_home).stdout)
    paused = batchmill("workers", "pause", "wrk_", "--reason", "new disk", **at_home)
    table = batchmill("workers", **at_home).stdout.splitlines()
    stats = batchmill("workers", "stats", **at_home).stdout
    place = f"{worker['host']}:{worker['pid']}"
    resumed = batchmill("workers", "resume", place, "--json", **at_home)

    assert (paused.returncode, paused.stdout) == (0, f"{worker['id']}: paused (new disk)\n")
    assert "  paused (new disk)  " in table[1]
    assert f"{worker['id']}  paused (new disk)" in stats
    assert resumed.returncode == 0
    assert json.loads(resumed.stdout)["paused"] is False
    assert "paused" not in batchmill("workers", **at_home).stdout


async def enter_another(server: Server) -> None:
    """Enter a worker that never says a word again."""
    database = Database(f"sqlite:///{server.data_dir / 'batchmill.sqlite3'}")
    row: dict[str, Any] = {"host": "far", "pid": 1, "slots": 1, "stats": {}, "lease_ms": 600_000}
    await database.run(workers.enter, WorkerId("wrk_another"), **row)
    await database.aclose()


def test_a_worker_that_is_not_named_clearly_is_not_paused(batchmill: Run, tmp_path: Path) -> None:
    with Server(tmp_path / "server") as server:
        asyncio.run(enter_another(server))
        at_home = {"BATCHMILL_SERVER": server.url}
        several = batchmill("workers", "pause", "wrk_", **at_home)
        unknown = batchmill("workers", "pause", "blue", **at_home)
        long = batchmill("workers", "pause", "wrk_a", "--reason", "x" * 201, **at_home)
        table = batchmill("workers", **at_home).stdout

    assert several.returncode == 2
    assert "'wrk_' stands for several workers: " in several.stderr
    assert "wrk_another" in several.stderr

    assert unknown.returncode == 2
    assert "There is no worker 'blue'." in unknown.stderr
    assert long.returncode == 2
    assert "200" in long.stderr
    assert "wrk_another" in table
    assert "paused" not in table


async def marked(settings: Settings) -> None:
    """Mark the storage as a server does at its first start; workers wait for that."""
    async with bootstrap.opened(settings):
        pass


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a database and a queue that workers can share, and that a server has used."""
    with databases.new_url("postgresql", tmp_path) as url, redis_server.own_queue() as place:
        asyncio.run(marked(Settings(data_dir=tmp_path / "batchmill-data", database_url=url)))
        yield {
            "BATCHMILL_DATABASE_URL": url,
            "BATCHMILL_REDIS_URL": place[0],
            "BATCHMILL_REDIS_QUEUE": place[1],
        }
        for member in host_workers.members(tmp_path / "batchmill-data/workers"):
            if member.pid is not None:  # a failed test must not leave it behind
                os.kill(member.pid, signal.SIGKILL)


def test_workers_of_a_host_are_started_shown_and_drained(
    batchmill: Run, shared: dict[str, str]
) -> None:
    started = batchmill("workers", "scale", "2", "-j", "1", **shared)
    assert started.returncode == 0, started.stdout + started.stderr
    assert [line.split()[0] for line in started.stdout.splitlines()] == ["worker-1", "worker-2"]
    again = batchmill("workers", "scale", "2", "-j", "1", **shared)
    assert (again.returncode, again.stdout) == (0, "")
    assert "worker.started" in batchmill("workers", "logs", "worker-2", "-n", "1", **shared).stdout

    fewer = batchmill("workers", "scale", "1", **shared)
    assert fewer.stdout == "worker-2 has ended\n"
    assert "worker.stopped" in batchmill("workers", "logs", "worker-2", "-n", "1", **shared).stdout
    assert batchmill("workers", "drain", **shared).stdout == "worker-1 has ended\n"
    assert batchmill("workers", "drain", **shared).stdout == ""


def test_a_worker_that_died_is_known_to_have_died_and_replaced(
    batchmill: Run, shared: dict[str, str], tmp_path: Path
) -> None:
    batchmill("workers", "scale", "1", "-j", "1", **shared)
    held = tmp_path / "batchmill-data/workers/worker-1.lock"
    os.kill(int(held.read_text()), signal.SIGKILL)
    with held.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the kernel has cleared the process away
    assert "(ended)" in batchmill("workers", "logs", **shared).stdout
    assert "worker-1 takes" in batchmill("workers", "scale", "1", "-j", "1", **shared).stdout
    batchmill("workers", "drain", **shared)


def test_a_worker_that_cannot_start_shows_its_log(batchmill: Run) -> None:
    done = batchmill("workers", "scale", "1")
    assert done.returncode == 1
    assert "BATCHMILL_DATABASE_URL" in done.stdout


def test_two_commands_do_not_start_the_same_worker(batchmill: Run, tmp_path: Path) -> None:
    folder = tmp_path / "batchmill-data/workers"
    folder.mkdir(parents=True)
    with (folder / "worker-1.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = batchmill("workers", "scale", "1")
    assert done.returncode == 2
    assert "worker-1 is being started" in done.stderr


def test_a_worker_that_never_was_is_said(batchmill: Run) -> None:
    assert "worker-7" in batchmill("workers", "logs", "worker-7").stderr
