"""Programs for Node.js with packages from npm, installed in a folder of the test's own."""

import json
import subprocess
from pathlib import Path
from typing import Any

from support import parts


def installed(folder: Path, *packages: str) -> Path:
    """Install packages into `folder`, or skip the test where there is no Node or no registry."""
    npm = parts.program("npm", part="Node.js with npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        parts.missing("packages from npm", f"{', '.join(packages)}: {done.stderr[-300:]}")
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
