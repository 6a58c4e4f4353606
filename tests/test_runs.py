"""How a run of tests ends: it names what was skipped, and neither a crash nor a hang holds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import parts

TESTS = Path(__file__).parent


def run(folder: Path, code: str, *options: str, **environment: str) -> tuple[int, str]:
    """Run pytest, with what holds for all our tests, on one file; return its code and its words."""
    (folder / "test_it.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\ntimeout = 240\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "support.whole_run", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS), "CI": "", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


SKIPPING = """
import pytest
from support import parts

@pytest.mark.parametrize("number", range(3))
def test_it(number):
    parts.missing("exiftool")
"""


def test_what_was_skipped_is_named_with_the_way_to_have_it_run(tmp_path: Path) -> None:
    code, words = run(tmp_path, SKIPPING)

    assert code == 0
    assert f"3 skipped, exiftool is missing: {parts.HOW['exiftool']}" in words


def test_in_ci_a_missing_part_fails_the_test(tmp_path: Path) -> None:
    code, words = run(tmp_path, SKIPPING, CI="true")

    assert code == 1
    assert "3 failed" in words


CRASHING = """
import os, signal, time
import pytest

@pytest.mark.parametrize("number", range(6))
def test_it(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 3:
        # The first of the other worker. Had xdist work to hand out between the death and its
        # notice, it would write to the dead and end with an internal error (code 3).
        time.sleep(1)
"""


def test_a_worker_that_crashes_fails_the_run_at_once(tmp_path: Path) -> None:
    options = ("-n", "2", "--dist", "worksteal", "--max-worker-restart", "0")
    code, words = run(tmp_path, CRASHING, *options)

    assert code == 1, words
    assert "crashed and worker restarting disabled" in words


HANGING = """
import threading

def test_that_never_ends():
    threading.Event().wait()
"""


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("-n", "1", "--max-worker-restart", "0")])
def test_a_run_that_hangs_ends_with_the_stacks_of_its_threads(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    code, words = run(tmp_path, HANGING, "--run-limit-s", "4", "-s", *options)

    assert code == 1
    assert "in test_that_never_ends" in words
