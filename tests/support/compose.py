"""Reads deploy/compose.yaml as Compose does: variables filled in, merged, lists of words."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def read(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the file's content; `${NAME:-default}` takes NAME from `variables`."""
    content: dict[str, Any] = _filled(
        yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")), variables or {}
    )
    return content


def _filled(node: Any, variables: Mapping[str, str]) -> Any:
    match node:
        case dict():
            return {name: _filled(each, variables) for name, each in node.items()}
        case list():
            return [_filled(each, variables) for each in node]
        case str():
            return _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2], node)
    return node


def image_environment() -> dict[str, str]:
    """Return the variables of ours that the image sets."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"^(?:ENV)? +(BATCHMILL_\w+)=(\S+)", text, re.MULTILINE))


def quickstart(folder: Path) -> Path:
    """Run the quickstart script where `docker` does nothing; return the secrets that it made."""
    script = folder / "deploy" / "quickstart.sh"
    script.parent.mkdir()
    shutil.copy(DEPLOY / script.name, script)
    docker = folder / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    environ = {**os.environ, "PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", script], env=environ, check=True, stdout=subprocess.DEVNULL)
    return script.parent / "secrets"
