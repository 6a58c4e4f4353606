"""One child process as its parent sees it: asked, watched, killed.

Jobs are sent ahead of the one that is at work; the child answers them in their order. Each has its
own time, processor time and memory, counted from the answer to the one before.
"""

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from batchmill.errors.item import (
    AttemptTimeoutError,
    ChildCrashedError,
    ItemError,
    OutOfMemoryError,
)
from batchmill.sandbox import rlimits
from batchmill.sandbox.channel import CLOSED, Channel, Gone
from batchmill.sandbox.folders import ChildFolders
from batchmill.sandbox.in_force import Sandbox
from batchmill.sandbox.messages import Job, Report, StepProgress, encode, report_from

OnProgress = Callable[[StepProgress], None]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the one who asks hears while a job runs: that it begins, and how far it is."""

    on_begun: Callable[[], None] | None = None
    on_progress: OnProgress | None = None


AHEAD_JOBS: Final = 8
"""Most jobs that a child has at once: the one at work and those sent ahead."""
PLACES: Final = 2 * AHEAD_JOBS
"""So many jobs have a folder: those that it was sent, and those whose outputs are being taken."""
AHEAD_S: Final = 0.1
"""As much work is sent ahead as will take about so long."""
TAKE_BACK_S: Final = 1.0
"""Behind a job that takes longer nothing waits: what was sent ahead is taken back."""
_PROGRESS_INTERVAL_S = 1.0
_NOT_READY: Final = Sandbox("", "", "", "")


class NotBegunError(Exception):
    """A child that was sent a job ahead did not come to it; another may."""


@dataclass(eq=False, slots=True)
class Asked:
    """A job that was sent; `answer` is its report, or why there is none."""

    job: Job
    wall_s: float
    hooks: Hooks
    answer: asyncio.Future[Report]
    is_taken_back: bool = False


class ChildEvents(Protocol):
    """Learns what becomes of a child."""

    def answered(self, child: "Child", report: Report) -> None:
        """Hear that it has answered a job."""

    def gone(self, child: "Child") -> None:
        """Hear that it has ended, or that a kill does not end it."""


class Child:
    """A running child of one owner; after any error it is dead.

    `holds` counts those who still use its folders.
    """

    def __init__(self, folders: ChildFolders, channel: Channel) -> None:
        self.owner: str | None = None
        self.jobs_done = 0
        self.rss_bytes = 0
        self.holds = 0
        self.mean_s: float | None = None
        """How long a job takes it, the last ones above all; None: it has done none."""
        self.folders = folders
        self.places = list(range(PLACES))
        """The folders of jobs that are free."""
        self.sandbox = _NOT_READY
        self.is_gone = False
        self._watcher: ChildEvents | None = None
        self.asked: deque[Asked] = deque()
        """The jobs that it has not answered, the one at work first."""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._began_s = 0.0
        self._progress_at_s = 0.0
        self._timers: tuple[asyncio.TimerHandle, ...] = ()
        self._channel = channel
        channel.listener = self

    async def ready(self, wait_s: float) -> None:
        """Return once it has confined itself.

        Raises:
            Gone: it ended before.
        """
        try:
            async with asyncio.timeout(wait_s):
                await self._ready
        except TimeoutError as error:
            raise Gone("it took too long", timed_out=True) from error
        finally:
            if not self._ready.done() or self._ready.cancelled():
                self._channel.kill()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._channel.handle.pid if self._channel.handle is not None else 0

    @property
    def alive(self) -> bool:
        """False once the child has ended or was killed."""
        return self._channel.alive

    @property
    def work_s(self) -> float:
        """How long what it was sent will probably take."""
        if not self.asked:
            return 0.0
        at_work_s = asyncio.get_running_loop().time() - self._began_s
        return len(self.asked) * max(self.mean_s or 0.0, at_work_s)

    @property
    def has_room(self) -> bool:
        """Whether another job may be sent ahead."""
        if not self.alive or self.mean_s is None or not self.places:
            return False
        if len(self.asked) >= AHEAD_JOBS:
            return False
        return self.work_s + self.mean_s <= AHEAD_S

    def ask(self, job: Job, *, wall_s: float, hooks: Hooks) -> Asked:
        """Send a job, whose source is in the child's place already; its `answer` is a future.

        That raises:
            ChildCrashedError, AttemptTimeoutError, OutOfMemoryError: as `budget` says.
            NotBegunError: the child did not come to it.

        Raises:
            Gone: the child has ended.
        """
        asked = Asked(job, wall_s, hooks, asyncio.get_running_loop().create_future())
        self._channel.say(encode("job", job))
        self.asked.append(asked)
        if len(self.asked) == 1:
            self._begin()
        return asked

    def drop(self, asked: Asked) -> None:
        """Take a job back that is wanted no more; one at work ends with the child."""
        if asked not in self.asked or asked.is_taken_back:
            return
        if self.asked[0] is asked:
            self._channel.kill()
        else:
            self._take_back([asked])

    def watch(self, watcher: ChildEvents) -> None:
        """Tell `watcher` of answers and of the end.

        Raises:
            Gone: it has ended already.
        """
        if self.is_gone:
            raise Gone("it ended")
        self._watcher = watcher

    def stop(self) -> None:
        """Kill the process for what it did before; the job that it has begun meanwhile is innocent.

        The watcher hears when it has ended.
        """
        self._take_back(list(self.asked))
        self._channel.kill()

    async def kill(self) -> None:
        """Kill the process and wait until it is reaped, or for `KILL_WAIT_S` at most."""
        self._channel.kill()
        await self._channel.given_up.wait()

    def when_ended(self, call: Callable[[], object]) -> None:
        """Call once the process is gone, which may be long after `kill` has given up."""
        self._channel.when_ended(call)

    # ------------------------------------------------------------ what the channel tells

    @property
    def expects(self) -> bool:
        """See `Hearing.expects`."""
        return bool(self.asked) or not self._ready.done()

    def hear(self, kind: str, body: Any) -> bool:  # noqa: ANN401 - the JSON border
        """See `Hearing.hear`."""
        if not self._ready.done():
            return self._hear_ready(kind, body)
        asked = self.asked[0]
        if kind == "progress":
            self._forward(StepProgress(float(body["fraction"]), str(body["step"])[:200]), asked)
            return False
        if kind != "report":
            raise ValueError(kind)
        report = _report(body, asked.job)
        self.asked.popleft()
        self._disarm()
        if not asked.answer.done():
            asked.answer.set_result(report)
        self.rss_bytes = report.rss_bytes
        if not asked.is_taken_back:
            self.jobs_done += 1
            took_s = asyncio.get_running_loop().time() - self._began_s
            self.mean_s = took_s if self.mean_s is None else (3 * self.mean_s + took_s) / 4
        if self.asked:
            self._begin()
        if self._watcher is not None:
            self._watcher.answered(self, report)
        return True

    def _hear_ready(self, kind: str, body: Any) -> bool:  # noqa: ANN401 - the JSON border
        if kind != "ready":
            raise ValueError(kind)
        self.sandbox = Sandbox(**body)
        self._ready.set_result(None)
        return True

    def gone(self, reason: Gone) -> None:
        """See `Hearing.gone`: the job at work pays for it, the others go to another child."""
        self._disarm()
        if not self._ready.done():
            self._ready.set_exception(reason)
            self._ready.exception()  # the one who waits may have been cancelled
        if self.asked:
            at_work = self.asked.popleft()
            if not at_work.answer.done():
                at_work.answer.set_exception(self._explain(reason, at_work))
                at_work.answer.exception()  # the one who asked may have been cancelled
        self._take_back(self.asked)
        self.asked.clear()
        self.is_gone = True
        if self._watcher is not None:
            self._watcher.gone(self)

    # ------------------------------------------------------------ one job after the other

    def _begin(self) -> None:
        """Arm the limits of the job that is at work from now on."""
        loop, asked = asyncio.get_running_loop(), self.asked[0]
        if self._channel.handle is not None:
            rlimits.set_for_job(self._channel.handle.pid, asked.job.limits)
        self._began_s = loop.time()
        if asked.hooks.on_begun is not None and not asked.is_taken_back:
            asked.hooks.on_begun()
        late = Gone("it took too long", timed_out=True)
        wall_s = TAKE_BACK_S if asked.is_taken_back else asked.wall_s
        self._timers = (
            loop.call_later(wall_s, self._channel.kill, late),
            loop.call_later(TAKE_BACK_S, self._free_the_others),
        )

    def _disarm(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()

    def _free_the_others(self) -> None:
        self._take_back([each for each in list(self.asked)[1:] if not each.is_taken_back])

    def _take_back(self, asked: Iterable[Asked]) -> None:
        """Let jobs go elsewhere that have not begun: the child finds no source, and says so.

        Its answer to them counts for nothing. The caller moves the source away.
        """
        for each in asked:
            each.is_taken_back = True
            if not each.answer.done():
                each.answer.set_exception(NotBegunError())
                each.answer.exception()

    def _forward(self, progress: StepProgress, asked: Asked) -> None:
        now_s = asyncio.get_running_loop().time()
        if asked.hooks.on_progress is None or asked.is_taken_back:
            return
        if now_s >= self._progress_at_s:
            self._progress_at_s = now_s + _PROGRESS_INTERVAL_S
            asked.hooks.on_progress(progress)

    def _explain(self, end: Gone, asked: Asked) -> Exception:
        if asked.is_taken_back:
            return NotBegunError()
        job = asked.job
        said = self._channel.stderr_tail.text
        status = self._channel.returncode
        step = self.folders.last_step(job)
        error: ItemError
        if end.timed_out:
            error = AttemptTimeoutError(job.name, asked.wall_s)
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
        error.__cause__ = end
        return error


def _own_limit_s(job: Job, step_id: str | None) -> float | None:
    return next((step.timeout_s for step in job.steps if step.id == step_id), None)


def _report(body: Any, job: Job) -> Report:  # noqa: ANN401 - the JSON border
    """Read a report. One for another job than the one at work is refused."""
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
