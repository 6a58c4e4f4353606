"""Images per CPU second of the image pipeline and of Node sharp, on the same files in one run.

    make bench-images                   photos that two packages ship
    make bench-images PHOTOS=FOLDER     your own

Both write pictures of the same size, format and quality. A run is one process that does every
file once after a warm-up; runs of both alternate, and the median of each file counts. CPU time
is user + system of the whole process. Ours includes the measuring of outputs.
Writes benchmarks/results/images.md.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips
from likeness import ssim
from photos import kind, stills

HERE = Path(__file__).parent
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
PEER = "sharp@0.35"
BOX = {"width": 1024, "height": 1024, "fit": "inside"}
STEPS: dict[str, list[tuple[str, Mapping[str, Any]]]] = {
    "jpeg": [("resize", BOX), ("convert", {"format": "jpeg", "quality": 80})],
    "webp": [("resize", BOX), ("convert", {"format": "webp", "quality": 80, "effort": 4})],
}
TITLES = {
    "jpeg": "fit 1024 → JPEG, quality 80, progressive",
    "webp": "fit 1024 → WebP, quality 80, effort 4",
    "fast": "preset `fast` beside sharp's defaults for WebP",
}
ENGINES = ("batchmill", "sharp", "sharp, 1 thread")
HEADER = (
    "| input | files | images/CPU s | sharp | sharp, 1 thread | ratio | ratio, 1 thread "
    "| bytes | SSIM | sharp's SSIM |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True, slots=True)
class Done:
    """What an engine needed for one file, and what it made of it."""

    cpu_ms: float
    bytes: int
    ssim: float


Results = dict[str, dict[str, Done]]
"""What each engine did, by engine and file."""


def main(photos: Path, cases: Sequence[str]) -> None:
    """Compare, print and write the table; `cases` are some of TITLES, none means all."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        files = [str(path) for path in stills(photos)]
        _install_peer(work)
        parts = [_heading(work, len(files))]
        for case in cases or TITLES:
            parts.append(_section(case, files, _compared(case, files, work)))
            print(parts[-1])
    if not cases:
        (HERE / "results/images.md").write_text("\n".join(parts) + "\n", encoding="utf-8")


def _compared(case: str, files: list[str], work: Path) -> Results:
    spent: dict[str, list[dict[str, float | None]]] = {engine: [] for engine in ENGINES}
    for _ in range(RUNS):
        for engine in ENGINES:
            (work / case / engine).mkdir(parents=True, exist_ok=True)
            spent[engine].append(_run(engine, case, files, work))
    return {
        engine: {
            file: _done(file, work / case / engine, [run[file] or 0.0 for run in runs])
            for file in files
            if all(run[file] is not None for run in runs)
        }
        for engine, runs in spent.items()
    }


def _run(engine: str, case: str, files: list[str], work: Path) -> dict[str, float | None]:
    """Let an engine do every file once; return CPU ms by file, None for a file it refused."""
    out = str(work / case / engine)
    if engine == "batchmill":
        command = [sys.executable, __file__, "--ours", case, out, *files]
        environment = {**os.environ, "VIPS_CONCURRENCY": "1", "MALLOC_ARENA_MAX": "2"}
    else:
        threads = "1" if engine.endswith("1 thread") else "0"
        command = ["node", str(HERE / "images_peer.mjs"), str(work), case, threads, out, *files]
        environment = dict(os.environ)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env=environment
    )
    found: dict[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def _done(file: str, out: Path, spent: list[float]) -> Done:
    made = out / f"{Path(file).name}.out"
    return Done(statistics.median(spent), made.stat().st_size, ssim(file, made))


# ---------------------------------------------------------------- one run of ours


def ours(case: str, out: str, files: Sequence[str]) -> None:
    """Do every file once, as a child does; print CPU ms by file."""
    from batchmill.operations import presets, registry
    from batchmill.sandbox.messages import Job, JobStep
    from batchmill.sandbox.run_job import execute

    given = STEPS.get(case) or [(step.use, step.options) for step in presets.get(case).steps]
    steps = tuple(
        JobStep(use, registry.options(use, options).model_dump(mode="json"), id=use)
        for use, options in given
    )

    def run(file: str) -> float | None:
        with tempfile.TemporaryDirectory(dir=out) as folder:
            job = Job(source=file, folder=folder, name=Path(file).name, steps=steps)
            began = time.process_time()
            report = execute(job, lambda _: None)
            spent = (time.process_time() - began) * 1000
            if report.error:
                return None
            made = Path(folder, "out", report.outputs[0].name)
            made.replace(Path(out, f"{Path(file).name}.out"))
            return spent

    run(files[0])
    print(json.dumps({file: run(file) for file in files}))


# ---------------------------------------------------------------- the table


def _section(case: str, files: list[str], results: Results) -> str:
    groups: dict[str, list[str]] = {}
    for file in files:
        if all(file in results[engine] for engine in ENGINES):
            groups.setdefault(kind(file), []).append(file)
    lines = [f"\n## {TITLES[case]}\n\n{HEADER}"]
    lines += [_row(name, groups[name], results) for name in sorted(groups)]
    lines.append(_row("**all**", [file for group in groups.values() for file in group], results))
    only = [Path(file).name for file in files if file not in results["sharp"]]
    if only:
        lines.append(f"\nNot read by sharp: {', '.join(only)}.")
    return "\n".join(lines)


def _row(name: str, files: list[str], results: Results) -> str:
    mine, peers, single = ([results[engine][file] for file in files] for engine in ENGINES)
    rates = [_rate(each) for each in (mine, peers, single)]
    size = sum(done.bytes for done in mine) / sum(done.bytes for done in peers) - 1
    cells = [
        name,
        len(files),
        *(f"{rate:.2f}" for rate in rates),
        *(f"{rates[0] / rate:.2f}" for rate in rates[1:]),
        f"{size:+.1%}",
        *(f"{statistics.fmean(done.ssim for done in each):.4f}" for each in (mine, peers)),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _rate(done: list[Done]) -> float:
    return 1000 * len(done) / sum(each.cpu_ms for each in done)


def _heading(work: Path, count: int) -> str:
    sharp = json.loads((work / "node_modules/sharp/package.json").read_text())["version"]
    libvips = ".".join(str(pyvips.version(part)) for part in range(3))
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False, cwd=HERE)
    return (
        f"# Images per CPU second\n\nMade by `make bench-images` at {commit.stdout.strip()}: "
        f"{count} still pictures, median of {RUNS} alternating runs, {_processor()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, libvips {libvips}. "
        f"The peer is sharp {sharp}, as it comes and with one thread; ratios and bytes are ours "
        "beside it. SSIM is of luma, to a full decode by Pillow."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


# ---------------------------------------------------------------- the peer


def _install_peer(work: Path) -> None:
    (work / "package.json").write_text('{"private": true}', encoding="utf-8")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", PEER]
    subprocess.run(command, cwd=work, check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        ours(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
