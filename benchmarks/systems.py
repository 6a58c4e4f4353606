"""What is measured: batchmill and its peer in Node, each as the processes that users start.

`Processes.cpu_s` sums user and system time of whole process trees, also of children that ended.
"""

import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
PEER = HERE / "peer"
PLUGIN = HERE.parent / "tests" / "support" / "plugin"
"""Has the operation `faulty`, which does nothing to a file of an ordinary name."""
NOOP = '{"name": "noop", "steps": [{"use": "faulty"}]}'
FILES_PER_REQUEST = 50


@dataclass(frozen=True)
class Dialect:
    """How a system is asked: where files go, with which fields, and how its counts read."""

    path: str
    fields: Mapping[str, Mapping[str, str]]
    ended: Callable[[Mapping[str, Any]], tuple[int, int]]
    """Items of a batch that ended, and how many of them without success."""


def _ours(told: Mapping[str, Any]) -> tuple[int, int]:
    counts = told["counts"]
    lost = counts["failed"] + counts["quarantined"] + counts["cancelled"]
    return counts["completed"] + counts["skipped"] + lost, lost


def _peers(told: Mapping[str, Any]) -> tuple[int, int]:
    return told["completed"] + told["failed"], told["failed"]


OURS = Dialect("/v1/batches", {"web": {"pipeline": "web"}, "noop": {"pipeline": NOOP}}, _ours)
PEERS = Dialect("/batches", {"web": {"work": "web"}, "noop": {"work": "noop"}}, _peers)


@dataclass(frozen=True)
class System:
    """A running system: how it is asked, and the first process of each part by name."""

    client: httpx.Client
    dialect: Dialect
    parts: dict[str, int] = field(default_factory=dict)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that each part has used so far."""
        return {name: tree_cpu_s(pid) for name, pid in self.parts.items()}

    def server(
        self, files: Sequence[Path], work: str, *, per_request: int = FILES_PER_REQUEST
    ) -> None:
        """Send the files and wait until every one has ended well."""
        batches = {
            self._send(files[first : first + per_request], work): len(files[first:][:per_request])
            for first in range(0, len(files), per_request)
        }
        for batch, total in batches.items():
            while True:
                told = self.client.get(f"{self.dialect.path}/{batch}").raise_for_status().json()
                ended, lost = self.dialect.ended(told)
                assert not lost, told
                if ended == total:
                    break
                time.sleep(0.2)

    def _send(self, paths: Sequence[Path], work: str) -> str:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(path.open("rb")) for path in paths]
            files = [("files", (Path(file.name).name, file)) for file in opened]
            fields = self.dialect.fields[work]
            answer = self.client.post(self.dialect.path, files=files, data=fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


COMMAND = ("-m", "batchmill")
INLINE = (str(HERE / "inline.py"),)
"""Its workers do nothing to a file, in their own process."""


@contextlib.contextmanager
def batchmill(
    folder: Path,
    *,
    workers: int | None = None,
    command: Sequence[str] = COMMAND,
    **settings: str,
) -> Iterator[System]:
    """Run `serve`; with `workers`, one that hands everything to as many workers of one child."""
    env = {
        **os.environ,
        "PYTHONPATH": f"{HERE.parent / 'src'}:{PLUGIN}",
        "BATCHMILL_DATA_DIR": str(folder),
        "BATCHMILL_TIERS_ANONYMOUS_FILES_PER_REQUEST": "10000",
        "BATCHMILL_TIERS_ANONYMOUS_SUBMISSIONS_PER_MINUTE": "100000",
        **settings,
    }
    program = [sys.executable, *command]
    serve = [*program, "serve", "--port", "0", *([] if workers is None else ["--no-worker"])]
    with contextlib.ExitStack() as stack:
        pid, url = stack.enter_context(started(serve, env, r"listens on (http://\S+)"))
        parts = {"server": pid}
        for number in range(1, 1 + (workers or 0)):
            ready = started([*program, "worker", "--jobs", "1"], env, r"takes files")
            parts[f"worker {number}"], _ = stack.enter_context(ready)
        client = stack.enter_context(httpx.Client(base_url=url, timeout=120))
        yield System(client, OURS, parts)


@contextlib.contextmanager
def peer(folder: Path, redis_url: str, *, workers: int | None = None) -> Iterator[System]:
    """Run the peer: one process, or a server and workers that take one job at a time."""
    install_peer()
    env = {**os.environ, "REDIS_URL": redis_url, "CONCURRENCY": "1" if workers else "2"}
    program = ["node", str(PEER / "server.mjs")]
    role = "serve+worker" if workers is None else "serve"
    with contextlib.ExitStack() as stack:
        address = r"listens on (http://\S+)"
        pid, url = stack.enter_context(started([*program, role, str(folder)], env, address))
        parts = {"server": pid}
        for number in range(1, 1 + (workers or 0)):
            ready = started([*program, "worker", str(folder)], env, "takes jobs")
            parts[f"worker {number}"], _ = stack.enter_context(ready)
        client = stack.enter_context(httpx.Client(base_url=url, timeout=120))
        yield System(client, PEERS, parts)


def install_peer() -> None:
    """Fetch the peer's packages, unless they are there."""
    if not (PEER / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=PEER, check=True)


@contextlib.contextmanager
def started(
    command: Sequence[str], env: Mapping[str, str], ready: str
) -> Iterator[tuple[int, str]]:
    """Run a process and yield its pid and what `ready` found on its stdout, once it is there."""
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(ready, line):
                yield process.pid, match[match.re.groups]
                return
        raise SystemExit(f"{command} ended before it was ready")
    finally:
        process.terminate()
        process.wait(60)


def tree_cpu_s(root: int) -> float:
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


def circumstances() -> str:
    """Say where and with what something was measured; BENCH_NOTE adds what else counts."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python"
        f" {platform.python_version()}, Node {_version('node', '--version').lstrip('v')}, commit"
        f" {commit.stdout.strip()}, load {os.getloadavg()[0]:.1f} at the end"
        f"{os.environ.get('BENCH_NOTE', '')}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _version(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return done.stdout.strip()
