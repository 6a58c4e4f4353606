"""A child that is forked from a warm fork server loads nothing for an ordinary picture."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.environment import environment
from support.pictures import scene

PROGRAM = """
import os, sys
from batchmill.sandbox import run_job
from batchmill.sandbox.messages import Job, JobStep

run_job.warm()
source, folder, format_ = sys.argv[1:]
os.makedirs(os.path.join(folder, "out"))
steps = (
    JobStep(use="resize", options={"width": 100}, id="1"),
    JobStep(use="convert", options={"format": format_}, id="2"),
)
before = set(sys.modules)
report = run_job.execute(Job(source, folder, "a", steps), lambda _: None)
assert report.error is None, report.error
print(*sorted(set(sys.modules) - before))
"""


PAIRS = [("jpg", "webp"), ("png", "webp"), ("webp", "webp"), ("jpg", "jpeg"), ("jpg", "avif")]


@pytest.mark.parametrize(("kind", "format_"), PAIRS)
def test_the_first_picture_of_a_child_makes_it_load_nothing(
    kind: str, format_: str, tmp_path: Path
) -> None:
    source = tmp_path / f"in.{kind}"
    scene(300, 200).write_to_file(str(source))
    arguments = [str(source), str(tmp_path / "job"), format_]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
