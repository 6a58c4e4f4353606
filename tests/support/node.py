"""Programs for Node.js with packages from npm, installed in a folder of the test's own."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def installed(folder: Path, *packages: str) -> Path:
    """Install packages into `folder`, or skip the test where there is no Node or no registry."""
    npm = shutil.which("npm")
    if npm is None:
        _absent("Node.js is not installed")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        _absent(f"npm could not install {', '.join(packages)}: {done.stderr[-300:]}")
    return folder


def run(folder: Path, program: str, *arguments: str) -> Any:
    """Run an ES module in `folder` and return what it prints, as JSON."""
    path = folder / "program.mjs"
    path.write_text(program)
    done = subprocess.run(
        ["node", str(path), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _absent(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
