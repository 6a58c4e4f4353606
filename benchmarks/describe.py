"""Ten pictures described five at a time and one by one, by a model's server that takes a second.

    python benchmarks/describe.py

The server is the tests' own, on loopback: what is measured is how well the waiting overlaps.
Writes benchmarks/results/describe.md.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from batchmill import process_batch_sync  # noqa: E402 - the tests' server stands beside it
from support.pictures import scene  # noqa: E402
from support.vision_server import VisionServer  # noqa: E402

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
PICTURES, ANSWER_S, SIZE_PX = 10, 1.0, (800, 600)


def main() -> None:
    """Measure, print and write the table."""
    with tempfile.TemporaryDirectory() as folder, VisionServer("slow") as server:
        server.seconds = ANSWER_S
        os.environ.update(server.environment)
        paths = [Path(folder, f"{number}.jpg") for number in range(PICTURES)]
        for number, path in enumerate(paths):
            scene(*SIZE_PX, seed=number).write_to_file(str(path))
        process_batch_sync(paths[:1], "describe")
        taken: dict[int, list[tuple[float, float]]] = {1: [], 5: []}
        for _ in range(RUNS):
            for concurrency, times in taken.items():
                times.append(seconds(paths, concurrency, server))
    table = written({each: medians(times) for each, times in taken.items()})
    print(table)
    (HERE / "results" / "describe.md").write_text(table, encoding="utf-8")


def seconds(paths: list[Path], concurrency: int, server: VisionServer) -> tuple[float, float]:
    """Describe all pictures; return how long it took, and how long the server was busy with it."""
    server.asked.clear()
    began = time.monotonic()
    result = process_batch_sync(paths, "describe", concurrency=concurrency)
    assert result.successful == len(paths), [item.error for item in result.items]
    asked_s = [asked.at_s for asked in server.asked]
    return time.monotonic() - began, max(asked_s) - min(asked_s) + ANSWER_S


def medians(times: list[tuple[float, float]]) -> tuple[float, ...]:
    """Return the median of each column."""
    return tuple(statistics.median(column) for column in zip(*times, strict=True))


def written(taken: dict[int, tuple[float, ...]]) -> str:
    """Return the page."""
    rows = "\n".join(f"| {each} | {all_s:.2f} | {at:.2f} |" for each, (all_s, at) in taken.items())
    (one, one_at), (five, five_at) = taken[1], taken[5]
    return (
        "# Pictures described at once\n\n"
        f"{PICTURES} pictures of {SIZE_PX[0]}×{SIZE_PX[1]} px, preset `describe`, a model's server"
        f" on loopback that takes {ANSWER_S:g} s for an answer; median of {RUNS} alternating runs,"
        f" start of the children included; {os.cpu_count()} cores, {platform.system()}, Python"
        f" {platform.python_version()}; load {os.getloadavg()[1]:.1f}.\n\n"
        "| concurrency | s in all | s from the first question to the last answer |\n"
        "| --- | --- | --- |\n"
        f"{rows}\n\nFive at once are {one / five:.2f} times as fast as one by one; without the"
        f" start, {one_at / five_at:.2f} times.\n"
    )


if __name__ == "__main__":
    main()
