"""CPU of the whole server path against the bare kernel loop, on the same files in one run.

    make bench-server                   photos that two packages ship
    make bench-server PHOTOS=FOLDER     your own

The kernel is one process that puts every file through preset `web`, one after another. The
server path is `batchmill serve` with all its children, from the first byte of an upload over
HTTP to the last result: its CPU is user + system of its whole process tree, without start-up
and shutdown. Runs of both alternate, each preceded by a warm-up; medians count.
Writes benchmarks/results/server.md.
"""

import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

HERE = Path(__file__).parent
RUNS = int(os.environ.get("BENCH_RUNS", "9"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "2"))
FILES_PER_REQUEST = 50
KERNEL = """
import json, shutil, sys, time
from pathlib import Path
from batchmill.operations import presets, registry
from batchmill.runner import execute
from batchmill.runner.messages import Job, JobStep

work, repeats, files = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
steps = tuple(
    JobStep(step.use, options=dict(step.options), id=step.id)
    for step in registry.check(presets.get("web")).steps
)
execute.warm()

def one(number, path):
    folder = work / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = Job(source=path, folder=str(folder), name=Path(path).name, steps=steps)
    report = execute.execute(job, lambda progress: None)
    assert report.error is None, report.error

one(0, files[0])
began = time.process_time()
for number, path in enumerate(files * repeats):
    one(number, path)
print(time.process_time() - began)
"""
CHILD = {"VIPS_CONCURRENCY": "1", "MALLOC_ARENA_MAX": "2"}


def main(photos: Path) -> None:
    """Alternate both, print and write the table."""
    files = sorted(str(path) for path in photos.iterdir() if path.suffix != ".csv")
    kernel, server = [], []
    with tempfile.TemporaryDirectory() as name:
        for run in range(RUNS):
            kernel.append(_kernel_cpu_s(files, Path(name) / "kernel"))
            server.append(_server_cpu_s(files, Path(name) / f"data-{run}"))
            print(f"run {run + 1}: kernel {kernel[-1]:.2f} s, server {server[-1]:.2f} s")
    table = _table(len(files) * REPEATS, kernel, server)
    print(table)
    (HERE / "results/server.md").write_text(table, encoding="utf-8")


def _kernel_cpu_s(files: list[str], work: Path) -> float:
    command = [sys.executable, "-c", KERNEL, str(work), str(REPEATS), *files]
    done = subprocess.run(
        command, env=os.environ | CHILD, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def _server_cpu_s(files: list[str], data_dir: Path) -> float:
    command = [sys.executable, "-m", "batchmill", "serve", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        with httpx.Client(base_url=_address(server), timeout=120) as client:
            _mill(client, files[:2], 1)
            began = _tree_cpu_s(server.pid)
            _mill(client, files, REPEATS)
            return _tree_cpu_s(server.pid) - began
    finally:
        server.terminate()
        server.wait(60)


def _mill(client: httpx.Client, files: list[str], repeats: int) -> None:
    """Send the files `repeats` times and wait until every one has ended well."""
    for _ in range(repeats):
        for first in range(0, len(files), FILES_PER_REQUEST):
            _send(client, files[first : first + FILES_PER_REQUEST])
    while counts := client.get("/v1/queue").json()["counts"]:
        if not sum(counts[each] for each in ("pending", "queued", "processing", "retrying")):
            break
        time.sleep(2)
    assert not counts["failed"] + counts["quarantined"], counts


def _send(client: httpx.Client, paths: list[str]) -> None:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Path(path).open("rb")) for path in paths]
        files = [("files", (Path(file.name).name, file)) for file in opened]
        answer = client.post("/v1/batches", files=files, data={"pipeline": "web"})
        assert answer.status_code == 202, answer.text


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        match = re.search(r"listens on (http://\S+)", line)
        if match:
            return match[1]
    raise SystemExit("the server did not start")


def _tree_cpu_s(root: int) -> float:
    """Sum user and system time of a process, its descendants, and those that have ended."""
    ticks, parents = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return sum(ticks[pid] for pid in tree) / os.sysconf("SC_CLK_TCK")


def _table(images: int, kernel: list[float], server: list[float]) -> str:
    ratio = statistics.median(server) / statistics.median(kernel)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    rows = [
        ("kernel loop", kernel),
        ("server path", server),
    ]
    lines = [
        "# CPU of the server path beside the bare kernel\n",
        f"{images} images, preset `web`, median of {len(kernel)} alternating runs;"
        f" {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()},"
        f" commit {commit.stdout.strip()}.\n",
        "| what | CPU s, median | least | most | CPU ms an image |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {statistics.median(spent):.2f} | {min(spent):.2f} | {max(spent):.2f}"
            f" | {statistics.median(spent) / images * 1000:.1f} |"
            for name, spent in rows
        ),
        f"\nRatio: {ratio:.3f} (target 1.10).\n",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
