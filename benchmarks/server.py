"""CPU of the whole server path against the bare kernel loop, and against the peer in Node.

    make bench-server                   photos that two packages ship
    make bench-server PHOTOS=FOLDER     your own

The kernel is one process that puts every file through preset `web`, one after another. The
server path is `batchmill serve` with all its children, from the first byte of an upload over
HTTP to the last result: its CPU is user + system of its whole process tree, without start-up
and shutdown. The peer (benchmarks/peer) is Express, multer, BullMQ and sharp in one process that
takes two jobs at once, with the private Redis that it needs. Runs alternate, each preceded by a
warm-up; medians count. Writes benchmarks/results/server.md.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from photos import stills
from systems import HERE, System, batchmill, circumstances, peer
from whole import floor, trees

from support import redis_server

RUNS = int(os.environ.get("BENCH_RUNS", "9"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "2"))


@dataclass(frozen=True, slots=True)
class Run:
    """One run over all files: CPU of all its processes, and the time it took."""

    cpu_s: float
    wall_s: float


def main(photos: Path) -> None:
    """Alternate all three, print and write the table."""
    files = [path for path in stills(photos) if path.suffix != ".heic"]  # sharp has no HEVC
    runs: dict[str, list[Run]] = {"kernel loop": [], "server path": [], "peer": []}
    with tempfile.TemporaryDirectory() as name, redis_server.private(Path(name)) as redis:
        for number in range(RUNS):
            folder = Path(name) / "run"
            runs["kernel loop"].append(_kernel(files, folder / "kernel"))
            with batchmill(folder / "batchmill") as system:
                runs["server path"].append(_through(system, files))
            with peer(folder / "peer", redis.url) as system:
                system.parts["Redis"] = redis.pid
                runs["peer"].append(_through(system, files))
            shutil.rmtree(folder)
            print(f"run {number + 1}:", {kind: done[-1] for kind, done in runs.items()})
    table = _table(len(files) * REPEATS, runs)
    print(table)
    (HERE / "results/server.md").write_text(table, encoding="utf-8")


def _kernel(files: list[Path], work: Path) -> Run:
    told = floor(trees()["now"], [files[0], *files * REPEATS], work, "web", "webp").told
    _, *counted = json.loads(told)["files"]  # the first warms up
    return Run(*(sum(each[part] for each in counted) / 1000 for part in (1, 2)))


def _through(system: System, files: list[Path]) -> Run:
    system.server(files[:2], "web")
    spent, began = sum(system.cpu_s().values()), time.perf_counter()
    system.server(files * REPEATS, "web")
    return Run(sum(system.cpu_s().values()) - spent, time.perf_counter() - began)


def _table(images: int, runs: Mapping[str, list[Run]]) -> str:
    cpu_s = {kind: statistics.median(run.cpu_s for run in done) for kind, done in runs.items()}
    rate = {
        kind: images / statistics.median(run.wall_s for run in done) for kind, done in runs.items()
    }
    lines = [
        "# The server path beside the bare kernel and the peer\n",
        f"{images} images, preset `web`, median of {len(runs['peer'])} alternating runs;"
        f" {circumstances()}.\n",
        "| what | CPU s, median | least | most | CPU ms an image | images/s |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {kind} | {cpu_s[kind]:.2f} | {min(run.cpu_s for run in done):.2f}"
            f" | {max(run.cpu_s for run in done):.2f} | {cpu_s[kind] / images * 1000:.1f}"
            f" | {rate[kind]:.1f} |"
            for kind, done in runs.items()
        ),
        f"\nCPU beside the kernel: {cpu_s['server path'] / cpu_s['kernel loop']:.3f} (target 1.10)."
        f" Images/s beside the peer: {rate['server path'] / rate['peer']:.2f} (target 1.20);"
        f" its CPU beside ours: {cpu_s['peer'] / cpu_s['server path']:.2f}.\n",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
