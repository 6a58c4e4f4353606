"""The real server and its workers as process trees of their own, to be killed."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import httpx

from support import asking, preloaded

Running = preloaded.Process | subprocess.Popen[str]


@dataclass(frozen=True)
class Worker:
    """A running `batchmill worker`."""

    popen: Running

    def kill(self) -> None:
        """End the process as a power cut would; its children must follow by themselves."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(60)

    def stop(self) -> int:
        """Ask the process to end and return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)

    def children(self) -> list[int]:
        """Return the pids of all processes below this one, found by their parents."""
        return descendants(self.popen.pid)


def descendants(root: int) -> list[int]:
    """Return the pids of all processes below one, found by their parents."""
    parents = {pid: ppid for pid, ppid, _ in _processes()}
    below = {root}
    while more := {pid for pid, ppid in parents.items() if ppid in below} - below:
        below |= more
    return sorted(below - {root})


def offspring(parent: int) -> list[int]:
    """Return the pids of the processes that one started itself, and that run."""
    return sorted(pid for pid, ppid, state in _processes() if ppid == parent and state != "Z")


@dataclass(frozen=True)
class Process(Worker):
    """A running `batchmill serve` and a client that speaks to it."""

    client: httpx.Client
    data_dir: Path

    def kill_children(self) -> None:
        """End whatever works on a file, as the kernel does when memory is short."""
        for fork_server in offspring(self.popen.pid):
            for child in offspring(fork_server):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def until(self, path: str, holds: Callable[[Any], object]) -> Any:
        """Ask for JSON at `path` until it is as wanted; return it."""
        return asking.until(self.client, path, holds)

    def watch(
        self, path: str, pick: Callable[[Any], Any], until: Callable[[Any], object]
    ) -> list[Any]:
        """Ask for JSON at `path` until what is picked of it is as wanted; return all of it."""
        seen: list[Any] = []

        def holds(told: Any) -> object:
            seen.append(pick(told))
            return until(seen[-1])

        self.until(path, holds)
        return seen

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the log, which its workers beside it write to as well."""
        text = (self.data_dir.parent / "server.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Run SQL on its SQLite database, as the command `sqlite3` does; return the rows."""
        with closing(sqlite3.connect(self.data_dir / "batchmill.sqlite3")) as conn:
            conn.row_factory = sqlite3.Row
            rows = [dict(each) for each in conn.execute(sql, values)]
            conn.commit()
            return rows


@contextmanager
def serving(data_dir: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    """Start a server on a free port; it is killed when the block ends, if it still runs."""
    with ExitStack() as stack:
        command = _running("serve", data_dir, "--port", "0", *arguments, **environment)
        popen = stack.enter_context(command)
        url = _said(popen, r"listens on (http://\S+)")
        client = stack.enter_context(httpx.Client(base_url=url, timeout=60))
        yield Process(popen, client, data_dir)


@contextmanager
def working(
    data_dir: Path, *arguments: str, inside: Sequence[str] = (), **environment: str
) -> Iterator[Worker]:
    """Start a worker; it is killed when the block ends, if it still runs.

    `inside` stands before its command, to start it somewhere else.
    """
    command = _running("worker", data_dir, *arguments, inside=inside, **environment)
    with command as popen:
        _said(popen, r"worker (\S+) takes files")
        yield Worker(popen)


@contextmanager
def _running(
    command: str,
    data_dir: Path,
    *arguments: str,
    inside: Sequence[str] = (),
    **environment: str,
) -> Iterator[Running]:
    asked = [command, "--data-dir", str(data_dir), *arguments]
    env = {**os.environ, **environment}
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with (data_dir.parent / "server.log").open("a") as log:
        if inside:
            program = [*inside, sys.executable, "-m", "batchmill", *asked]
            popen: Running = subprocess.Popen(program, stdout=PIPE, stderr=log, text=True, env=env)
        else:
            popen = preloaded.start(asked, env=env, stderr=log)
    try:
        yield popen
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait(60)


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    return any(pid == each and state != "Z" for each, _, state in _processes())


def _said(popen: Running, pattern: str) -> str:
    """Wait until the process has said that it is ready, and return what it told with it."""
    assert popen.stdout is not None
    for line in popen.stdout:
        match = re.search(pattern, line)
        if match:
            return match[1]
    raise AssertionError("the process ended before it was ready")


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield `(pid, parent, state)` of every process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(folder.name), int(fields[1]), fields[0]
