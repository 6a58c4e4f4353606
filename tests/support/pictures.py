"""Picture files made for tests, and one line to put a file through steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyvips

from batchmill.model.limits import Limits
from batchmill.operations import registry
from batchmill.runner.execute import execute
from batchmill.runner.messages import Job, JobStep, Progress, Report

Steps = list[tuple[str, Mapping[str, Any]]]


def scene(width: int, height: int, *, seed: int = 1) -> pyvips.Image:
    """Return an sRGB picture, a noisy gradient that no turn or mirroring leaves as it was."""
    x, y = pyvips.Image.xyz(width, height).bandsplit()
    red, green, blue = x * (255 / width), y * (255 / height), (x + y) * (90 / (width + height))
    noise = pyvips.Image.gaussnoise(width, height, sigma=6, mean=0, seed=seed)
    picture = red.bandjoin([green, blue]) + noise
    return picture.cast("uchar").copy(interpretation="srgb").copy_memory()


def job(source: Path, steps: Steps, **fields: Any) -> Job:
    """Return a job over a copy of `source`, in a folder beside it."""
    folder = source.parent / f"{source.name}.job"
    folder.mkdir(exist_ok=True)
    copy = folder / "input"
    copy.write_bytes(source.read_bytes())
    job_steps = tuple(
        JobStep(use, registry.options(use, options).model_dump(mode="json"), id=use)
        for use, options in steps
    )
    return Job(str(copy), str(folder), fields.pop("name", source.name), job_steps, **fields)


def run(source: Path, steps: Steps, **fields: Any) -> Report:
    """Put a file through steps as a child would, and return the report."""
    return execute(job(source, steps, **fields), _ignore)


def outputs(source: Path, report: Report) -> list[Path]:
    """Return where the outputs of `run(source, …)` lie."""
    folder = source.parent / f"{source.name}.job" / "out"
    return [folder / output.name for output in report.outputs]


def made(source: Path, steps: Steps, *, limits: Limits | None = None) -> pyvips.Image:
    """Put a file through steps that must succeed; return the one picture that came out."""
    report = run(source, steps, limits=limits or Limits())
    assert report.error is None, report.error
    (path,) = outputs(source, report)
    return pyvips.Image.new_from_file(str(path))


def difference(one: pyvips.Image, other: pyvips.Image) -> float:
    """Return the mean distance of two pictures of one size, in steps of 255."""
    assert (one.width, one.height, one.bands) == (other.width, other.height, other.bands)
    return float((one - other).abs().avg())


def _ignore(_progress: Progress) -> None:
    """Drop progress."""
