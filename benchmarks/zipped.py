"""A ZIP through a running system: the CPU of all its processes and of what it stands on."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from systems import COMMAND, System
from systems import batchmill as server
from whole import LIMIT_S, Spent, package

from support import postgresql, redis_server


@contextlib.contextmanager
def embedded(
    tree: Path, folder: Path, *, command: Sequence[str] = COMMAND, **settings: str
) -> Iterator[System]:
    """Run the server of a checkout by itself, on SQLite."""
    with server(folder / "data", workers=None, command=command, **_of(tree, settings)) as system:
        yield system


@contextlib.contextmanager
def scaled(
    tree: Path, folder: Path, *, command: Sequence[str] = COMMAND, **settings: str
) -> Iterator[System]:
    """Run a server and two workers of a checkout with a PostgreSQL of their own."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgresql.running(folder))
        services = {"PostgreSQL": database.pid}
        settings = _of(tree, settings) | {"BATCHMILL_DATABASE_URL": database.url}
        if not (tree / "src" / "batchmill" / "notifiers").exists():  # it handed out work by Redis
            redis = stack.enter_context(redis_server.private(folder))
            services["Redis"], settings["BATCHMILL_REDIS_URL"] = redis.pid, redis.url
        running = server(folder / "data", workers=2, command=command, **settings)
        system = stack.enter_context(running)
        system.parts.update(services)
        yield system


def through(system: System, archive: Path, pipeline: str, *, files: int) -> Spent:
    """Send a ZIP and wait until its batch has ended well."""
    spent_s, began = sum(system.cpu_s().values()), time.perf_counter()
    with archive.open("rb") as file:
        sent = {"files": (archive.name, file)}
        answer = system.client.post("/v1/batches", files=sent, data={"pipeline": pipeline})
    assert answer.status_code == 202, answer.text
    while True:
        told = system.client.get(f"/v1/batches/{answer.json()['id']}").raise_for_status().json()
        if told["ended_at"] is not None:
            break
        assert time.perf_counter() < began + LIMIT_S, told
        time.sleep(0.2)
    assert told["counts"]["completed"] == files, told
    wall_s = time.perf_counter() - began
    return Spent(wall_s, sum(system.cpu_s().values()) - spent_s)


def _of(tree: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return settings with which Python finds the package of a checkout, and the plug-in."""
    return {**settings, "PYTHONPATH": package(tree, plugin=True)["PYTHONPATH"]}
