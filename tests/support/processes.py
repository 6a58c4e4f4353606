"""The real server as its own process tree, to be killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Process:
    """A running `batchmill serve` and a client that speaks to it."""

    popen: subprocess.Popen[str]
    client: httpx.Client

    def kill(self) -> None:
        """End the server as a power cut would; its children must follow by themselves."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self) -> int:
        """Ask the server to end and return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)

    def children(self) -> list[int]:
        """Return the pids of all processes below the server, found by their parents."""
        parents = {pid: ppid for pid, ppid, _ in _processes()}
        below = {self.popen.pid}
        while more := {pid for pid, ppid in parents.items() if ppid in below} - below:
            below |= more
        return sorted(below - {self.popen.pid})


@contextmanager
def serving(data_dir: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    """Start a server on a free port; it is killed when the block ends, if it still runs."""
    command = [sys.executable, "-m", "batchmill", "serve", "--port", "0"]
    popen = subprocess.Popen(
        [*command, "--data-dir", str(data_dir), *arguments],
        stdout=subprocess.PIPE,
        stderr=(data_dir.parent / "server.log").open("a"),
        text=True,
        env={**os.environ, **environment},
    )
    try:
        with httpx.Client(base_url=_address(popen), timeout=60) as client:
            yield Process(popen, client)
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait(10)


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    return any(pid == each and state != "Z" for each, _, state in _processes())


def _address(popen: subprocess.Popen[str]) -> str:
    assert popen.stdout is not None
    for line in popen.stdout:
        match = re.search(r"listens on (http://\S+)", line)
        if match:
            return match[1]
    raise AssertionError("the server ended before it was ready")


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield `(pid, parent, state)` of every process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(folder.name), int(fields[1]), fields[0]
