"""Document 002's deployment, row by row, as far as a machine without Docker lets one try it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

import databases
from support import compose, preloaded
from support.compose import DEPLOY
from support.environment import environment
from support.portraits import Head, photo
from support.ports import free_port
from support.processes import Process, serving, working
from support.reference_rows import UNTRIED, Row

pytestmark = [pytest.mark.long]
NO_DOCKER = "no Docker daemon on this machine"
ROOT = DEPLOY.parent
SAYS = {
    "start": ("takes files", 2),
    "scale-up 5": ("takes files", 5),
    "logs": ("==>", 2),
    "stats": ("waiting", 1),
}
"""What the script prints for each of its commands, and how often."""
MANAGE = DEPLOY / "manage-workers.sh"
PERSON = bytes(photo(640, 480, Head(320, 240, 90)).jpegsave_buffer(Q=90))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[dict[str, str]]:
    with databases.new_url("postgresql", tmp_path) as url:
        yield {"BATCHMILL_DATABASE_URL": url}


def docker_calls(folder: Path, script: Path, *arguments: str) -> list[str]:
    """Run a script where `docker` only notes what it was asked; return that."""
    there = folder / "deploy" / script.name
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text(script.read_text(encoding="utf-8"))
    notes = folder / "calls"
    docker = folder / "bin" / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(f'#!/bin/sh\necho "docker $*" >> {notes}\n')
    docker.chmod(0o755)
    env = environment()
    env["PATH"] = f"{docker.parent}:{env['PATH']}"
    subprocess.run(["bash", there, *arguments], env=env, check=True, stdout=subprocess.DEVNULL)
    return notes.read_text().splitlines()


# ---------------------------------------------------------------- quick start


@pytest.mark.row("Quick start", "bash quickstart-batch.sh: one command sets all up")
def test_the_quickstart_asks_docker_for_all(row: Row, tmp_path: Path) -> None:
    calls = docker_calls(tmp_path, DEPLOY / "quickstart.sh")

    assert any("compose up" in call and "worker=2" in call for call in calls)
    assert (tmp_path / "deploy" / "secrets" / "admin_key").read_text().startswith("bm_")
    row("bash deploy/quickstart.sh, with a docker that only notes", calls, UNTRIED, why=NO_DOCKER)


@pytest.mark.row("Quick start", "quickstart-batch.ps1: the same on Windows")
def test_the_quickstart_for_windows_asks_for_the_same(row: Row) -> None:
    text = (DEPLOY / "quickstart.ps1").read_text(encoding="utf-8")
    (call,) = [line for line in text.splitlines() if line.startswith("docker compose up")]

    assert "--scale" in call
    row("deploy/quickstart.ps1, read", call, UNTRIED, why="no Windows and no PowerShell here")


@pytest.mark.row("Quick start: manual", "install, then start: the two commands are there")
def test_the_commands_are_there(row: Row, tmp_path: Path) -> None:
    for command in ("serve", "worker"):
        done = preloaded.run([command, "--help"], env=environment(), cwd=tmp_path)
        assert done.returncode == 0
    version = preloaded.run(["--version"], env=environment(), cwd=tmp_path).stdout

    assert re.search(r"\d+\.\d+", version)
    row("batchmill --version, serve --help, worker --help", version)


# ---------------------------------------------------------------- Docker


@pytest.mark.row("Docker Compose", "docker-compose.batch.yml: broker, database, 2 workers")
def test_the_compose_file_has_its_services(row: Row) -> None:
    content = compose.read()
    PyCompose.from_yaml(yaml.safe_dump(content)).validate()
    services = content["services"]

    assert set(services) == {"server", "worker", "postgres"}
    assert services["worker"]["deploy"]["replicas"] == 2
    row(
        "deploy/compose.yaml, validated against the Compose specification",
        {**dict.fromkeys(services, 1), "worker": 2},
        UNTRIED,
        why=f"{NO_DOCKER}; its commands run as plain processes in tests/deploy. Redis is optional",
    )


@pytest.mark.row("Docker Compose", "health checks, volumes that stay")
def test_services_have_health_checks_and_volumes(row: Row) -> None:
    content = compose.read()
    checks = {name: each["healthcheck"]["test"] for name, each in content["services"].items()}

    assert set(content["volumes"]) == {"data", "postgres"}
    row("deploy/compose.yaml", checks, UNTRIED, why=NO_DOCKER)


@pytest.mark.row("Docker Compose", "{command}")
@pytest.mark.parametrize(
    "command", ["up -d --scale worker=5", "logs -f worker-1", "down", "restart worker-1"]
)
def test_the_compose_file_allows_what_the_document_calls(row: Row, command: str) -> None:
    worker = compose.read()["services"]["worker"]

    assert not {"container_name", "hostname", "ports"} & set(worker)
    came = "the service `worker` has no fixed name and no port: it scales; its name is `worker`"
    row(f"docker compose -f deploy/compose.yaml {command}", came, UNTRIED, why=NO_DOCKER)


@pytest.mark.row("Docker", "Dockerfile.worker: a light image for the worker")
def test_the_image_has_every_role(row: Row, tmp_path: Path) -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    extras = re.search(r"\[(\w+(?:,\w+)*)\]", text)
    known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert extras is not None
    assert all(re.search(rf"^{each} = \[", known, re.MULTILINE) for each in extras[1].split(","))
    row(
        "deploy/Dockerfile, read; its extras are the project's",
        {"COPY": copied, "extras": extras[1]},
        UNTRIED,
        why=f"{NO_DOCKER}; one image for server and worker",
    )


# ---------------------------------------------------------------- worker management


@pytest.mark.row("manage-workers.sh", "./manage-workers.sh {arguments}")
@pytest.mark.parametrize("arguments", SAYS)
def test_the_script_manages_workers(
    row: Row, tmp_path: Path, shared: dict[str, str], arguments: str
) -> None:
    with serving(tmp_path / "data", "--no-worker", **shared) as server:
        env = environment(BATCHMILL_DATA_DIR=str(tmp_path / "data"), **shared)
        env["BATCHMILL_SERVER"] = str(server.client.base_url)
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"

        def manage(*asked: str) -> str:
            command = ["bash", str(MANAGE), *asked]
            return subprocess.run(
                command, env=env, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        try:
            if arguments in {"logs", "stats"}:
                manage("start")
            said = manage(*arguments.split())
        finally:
            manage("stop")

    sign, number = SAYS[arguments]
    assert said.count(sign) >= number
    row(f"deploy/manage-workers.sh {arguments}", said)


@pytest.mark.row("manage-workers.sh", "start with 2 workers, scale to 3, logs, and end them")
def test_workers_are_managed_on_a_host(row: Row, tmp_path: Path, shared: dict[str, str]) -> None:
    def workers(*asked: str) -> str:
        env = environment(BATCHMILL_DATA_DIR=str(tmp_path / "data"), **shared)
        done = preloaded.run(["workers", *asked], env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with serving(tmp_path / "data", "--no-worker", **shared) as server:
        try:
            two = workers("scale", "2", "-j", "1").count("takes files")
            one_more = workers("scale", "3", "-j", "1").count("takes files")
            logs = workers("logs").count("==>")
            alive = workers("list", "--server", str(server.client.base_url))
        finally:
            gone = workers("drain").count("has ended")

    assert (two, one_more, logs, gone) == (2, 1, 3, 3)
    assert "slots" in alive
    row(
        "batchmill workers scale 2; scale 3; logs; list; drain",
        f"{two} started, {one_more} more, {logs} logs, {gone} ended",
    )


@pytest.mark.row("manage-workers.sh", "stats: what waits and runs, for people and for programs")
def test_the_queue_is_told_by_a_command(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        env = environment(BATCHMILL_SERVER=str(server.client.base_url))
        people = preloaded.run(["workers"], env=env, cwd=tmp_path)
        programs = preloaded.run(["queue", "--json"], env=env, cwd=tmp_path)

    assert people.returncode == programs.returncode == 0
    assert json.loads(programs.stdout)
    row("batchmill workers; batchmill queue --json", programs.stdout)


# ---------------------------------------------------------------- monitoring


@pytest.mark.row("Monitoring", "health checks of server and worker")
def test_server_and_worker_answer_health_checks(
    row: Row, tmp_path: Path, shared: dict[str, str]
) -> None:
    port = str(free_port())
    with (
        serving(tmp_path / "data", "--no-worker", **shared) as server,
        working(tmp_path / "data", BATCHMILL_HEALTH_PORT=port, **shared),
    ):
        told = server.client.get("/readyz").json()
        env = environment(BATCHMILL_HEALTH_PORT=port, BATCHMILL_PORT=port, **shared)
        health = preloaded.run(["health"], env=env, cwd=tmp_path)

    assert health.returncode == 0, health.stderr
    assert told["checks"]
    row("GET /readyz of the server; batchmill health beside the worker", health.stdout)


@pytest.mark.row("Monitoring", "worker logs: one line for each photo, with what became of it")
def test_a_worker_logs_each_photo(row: Row, server: Process) -> None:
    files = [("images", ("anna.jpg", PERSON))]
    sent = server.client.post("/api/batch/add-images", files=files).json()
    server.until(
        f"/api/batch/status/{sent['batchId']}",
        lambda told: told["batch"]["status"] == "completed",
    )
    (line,) = [each for each in server.log() if each["event"] == "item.finished"]

    assert (line["name"], line["status"]) == ("anna.jpg", "completed")
    row("the worker's log", line)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with serving(tmp_path / "alone" / "data") as server:
        yield server


@pytest.mark.row("Monitoring", "numbers for a monitoring system")
def test_numbers_are_told_to_prometheus(row: Row, server: Process) -> None:
    text = server.client.get("/metrics").text
    names = sorted(set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)))

    assert "batchmill_backlog_items" in names
    row("GET /metrics", names)


@pytest.mark.row("Troubleshooting", "a command that checks this machine")
def test_a_command_checks_the_machine(row: Row, tmp_path: Path) -> None:
    env = environment(BATCHMILL_DATA_DIR=str(tmp_path / "data"))
    done = preloaded.run(["doctor"], env=env, cwd=tmp_path)

    assert "Python" in done.stdout
    row("batchmill doctor", done.stdout)


# ---------------------------------------------------------------- extensions


def manifests() -> list[dict[str, Any]]:
    paths = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return [each for path in paths for each in yaml.safe_load_all(path.read_text("utf-8"))]


@pytest.mark.row("To extend: Kubernetes", "manifests for server and workers")
def test_the_manifests_are_valid(row: Row) -> None:
    others = {"Kustomization", "ScaledObject", "TriggerAuthentication"}
    own = [each for each in manifests() if each["kind"] not in others]
    for each in own:
        kubernetes_validate.validate(each, "1.30", strict=True)
    kinds = sorted({each["kind"] for each in manifests()})

    assert {"Deployment", "Service"} <= set(kinds)
    row("deploy/kubernetes, validated", kinds, UNTRIED, why="no cluster on this machine")


@pytest.mark.row("To extend: Kubernetes", "workers scale by what waits")
def test_workers_scale_by_the_backlog(row: Row) -> None:
    scaled = [each for each in manifests() if each["kind"] == "ScaledObject"]
    told = scaled[0]["spec"]["triggers"][0]["metadata"]

    assert told["valueLocation"] == "batchmill_backlog_items"
    row("autoscale-keda.yaml", told, UNTRIED, why="no cluster on this machine")


@pytest.mark.row("To extend: CI/CD", "the scripts have no shell trap")
def test_the_scripts_pass_shellcheck(row: Row) -> None:
    program = Path(sys.executable).with_name("shellcheck")
    scripts = sorted(DEPLOY.glob("*.sh"))
    codes = {path.name: subprocess.run([program, path], check=True).returncode for path in scripts}

    assert "quickstart.sh" in codes
    row("shellcheck deploy/*.sh", codes)
