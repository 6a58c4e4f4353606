"""One child process as its parent sees it: started, asked, watched, killed with its group."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

from batchmill.errors import AttemptTimeoutError, ChildCrashedError, ItemError, OutOfMemoryError
from batchmill.runner import limits
from batchmill.runner.environment import environment
from batchmill.runner.messages import Job, Progress, Report, decode, encode, report_from
from batchmill.runner.sandbox import Sandbox

OnProgress = Callable[[Progress], None]

MAX_ANSWER_BYTES = 8 * 2**20
"""How much a child may say about one job; more is taken for garbage."""
STDERR_BYTES = 8192
START_TIMEOUT_S = 60.0
KILL_WAIT_S = 5.0
_PROGRESS_INTERVAL_S = 1.0
_LAST_WORDS_S = 0.5
_CLOSED = "it closed its line"


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of a child: it reads `inbox` and writes only below `folder`."""

    root: Path

    @property
    def inbox(self) -> Path:
        """Where the source lies while a job runs."""
        return self.root / "in"

    @property
    def folder(self) -> Path:
        """Where jobs write, and where libraries find HOME and TMPDIR."""
        return self.root / "work"

    def hold(self, job: Job, number: int) -> Job:
        """Return the job as the child sees it, with its files here."""
        source = self.inbox / Path(job.source).name
        return replace(job, source=str(source), folder=str(self.folder / "job"), number=number)


