"""Picture files made for tests, and one line to put a file through steps."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image

from batchmill.model.limits import Limits
from batchmill.operations import registry
from batchmill.sandbox.messages import Job, JobStep, Report, StepProgress
from batchmill.sandbox.run_job import execute

Steps = Sequence[tuple[str, Mapping[str, Any]]]


def scene(width: int, height: int, *, seed: int = 1, grain: float = 6) -> pyvips.Image:
    """Return an sRGB picture, a noisy gradient that no turn or mirroring leaves as it was."""
    x, y = pyvips.Image.xyz(width, height).bandsplit()
    red, green, blue = x * (255 / width), y * (255 / height), (x + y) * (90 / (width + height))
    noise = pyvips.Image.gaussnoise(width, height, sigma=grain, mean=0, seed=seed)
    picture = red.bandjoin([green, blue]) + noise
    return picture.cast("uchar").copy(interpretation="srgb").copy_memory()


def pil(image: pyvips.Image) -> Image.Image:
    """Return the same pixels as a Pillow image, to write files by another hand."""
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[image.bands]
    return Image.frombytes(mode, (image.width, image.height), bytes(image.write_to_memory()))


def vips(image: Image.Image) -> pyvips.Image:
    """Return a Pillow image's pixels as a libvips image."""
    bands = len(image.getbands())
    made = pyvips.Image.new_from_memory(image.tobytes(), *image.size, bands, "uchar")
    return made.copy(interpretation="srgb" if bands > 2 else "b-w")


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
    return Job(
        source=str(copy),
        folder=str(folder),
        name=fields.pop("name", source.name),
        steps=fields.pop("job_steps", job_steps),
        **fields,
    )


def run(source: Path, steps: Steps, **fields: Any) -> Report:
    """Put a file through steps as a child would, and return the report."""
    for left in source.parent.glob(f"{source.name}.job/out/*"):
        left.unlink()
    return execute(job(source, steps, **fields), _ignore)


def outputs(source: Path, report: Report) -> list[Path]:
    """Return where the outputs of `run(source, …)` lie."""
    folder = source.parent / f"{source.name}.job" / "out"
    return [folder / output.name for output in report.outputs]


def digests(source: Path, report: Report) -> list[str]:
    """Return the sha256 of each output of `run(source, …)`."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs(source, report)]


def output(source: Path, steps: Steps, *, limits: Limits | None = None) -> Path:
    """Put a file through steps that must succeed; return the one file that came out."""
    report = run(source, steps, limits=limits or Limits())
    assert report.error is None, report.error
    (path,) = outputs(source, report)
    return path


def made(source: Path, steps: Steps, *, limits: Limits | None = None) -> pyvips.Image:
    """Put a file through steps that must succeed; return the one picture that came out."""
    return pyvips.Image.new_from_file(str(output(source, steps, limits=limits)))


def refused(source: Path, steps: Steps, **fields: Any) -> str:
    """Put a file through steps that must fail; return the error's code."""
    report = run(source, steps, **fields)
    assert report.error is not None, report.outputs
    assert not report.outputs
    return report.error.code


def difference(one: pyvips.Image, other: pyvips.Image) -> float:
    """Return the mean distance of two pictures of one size, in steps of 255."""
    assert (one.width, one.height, one.bands) == (other.width, other.height, other.bands)
    return float((one - other).abs().avg())


def _ignore(_progress: StepProgress) -> None:
    """Drop progress."""
