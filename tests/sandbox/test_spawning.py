"""The fork server of a command starts before its own code, and never outlives it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchmill.sandbox import spawning
from batchmill.sandbox.spawning import EXECUTOR, Spawned
from support import parts
from support.environment import environment


def end(spawned: Spawned) -> None:
    spawned.close()
    spawned.process.kill()
    spawned.process.wait()


def test_what_was_started_ahead_is_taken_once_and_by_nothing_that_it_does_not_fit() -> None:
    spawning.start_ahead()
    other = spawning.spawned("misbehaving", os.environ)
    first = spawning.spawned(EXECUTOR, os.environ)
    second = spawning.spawned(EXECUTOR, os.environ)
    began = [each.process.pid for each in (first, other, second)]
    for each in (first, other, second):
        end(each)
    assert began == sorted(began), "the one that was started ahead is the eldest"


@parts.proc_only
@pytest.mark.parametrize("arguments", [["no-such-preset", "x"], ["web", "no-such-file"]])
def test_a_command_that_is_refused_leaves_no_fork_server(
    arguments: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "batchmill", "run", *arguments, "-o", str(tmp_path / "out")]
    done = subprocess.run(
        command,
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    until = time.monotonic() + 30
    while marked := _with_path(tmp_path):
        assert time.monotonic() < until, marked
        time.sleep(0.05)


def _with_path(folder: Path) -> list[int]:
    """Return the processes that look for modules in a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if f"PYTHONPATH={folder}".encode() in (each / "environ").read_bytes():
                found.append(int(each.name))
        except OSError:
            continue
    return found
