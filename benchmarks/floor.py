"""The floor: our own decode and encode over a list of files, in one process and nothing around it.

    python benchmarks/floor.py OUT PRESET FORMAT [split] LIST

Prints as JSON for each file its name, CPU ms and ms; with `split` also the CPU ms of its decode,
resize and encode.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from batchmill.operations import presets, registry

try:
    from batchmill.sandbox import run_job
    from batchmill.sandbox.messages import Job, JobStep
except ImportError:  # a commit before the package had this name, for BENCH_BEFORE
    from batchmill.runner import execute as run_job  # type: ignore[import-not-found, no-redef]
    from batchmill.runner.messages import (  # type: ignore[import-not-found, no-redef]
        Job,
        JobStep,
    )

BOX = 1024


def main(out: Path, preset: str, kind: str, *more: str) -> None:
    """Do every file once and print what it took."""
    files = Path(more[-1]).read_text(encoding="utf-8").splitlines()
    is_split = "split" in more
    steps = _steps(preset, kind, is_split=is_split)
    out.mkdir(parents=True, exist_ok=True)
    run_job.warm()
    spent, parts = [], {}
    for file in files:
        began, since = time.process_time(), time.perf_counter()
        job = Job(source=file, folder=str(out), name=Path(file).name, steps=steps)
        report = run_job.execute(job, lambda _: None)
        cpu_ms = 1000 * (time.process_time() - began)
        spent.append((file, cpu_ms, 1000 * (time.perf_counter() - since)))
        assert report.error is None, report.error
        if is_split:
            parts[file] = _parts(file, cpu_ms, report.step_ms)
    print(json.dumps({"files": spent, "parts": parts}))


def _steps(preset: str, kind: str, *, is_split: bool) -> tuple[JobStep, ...]:
    """Return a preset's steps with the format exchanged.

    With `is_split` the resize ends with pixels, so that its time is its own: a time limit does so.
    """
    steps = []
    for step in registry.check(presets.get(preset)).steps:
        options = dict(step.options) | ({"format": kind} if step.use == "convert" else {})
        made = JobStep(step.use, options=options, id=step.use)
        ends = is_split and step.use == "resize"
        steps.append(replace(made, timeout_s=60) if ends else made)
    return tuple(steps)


def _parts(file: str, cpu_ms: float, step_ms: Mapping[str, float]) -> Sequence[float]:
    """Return CPU ms of decode, resize, encode: decode is done again alone, resize is the rest."""
    began = time.process_time()
    _decode(Path(file))
    decode_ms = 1000 * (time.process_time() - began)
    encode_ms = cpu_ms * step_ms["encode"] / sum(step_ms.values())
    return decode_ms, max(0.0, cpu_ms - encode_ms - decode_ms), encode_ms


def _decode(path: Path) -> None:
    """Read a file's pixels, shrunk as a resize to the box has them shrunk."""
    from batchmill.model.containers import identify
    from batchmill.model.limits import Limits
    from batchmill.operations.images.codec.decode import open_picture, shrunk
    from batchmill.operations.picture import Source

    with path.open("rb") as file:
        media = identify(file)
    assert media is not None
    limits = Limits()
    source = Source(path=path, name=path.name, media=media, bytes=path.stat().st_size)
    picture = open_picture(source, limits)
    shrink = max(1.0, max(picture.size) / BOX)
    shrunk(picture, shrink, limits, tolerant=False).copy_memory()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
