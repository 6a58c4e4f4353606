"""The real server and its workers as process trees of their own, to be killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import httpx

from support import preloaded

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