class Gone(Exception):  # noqa: N818 - an event, translated before anybody else sees it
    """The child ended, or was killed for what it said or for how long it took."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class Child:
    """A running child. One job at a time; after any error it is dead."""

    def __init__(self, place: Place, pipes: "_Pipes") -> None:
        self.owner: str | None = None
        self.jobs_done = 0
        self.rss_bytes = 0
        self.sandbox: Sandbox | None = None
        self.place = place
        self._pipes = pipes

    @classmethod
    async def start(cls, place: Place, executor: str, environ: Mapping[str, str]) -> Self:
        """Start a child and wait until it has loaded its libraries and confined itself.

        Raises:
            Gone: it ended before it was ready, or took longer than `START_TIMEOUT_S`.
        """
        place.inbox.mkdir(parents=True)
        place.folder.mkdir()
        command = [sys.executable, "-P", "-m", "batchmill.runner.child", executor]
        command += [str(os.getpid()), str(place.inbox), str(place.folder)]
        _, pipes = await asyncio.get_running_loop().subprocess_exec(
            _Pipes,
            *command,
            cwd=place.folder,
            env=environment(environ, place.folder),
            start_new_session=True,
        )
        child = cls(place, pipes)
        try:
            body = await pipes.answer(START_TIMEOUT_S)
            child.sandbox = Sandbox(**body)
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def pid(self) -> int:
        """The process id, which is the id of its group too."""
        return self._pipes.pid

    @property
    def alive(self) -> bool:
        """False once the child has ended or was killed."""
        return self._pipes.alive

    async def run(self, job: Job, *, wall_s: float, on_progress: OnProgress | None) -> Report:
        """Run one job, whose files are in the child's place already.

        Raises:
            ChildCrashedError, AttemptTimeoutError, OutOfMemoryError: as `budget` says.
        """
        limits.set_for_job(self.pid, job.limits)
        self._pipes.on_progress = on_progress
        try:
            self._pipes.ask(encode("job", job), "report")
            report = _report(await self._pipes.answer(wall_s), job)
        except Gone as end:
            await self.kill()
            raise self._explain(end, job, wall_s) from end
        self.jobs_done += 1
        self.rss_bytes = report.rss_bytes
        return report

    async def kill(self) -> None:
        """Kill the process group at once and wait until the child is reaped."""
        self._pipes.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_WAIT_S):
                await self._pipes.ended.wait()

    def _explain(self, end: Gone, job: Job, wall_s: float) -> ItemError:
        said = self._pipes.stderr.decode(errors="replace")
        status = self._pipes.returncode
        error: ItemError
        if end.timed_out:
            error = AttemptTimeoutError(job.name, wall_s)
        elif status == -signal.SIGXCPU:
            error = AttemptTimeoutError(job.name, job.limits.cpu_s)
        elif limits.ran_out_of_memory(said):
            error = OutOfMemoryError(job.name, job.limits.memory_bytes)
        else:
            error = ChildCrashedError(job.name, _how(end, status))
        error.step = self._pipes.step or None
        error.detail = said or None
        return error


def _report(body: Any, job: Job) -> Report:  # noqa: ANN401 - the JSON border
    """Read a report. One for an earlier job is refused: a child may have answered twice."""
    try:
        report = report_from(body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Gone("it sent no report") from error
    if report.number != job.number:
        raise Gone("it answered for another file")
    return report


class _Pipes(asyncio.SubprocessProtocol):
    """The three pipes of a child. Plain callbacks: a stream reader costs more than the job line."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.stderr = b""
        self.step = ""
        self.pid = 0
        self.on_progress: OnProgress | None = None
        self._heard = bytearray()
        self._heard_bytes = 0
        self._progress_at = 0.0
        self._expected = "ready"
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._killed_for: Gone | None = None

    @property
    def alive(self) -> bool:
        return self._killed_for is None and not self.ended.is_set()

    @property
    def returncode(self) -> int | None:
        return self._transport.get_returncode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()

    def ask(self, line: bytes, expected: str) -> None:
        """Send `line`; the answer is to be of kind `expected`."""
        if not self.alive:
            raise Gone("it ended before the job")
        self.step, self._heard_bytes, self._expected = "", 0, expected
        self._answer = asyncio.get_running_loop().create_future()
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        stdin.write(line)

    async def answer(self, wait_s: float) -> Any:  # noqa: ANN401 - the JSON border
        """Return the body of the answer, or raise `Gone` once the child is reaped."""
        loop = asyncio.get_running_loop()
        late = Gone("it took too long", timed_out=True)
        timer = loop.call_later(wait_s, self.kill, late)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def kill(self, reason: Gone | None = None) -> None:
        """Kill the group, once; the question that is open is answered with `reason`."""
        if self._killed_for is None:
            self._killed_for = reason or Gone("it was stopped")
        if self.returncode is None:
            _kill_group(self.pid)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != 1:
            self.stderr = (self.stderr + data)[-STDERR_BYTES:]
            return
        self._heard_bytes += len(data)
        if self._answer.done() or self._heard_bytes > MAX_ANSWER_BYTES:
            self.kill(Gone("it said too much"))
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._hear(bytes(self._heard + line))
            self._heard.clear()
        self._heard += rest

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Give a child without its line a moment to end by itself, to learn how."""
        if fd == 1 and not self.ended.is_set():
            self._killed_for = self._killed_for or Gone(_CLOSED)
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.kill)

    def process_exited(self) -> None:
        """Wait a moment for the last words; a descendant that escaped can't hold the pipes."""
        _kill_group(self.pid)
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self._settle(self._killed_for or Gone("it ended"))

    def _hear(self, line: bytes) -> None:
        try:
            kind, body = decode(line)
            if kind == "progress":
                self._forward(Progress(float(body["fraction"]), str(body["step"])[:200]))
            elif kind == self._expected:
                self._settle(body)
            else:
                raise ValueError(kind)  # noqa: TRY301 - garbage of whatever kind ends the same
        except (KeyError, RecursionError, TypeError, ValueError):
            self.kill(Gone("it spoke nonsense"))

    def _forward(self, progress: Progress) -> None:
        self.step = progress.step
        now = asyncio.get_running_loop().time()
        if self.on_progress is not None and now >= self._progress_at:
            self._progress_at = now + _PROGRESS_INTERVAL_S
            self.on_progress(progress)

    def _settle(self, outcome: object) -> None:
        if self._answer.done():
            return
        if isinstance(outcome, Gone):
            self._answer.set_exception(outcome)
        else:
            self._answer.set_result(outcome)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:  # macOS answers so for a group of zombies
        return


def _how(end: Gone, status: int | None) -> str:
    if str(end) != _CLOSED and status in (None, -signal.SIGKILL):
        return str(end)
    if status is None or status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
