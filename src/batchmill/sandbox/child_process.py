"""One child process as its parent sees it: asked, watched, killed."""

import signal
from collections.abc import Callable
from typing import Any, Self

from batchmill.errors.item import (
    AttemptTimeoutError,
    ChildCrashedError,
    ItemError,
    OutOfMemoryError,
)
from batchmill.sandbox import rlimits
from batchmill.sandbox.channel import CLOSED, Channel, Gone, OnProgress
from batchmill.sandbox.folders import ChildFolders
from batchmill.sandbox.in_force import Sandbox
from batchmill.sandbox.messages import Job, Report, encode, report_from


class Child:
    """A running child. One job at a time; after any error it is dead."""

    def __init__(self, folders: ChildFolders, channel: Channel, sandbox: Sandbox) -> None:
        self.owner: str | None = None
        self.jobs_done = 0
        self.rss_bytes = 0
        self.folders = folders
        self.sandbox = sandbox
        self._channel = channel

    @classmethod
    async def ready(cls, folders: ChildFolders, channel: Channel, wait_s: float) -> Self:
        """Return the child once it has confined itself.

        Raises:
            Gone: it ended before.
        """
        try:
            return cls(folders, channel, Sandbox(**await channel.answer(wait_s)))
        except BaseException:
            channel.kill()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._channel.handle.pid if self._channel.handle is not None else 0

    @property
    def alive(self) -> bool:
        """False once the child has ended or was killed."""
        return self._channel.alive

    async def run(self, job: Job, *, wall_s: float, on_progress: OnProgress | None) -> Report:
        """Run one job, whose files are in the child's place already.

        Raises:
            ChildCrashedError, AttemptTimeoutError, OutOfMemoryError: as `budget` says.
        """
        rlimits.set_for_job(self.pid, job.limits)
        self._channel.on_progress = on_progress
        try:
            self._channel.ask(encode("job", job), "report")
            report = _report(await self._channel.answer(wall_s), job)
        except Gone as end:
            await self.kill()
            raise self._explain(end, job, wall_s) from end
        self.jobs_done += 1
        self.rss_bytes = report.rss_bytes
        return report

    async def kill(self) -> None:
        """Kill the process and wait until it is reaped, or for `KILL_WAIT_S` at most."""
        self._channel.kill()
        await self._channel.given_up.wait()

    def when_ended(self, call: Callable[[], object]) -> None:
        """Call once the process is gone, which may be long after `kill` has given up."""
        self._channel.when_ended(call)

    def _explain(self, end: Gone, job: Job, wall_s: float) -> ItemError:
        said = self._channel.stderr_tail.text
        status = self._channel.returncode
        step = self.folders.last_step(job)
        error: ItemError
        if end.timed_out:
            error = AttemptTimeoutError(job.name, wall_s)
        elif status == -signal.SIGXCPU:
            error = AttemptTimeoutError(job.name, job.limits.cpu_s)
        elif status == -signal.SIGALRM and (own_s := _own_limit_s(job, step)) is not None:
            error = AttemptTimeoutError(job.name, own_s)
        elif rlimits.ran_out_of_memory(said):
            error = OutOfMemoryError(job.name, job.limits.memory_bytes)
        else:
            error = ChildCrashedError(job.name, _how(end, status))
        error.step = step
        error.detail = said or None
        return error


def _own_limit_s(job: Job, step_id: str | None) -> float | None:
    return next((step.timeout_s for step in job.steps if step.id == step_id), None)


def _report(body: Any, job: Job) -> Report:  # noqa: ANN401 - the JSON border
    """Read a report. One for an earlier job is refused: a child may have answered twice."""
    try:
        report = report_from(body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Gone("it sent no report") from error
    if report.number != job.number:
        raise Gone("it answered for another file")
    return report


def _how(end: Gone, status: int | None) -> str:
    if str(end) != CLOSED and status in (None, -signal.SIGKILL):
        return str(end)
    if status is None or status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
