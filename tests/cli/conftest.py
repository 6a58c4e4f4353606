"""The command line as users run it: a process of its own."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import preloaded
from support.environment import environment
from support.pictures import scene

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def batchmill(tmp_path: Path) -> Run:
    """Run `batchmill` with arguments, and settings, in the test's folder; wait for its end."""

    def run(
        *arguments: object, stdin: str = "", **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        return preloaded.run(arguments, cwd=tmp_path, env=environment(**settings), stdin=stdin)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder `photos` of five pictures, two of them below `summer`."""
    folder = tmp_path / "photos"
    (folder / "summer").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "c.png", "summer/d.png", "summer/e.jpg")):
        scene(120, 80, seed=number).write_to_file(str(folder / name))
    return folder
