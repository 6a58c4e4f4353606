"""Each command of the compose file as a plain process: they find each other and do the work."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import databases
from support import compose
from support.environment import environment
from support.pictures import scene
from support.ports import free_port

WORKERS = 2


class Fleet:
    """The compose file's server and workers, with a database and folders of this machine."""

    def __init__(self, folder: Path, database_url: str) -> None:
        secrets = compose.quickstart(folder)
        (secrets / "database_url").write_text(database_url)
        self.admin_key = (secrets / "admin_key").read_text()
        self.services = compose.read()["services"]
        self.ports = {name: free_port() for name in ("server", "worker1", "worker2")}
        self.server = f"http://127.0.0.1:{self.ports['server']}"
        self._folder = folder
        self._secrets = str(secrets)

    def environment(self, service: str, port: int) -> dict[str, str]:
        """What the image and the compose file set for a container."""
        said = {**compose.image_environment(), **self.services[service]["environment"]}
        said |= {
            "BATCHMILL_HOST": "127.0.0.1",
            "BATCHMILL_DATA_DIR": str(self._folder / "data"),
            "BATCHMILL_PORT": str(port),
            "BATCHMILL_HEALTH_PORT": str(port),
        }
        moved = {name: value.replace("/run/secrets", self._secrets) for name, value in said.items()}
        return environment(**moved)

    @contextmanager
    def batchmill(self, service: str, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """The command of `server` or `worker`, as the image's entry point runs it."""
        command = [sys.executable, "-m", "batchmill", *self.services[service]["command"]]
        with _running(command, self.environment(service, self.ports[name])) as process:
            yield process

    def healthy(self, service: str, name: str) -> bool:
        """Run the health check of a service."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        assert (kind, words[0]) == ("CMD", "batchmill")
        command, env = [sys.executable, "-m", *words], self.environment(service, self.ports[name])
        return subprocess.run(command, env=env, check=False, capture_output=True).returncode == 0


@contextmanager
def _running(command: list[str], env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _until(true: Callable[[], Any]) -> None:
    for _ in range(6_000):
        try:
            if true():
                return
        except (OSError, httpx.TransportError):
            pass
        time.sleep(0.01)
    raise AssertionError("it never became true")


@pytest.mark.long
def test_the_commands_of_the_compose_file_serve_work_and_end(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack.enter_context(databases.new_url("postgresql", tmp_path)))
        started = [stack.enter_context(fleet.batchmill("server", "server"))]
        for number in range(1, 1 + WORKERS):
            started.append(stack.enter_context(fleet.batchmill("worker", f"worker{number}")))
        client = stack.enter_context(
            httpx.Client(base_url=fleet.server, headers={"X-API-Key": fleet.admin_key}, timeout=30)
        )
        _until(lambda: client.get("/readyz").is_success)
        _until(lambda: client.get("/v1/queue").json()["workers"] == WORKERS)

        photos = [
            ("files", (f"{n}.jpg", scene(300, 200, seed=n).jpegsave_buffer())) for n in range(8)
        ]
        sent = client.post("/v1/batches", files=photos, data={"pipeline": "web"}).json()
        _until(lambda: client.get(f"/v1/batches/{sent['id']}").json()["status"] == "completed")
        health = [
            fleet.healthy("server", "server"),
            *(fleet.healthy("worker", f"worker{n}") for n in range(1, 1 + WORKERS)),
        ]
        checks = {each["name"]: each["message"] for each in client.get("/readyz").json()["checks"]}
        stranger = httpx.get(f"{fleet.server}/v1/batches", timeout=60).status_code
        for process in started:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in started]

    assert health == [True] * (1 + WORKERS)
    assert checks["queue"] == "workers are told through the database"
    assert stranger == 401
    assert codes == [0] * (1 + WORKERS)
