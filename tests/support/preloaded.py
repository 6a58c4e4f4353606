"""`batchmill` in a process of its own that starts at once: forked from one that has imported it.

Half a second of imports is a third of the time of the tests that start processes. What is forked
has arguments, environment, folder, files and signals of its own, as if `python -m batchmill` had
started it; that this works too is the subject of `cli/test_start.py`.

Run as a module, this is the process that is forked.
"""

import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import random
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from support.environment import environment

_REQUEST_BYTES = 200_000
TESTS = str(Path(__file__).parents[1])


class Process:
    """A running `batchmill`: the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: IO[str], stdout: IO[str] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return the exit code, below 0 for a signal; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            TimeoutExpired: it still runs after `timeout` seconds.
        """
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired("batchmill", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout_s)[0]:
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode


def start(
    arguments: Sequence[object],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: IO[str] | None = None,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
) -> Process:
    """Start `batchmill` with these arguments; a `stdout` of None is a pipe to read from.

    Any other file that is None is /dev/null.
    """
    with ExitStack() as stack:
        nothing = stack.enter_context(Path(os.devnull).open("r+"))
        reading, writing = os.pipe()
        stack.callback(os.close, writing)
        piped = None
        if stdout is None:
            out, into = os.pipe()
            stdout = stack.enter_context(os.fdopen(into, "w"))
            piped = os.fdopen(out)
        files = [(each or nothing).fileno() for each in (stdin, stdout, stderr)]
        request = json.dumps([[str(each) for each in arguments], str(cwd or Path.cwd()), dict(env)])
        socket.send_fds(_parent(), [request.encode()], [*files, writing])
    status = os.fdopen(reading)
    return Process(int(status.readline()), status, piped)


def run(
    arguments: Sequence[object], *, env: Mapping[str, str], cwd: Path, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run `batchmill` to its end; `stdin` comes by a pipe, which holds 64 kB before it starts."""
    with ExitStack() as stack:
        reading, writing = os.pipe()
        source = stack.enter_context(os.fdopen(reading))
        with os.fdopen(writing, "w") as pipe:
            pipe.write(stdin)
        made = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
        process = start(arguments, env=env, cwd=cwd, stdin=source, stdout=made[0], stderr=made[1])
        code = process.wait()
        said = []
        for file in made:
            file.seek(0)
            said.append(file.read())
    return subprocess.CompletedProcess(list(map(str, arguments)), code, *said)


@functools.cache
def _parent() -> socket.socket:
    """Start the process that is forked; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = os.pathsep.join([TESTS, environment()["PYTHONPATH"]])
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "support.preloaded", str(theirs.fileno())],
            env={**environment(), "PYTHONPATH": path},
            cwd="/",
            pass_fds=[theirs.fileno()],
        )
    return ours


# ---------------------------------------------------------------- the process that is forked


def _serve(control: socket.socket) -> None:
    """Fork for every request, and tell of every end; returns in each child."""
    running: dict[int, int] = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 1024)
                _report(running)
            if control in ready:
                request, files, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 4)
                if not request:
                    raise SystemExit
                pid = os.fork()
                if pid == 0:
                    break
                running[pid] = files.pop()
                os.write(running[pid], f"{pid}\n".encode())
                for file in files:
                    os.close(file)
    arguments, cwd, env = json.loads(request)
    _become(arguments, cwd, env, files[:3])


def _report(running: dict[int, int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            says = running.pop(pid)
            os.write(says, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(says)


def _become(arguments: list[str], cwd: str, env: dict[str, str], files: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 1024)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    unbuffered = os.fdopen(2, "wb", buffering=0, closefd=False)
    sys.stderr = io.TextIOWrapper(unbuffered, errors="backslashreplace", write_through=True)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    random.seed()
    sys.argv = ["batchmill", *arguments]


def _import_all() -> None:
    """Import what the commands import, each of them when it needs it."""
    import batchmill

    for module in pkgutil.walk_packages(batchmill.__path__, "batchmill."):
        top = module.name.split(".")[1]
        if top not in {"__main__", "sandbox", "operations"} and "migrations" not in module.name:
            importlib.import_module(module.name)


if __name__ == "__main__":
    _import_all()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("batchmill", run_name="__main__", alter_sys=True)
