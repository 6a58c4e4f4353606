"""Dockerfile, compose file, manifests and scripts, checked as far as no engine is needed."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

import databases
from batchmill.bootstrap import opened
from batchmill.errors.outage import DatabaseUnavailableError
from batchmill.errors.request import UsageError
from batchmill.service import api_keys
from batchmill.settings import loading
from support import compose, parts, redis_server
from support.compose import DEPLOY

KUBERNETES = ("1.30", "1.37")
"""The oldest and the newest version that the manifests are checked for."""
OF_OTHERS = {"Kustomization", "ScaledObject", "TriggerAuthentication"}
"""Kinds that Kubernetes itself does not define."""
KNOWN = {
    name
    for setting in loading.settings()
    for name in (setting.variable, *([f"{setting.variable}_FILE"] if setting.secret else []))
}


def _manifests() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


MANIFESTS = list(_manifests())
DEPLOYMENTS = [each for each in MANIFESTS if each["kind"] == "Deployment"]


def _name(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}-{manifest.get('metadata', {}).get('name', '')}"


# ---------------------------------------------------------------- Dockerfile


def _instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile as (instruction, rest), continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in whole.splitlines())]


def _last_stage() -> dict[str, str]:
    """Return what the final image says, by instruction; the last of each counts."""
    found = _instructions()
    start = max(n for n, (word, _) in enumerate(found) if word == "FROM")
    return dict(found[start:])


def test_the_image_runs_as_nobody_special_with_a_health_check() -> None:
    stage = _last_stage()

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage["USER"]), "a number: runAsNonRoot compares it"
    assert "batchmill" in stage["HEALTHCHECK"]
    assert stage["ENTRYPOINT"] == '["batchmill"]'


def test_base_images_are_pinned_and_only_the_environment_is_copied_into_the_last() -> None:
    bases = [rest.split()[0] for word, rest in _instructions() if word == "FROM"]
    copies = [rest for word, rest in _instructions() if word == "COPY"]

    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases), bases
    assert copies[-1] == "--from=build /opt/batchmill /opt/batchmill"


def test_the_builder_gets_all_that_the_build_reads() -> None:
    allowed = {
        line[1:]
        for line in (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    hook_reads = {"src", "frontend", "README.md", "LICENSE", "pyproject.toml", "hatch_build.py"}

    assert hook_reads | {"constraints.txt"} <= allowed


# ---------------------------------------------------------------- compose


def test_the_compose_file_is_valid() -> None:
    PyCompose.from_yaml(yaml.safe_dump(compose.read())).validate()


def test_a_misspelt_key_of_the_compose_file_would_be_found() -> None:
    content = compose.read()
    content["services"]["worker"]["comand"] = ["worker"]

    with pytest.raises(ValueError, match="comand"):
        PyCompose.from_yaml(yaml.safe_dump(content))


def test_the_services_of_the_tests_are_where_the_tests_look_for_them() -> None:
    content = yaml.safe_load((DEPLOY.parent / "compose.dev.yaml").read_text(encoding="utf-8"))
    PyCompose.from_yaml(yaml.safe_dump(content)).validate()
    ports = {name: each["ports"] for name, each in content["services"].items()}
    usual = {name: urlsplit(server.usual) for name, server in databases.SERVERS.items()}
    usual["redis"] = urlsplit(redis_server.USUAL)

    assert ports == {name: [f"127.0.0.1:{url.port}:{url.port}"] for name, url in usual.items()}
    assert {url.hostname for url in usual.values()} == {"127.0.0.1"}


def test_workers_can_be_scaled() -> None:
    worker = compose.read()["services"]["worker"]

    assert worker["deploy"]["replicas"] == 2
    assert not {"container_name", "hostname", "ports"} & set(worker)


def test_every_service_has_a_health_check_and_waits_for_what_it_needs() -> None:
    services = compose.read()["services"]

    assert all("healthcheck" in service for service in services.values())
    for name in ("server", "worker"):
        needed = services[name]["depends_on"]
        assert {each["condition"] for each in needed.values()} == {"service_healthy"}


def test_the_database_is_all_that_the_compose_file_starts_beside_batchmill() -> None:
    services = compose.read()["services"]

    assert set(services) == {"server", "worker", "postgres"}
    for name in ("server", "worker"):
        assert set(services[name]["depends_on"]) == {"postgres"}
        # What is set here would win over deploy/batchmill.env.
        assert not [each for each in services[name]["environment"] if "REDIS" in each]


def test_no_password_stands_in_the_compose_file() -> None:
    services = compose.read()["services"].values()
    variables = {name for each in services for name in each.get("environment", {})}

    assert {name for name in variables if "PASSWORD" in name} == {"POSTGRES_PASSWORD_FILE"}
    assert "BATCHMILL_DATABASE_URL_FILE" in variables


# ---------------------------------------------------------------- Kubernetes


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(
    "manifest", [m for m in MANIFESTS if m["kind"] not in OF_OTHERS], ids=_name
)
def test_manifests_are_valid(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=_name)
def test_pods_run_under_the_restricted_standard_on_a_read_only_root(
    deployment: dict[str, Any],
) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert writable == {"/data", "/tmp"}  # noqa: S108
    assert "livenessProbe" in container


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=_name)
def test_pods_have_time_to_drain_and_are_never_all_evicted(deployment: dict[str, Any]) -> None:
    name, spec = deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
    (budget,) = [each for each in MANIFESTS if _name(each) == f"PodDisruptionBudget-{name}"]

    assert spec["terminationGracePeriodSeconds"] > 25
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_manifests_name_settings_that_exist_and_secrets_that_are_filled_in() -> None:
    by_kind = {each["kind"]: each for each in MANIFESTS}
    configured = by_kind["ConfigMap"]["data"]
    more = [
        variable
        for deployment in DEPLOYMENTS
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for variable in container["env"]
    ]
    files = [Path(value).name for name, value in configured.items() if name.endswith("_FILE")]

    assert set(configured) | {each["name"] for each in more} <= KNOWN
    assert set(files) <= set(by_kind["Secret"]["stringData"])


def test_manifests_name_settings_that_exist_in_their_comments_too() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (DEPLOY / "kubernetes").glob("*.yaml")]
    texts.append((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    named = set(re.findall(r"\bBATCHMILL_[A-Z0-9_]+", "\n".join(texts)))

    assert {"BATCHMILL_REDIS_URL", "BATCHMILL_REDIS_URL_FILE"} <= named <= KNOWN


def test_manifests_need_no_redis() -> None:
    by_kind = {each["kind"]: each for each in MANIFESTS}

    assert not [name for name in by_kind["ConfigMap"]["data"] if "REDIS" in name]
    assert "redis_url" not in by_kind["Secret"]["stringData"]


def test_what_the_manifests_set_is_enough_to_start(tmp_path: Path) -> None:
    configured = next(each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap")
    filled_in = {
        **_example_secrets(),
        "database_url": "postgresql+psycopg://nobody@127.0.0.1:9/x",
    }
    for name, value in filled_in.items():
        (tmp_path / name).write_text(value)
    env = {name: value.replace("/secrets", str(tmp_path)) for name, value in configured.items()}
    settings = loading.load({**env, "BATCHMILL_DATA_DIR": str(tmp_path / "data")})

    # Nothing is refused: it gets as far as the database, and there is none.
    with pytest.raises(DatabaseUnavailableError):
        asyncio.run(opened(settings).__aenter__())


def test_the_admin_key_of_the_example_has_the_right_form_but_is_refused_itself(
    tmp_path: Path,
) -> None:
    example = _example_secrets()["admin_key"]

    assert _lets_in(example.replace("AT-LEAST-32-RANDOM-CHARACTERS", "x" * 32), tmp_path)
    with pytest.raises(UsageError):
        _lets_in(example, tmp_path)


def _example_secrets() -> dict[str, str]:
    secrets: dict[str, str] = next(m["stringData"] for m in MANIFESTS if m["kind"] == "Secret")
    return secrets


def _lets_in(admin_key: str, folder: Path) -> bool:
    with databases.new_database("sqlite", folder) as database:
        asyncio.run(api_keys.ensure_admin(database, admin_key))
        return asyncio.run(api_keys.authenticate(database, admin_key)) is not None


def test_workers_are_scaled_by_a_number_that_the_server_tells() -> None:
    from batchmill.api.http.metrics import _gauges
    from batchmill.model.batch import Counts

    told = {metric.name for metric in _gauges(Counts(), [], 0)}
    scaled = next(each for each in MANIFESTS if each["kind"] == "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]

    assert trigger["metadata"]["valueLocation"] in told
    assert scaled["spec"]["scaleTargetRef"]["name"] in {
        each["metadata"]["name"] for each in DEPLOYMENTS
    }


# ---------------------------------------------------------------- scripts


def test_the_quickstart_script_has_no_shell_trap() -> None:
    program = Path(sys.executable).with_name("shellcheck")  # of the extra `test`
    subprocess.run([program, DEPLOY / "quickstart.sh"], check=True)


def test_the_quickstart_script_makes_an_admin_key_that_a_server_takes(tmp_path: Path) -> None:
    secrets = compose.quickstart(tmp_path)

    assert _lets_in((secrets / "admin_key").read_text(), tmp_path)


def test_the_quickstart_script_for_windows_makes_such_a_key_too() -> None:
    script = (DEPLOY / "quickstart.ps1").read_text(encoding="utf-8")

    assert f"Set-Secret 'admin_key' ('{api_keys.PREFIX}' + (New-Secret 32))" in script


def test_the_units_are_ones_that_systemd_understands(tmp_path: Path) -> None:
    program = parts.program("systemd-analyze", part="systemd-analyze")
    for unit in (DEPLOY / "systemd").iterdir():
        there = unit.read_text(encoding="utf-8").replace(
            "/opt/batchmill/bin/batchmill", "/bin/true"
        )
        (tmp_path / unit.name).write_text(there)

    units = sorted(tmp_path.iterdir())
    done = subprocess.run([program, "verify", *units], capture_output=True, text=True, check=False)

    assert units
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- workers of a host


@pytest.mark.parametrize(
    ("asked", "called"),
    [
        (["start"], "workers scale 2"),
        (["start", "3"], "workers scale 3"),
        (["scale-up", "5"], "workers scale 5"),
        (["logs"], "workers logs"),
        (["logs", "worker-1"], "workers logs worker-1"),
        (["stats"], "workers stats"),
        (["stop"], "workers drain"),
    ],
)
def test_the_workers_script_calls_the_commands_that_there_are(
    tmp_path: Path, asked: list[str], called: str
) -> None:
    """With the command itself in place of an answer, which tells what it was asked."""
    command = tmp_path / "batchmill"
    command.write_text('#!/bin/sh\necho "$@"\nexec "$PYTHON" -m batchmill "$1" "$2" --help\n')
    command.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable}
    script = [str(DEPLOY / "manage-workers.sh"), *asked]
    run = subprocess.run(script, env=env, capture_output=True, text=True, check=True)

    assert run.stdout.splitlines()[0] == called
    assert "Usage: " in run.stdout


@pytest.mark.parametrize("asked", [[], ["scale-up"], ["restart"]])
def test_the_workers_script_says_how_it_is_used(asked: list[str]) -> None:
    script = [str(DEPLOY / "manage-workers.sh"), *asked]
    run = subprocess.run(script, capture_output=True, text=True, check=False)

    assert run.returncode != 0
    assert "scale-up N" in run.stderr
