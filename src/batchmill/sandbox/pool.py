"""The pool: a fixed number of slots, in which sandboxed children work on jobs.

    slot ─► child of this owner, or a fresh one ─► job ─► answer ─► outputs copied out ─► free again
              ▲ a job more, sent ahead              │
                         crash · hang · garbage · cancelled     └─► kill, forget

A child serves one owner and never another; idle ones wait for their owner as long as there is room
for them beside the slots, and the eldest goes first. Where files are small, a child is sent a few
ahead of the one that is at work. A child is replaced after an error of a decoder, after
`Recycling.jobs` jobs, or when it has grown over `Recycling.rss_bytes`. Whatever goes wrong costs
the one job that was at work; what was sent ahead goes to another child. A child that a kill does
not end, for it hangs in the kernel, keeps its slot until it has ended; its job ends at once.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from operator import attrgetter
from pathlib import Path

from batchmill.errors.item import ItemError
from batchmill.errors.outage import RunnerUnavailableError
from batchmill.sandbox import taking
from batchmill.sandbox.channel import Gone
from batchmill.sandbox.child_process import Asked, Child, Hooks, NotBegunError
from batchmill.sandbox.folders import ChildFolders
from batchmill.sandbox.fork_client import ForkServer
from batchmill.sandbox.in_force import Sandbox
from batchmill.sandbox.messages import Job, Report
from batchmill.sandbox.scratch import Scratch, discard
from batchmill.sandbox.spawning import EXECUTOR
from batchmill.storage import disk

SUSPICIOUS = frozenset({"unreadable_file", "operation_failed", "out_of_memory"})
"""Codes of errors after which the state of a decoder is not trusted any more."""

START_S = 0.05
"""About what the start of a child and its first file take on a busy machine."""
BACKLOG_S = 0.03
"""With less work than this to do an owner gets no further child: it would come too late."""
MOST_LOSING = 1_000
"""Of so many owners is remembered that their last child did not come back."""
_ROUNDS = 100
"""So many children may end, over other jobs, before they come to a job that was sent ahead."""
_CLOSED = "the pool is closed"
_NO_HOOKS = Hooks()
_BYTES = attrgetter("bytes")


@dataclass(frozen=True, slots=True)
class Recycling:
    """When a child is replaced although nothing went wrong."""

    jobs: int = 200
    rss_bytes: int = 512 * 2**20


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What the pool is doing now, and has done since it was made."""

    size: int
    busy: int
    idle: int
    jobs: int
    started: int
    crashed: int


class Pool:
    """Runs jobs in at most `size` children at once; `scratch` holds their folders.

    `executor` names the module whose `execute` the children call. `spare` says how many idle
    children there may be beside the slots: they spare owners who take turns a start each time.
    For `patience_s` a job waits for its owner's child that is busy, before another one is started;
    where it is known how long jobs take, until there is work for `backlog_s`.
    """

    def __init__(
        self,
        size: int,
        scratch: Path,
        *,
        executor: str = EXECUTOR,
        environ: Mapping[str, str] | None = None,
        recycling: Recycling | None = None,
        spare: Callable[[], int] = lambda: 0,
    ) -> None:
        self.size = size
        self.scratch = Scratch.open(scratch)
        self.sandbox: Sandbox | None = None
        self._executor = executor
        self._environ = os.environ if environ is None else environ
        self._recycling = recycling or Recycling()
        self._spare = spare
        self.patience_s, self.backlog_s = START_S, BACKLOG_S
        self._free_slots = size
        self._waiting: list[_Wanted] = []
        self._look_again: asyncio.TimerHandle | None = None
        self._warming, self._starting = asyncio.Lock(), asyncio.Lock()
        self._left_one = asyncio.Event()
        self._upkeep: set[asyncio.Task[None]] = set()
        self._started_for: Counter[str] = Counter()
        self._losing: set[str | None] = set()
        self._fork_server: ForkServer | None = None
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._population = 0
        self._held = 0
        self._starting_now = 0
        self._closed = False
        self._jobs = self._started = self._crashed = 0

    async def start(self) -> None:
        """Start all children now, so that the first jobs need not wait for them.

        Raises:
            RunnerUnavailableError: a child did not start.
        """
        async with self._warming:
            while self._population < self.size and self._free_slots:
                self._free_slots -= 1
                self._starting_now += 1
                try:
                    self._idle.append(await self._start_child())
                finally:
                    self._starting_now -= 1
                    self._left_one.set()
                    self._free_slot()

    async def run(self, job: Job, *, owner: str, wall_s: float, hooks: Hooks = _NO_HOOKS) -> Report:
        """Run `job` in a child of `owner` and return its report, which may hold an error.

        `job.source` and `job.folder` lie below `scratch.path`. The source is moved to the child
        while it works and is back when this returns or raises; the outputs are in the folder.
        `hooks.on_progress` is called at most once a second. When cancelled, no child works on the
        job any more when this raises.

        Raises:
            ChildCrashedError, AttemptTimeoutError, OutOfMemoryError: the child is gone.
            RunnerUnavailableError: no child could be started.
        """
        for _ in range(_ROUNDS):
            if self._closed:
                raise RunnerUnavailableError(detail=_CLOSED)
            loop = asyncio.get_running_loop()
            place: asyncio.Future[_Place] = loop.create_future()
            wanted = _Wanted(job, owner, wall_s, hooks, loop.time(), place)
            with suppress(NotBegunError):  # another one takes it
                child, asked = await self._placed(wanted)
                return await self._answered(child, asked, job)
        raise RunnerUnavailableError(detail="no child came to it")

    async def trim(self, *, room: int = 0) -> None:
        """End the eldest idle children until there is memory for all, and for `room` more."""
        while self._idle and self._population + room > self.size + self._spare():
            await self._idle.pop(0).kill()

    async def aclose(self) -> None:
        """Kill all children, end all runs, and remove all folders. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for wanted in self._waiting:
            if not wanted.place.done():
                wanted.place.set_exception(RunnerUnavailableError(detail=_CLOSED))
        self._waiting.clear()
        for child in (*self._idle, *self._busy):
            await child.kill()
        while self._held or self._starting_now:  # then every run has left its folder
            self._left_one.clear()
            await self._left_one.wait()
        await asyncio.gather(*self._upkeep)
        if self._fork_server is not None:
            await self._fork_server.aclose()
        await asyncio.to_thread(self.scratch.close)

    def stats(self) -> PoolStats:
        """Return the present numbers."""
        return PoolStats(
            size=self.size,
            busy=len(self._busy),
            idle=len(self._idle),
            jobs=self._jobs,
            started=self._started,
            crashed=self._crashed,
        )

    # ------------------------------------------------------------ which child gets which job

    async def _placed(self, wanted: "_Wanted") -> tuple[Child, Asked]:
        """Wait until a child was sent the job."""
        self._waiting.append(wanted)
        try:
            self._deal()
            place = await wanted.place
        except BaseException:
            self._withdraw(wanted)
            raise
        return place if isinstance(place, tuple) else await self._in_new_child(wanted)

    def _withdraw(self, wanted: "_Wanted") -> None:
        """Give back what one who waits no more has got meanwhile."""
        if wanted in self._waiting:
            self._waiting.remove(wanted)
        if not wanted.place.done() or wanted.place.cancelled() or wanted.place.exception():
            return
        place = wanted.place.result()
        if isinstance(place, tuple):
            child, asked = place
            child.drop(asked)
            self._leave(child, asked, wanted.job)
        else:
            self._started_for[wanted.owner] -= 1
            self._free_slot()

    async def _in_new_child(self, wanted: "_Wanted") -> tuple[Child, Asked]:
        """Start a child for the job, for which the eldest idle one may go."""
        self._starting_now += 1
        child = None
        try:
            await self.trim(room=1)
            child = await self._start_child()
        finally:
            self._starting_now -= 1
            self._left_one.set()
            self._started_for[wanted.owner] -= 1
            self._started_for += Counter()  # without those of whom none is left
            if child is None:
                self._free_slot()
        child.owner = wanted.owner
        self._busy.add(child)
        try:
            return child, self._ask(child, wanted)
        except Gone as end:
            raise NotBegunError from end
        except Exception:
            child.stop()
            raise

    def _deal(self) -> None:
        """Give those who wait, first come first served, what there is for them now."""
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        passed: set[str] = set()
        for wanted in list(self._waiting):
            if wanted.owner in passed or wanted.place.done():
                continue
            try:
                place = self._place_for(wanted)
            except Exception as error:  # its own, such as a source that is gone: others go on
                self._waiting.remove(wanted)
                wanted.place.set_exception(error)
                continue
            if place is not None:
                self._waiting.remove(wanted)
                wanted.place.set_result(place)
                continue
            passed.add(wanted.owner)
            if self._free_slots and self._look_again is None:
                loop = asyncio.get_running_loop()
                due_s = max(wanted.since_s + self.patience_s, loop.time())
                self._look_again = loop.call_at(due_s, self._deal)

    def _place_for(self, wanted: "_Wanted") -> "_Place | None":
        """Ask a child that can take the job now, or return a slot for another, if there is one."""
        for child in list(self._idle) if self._free_slots else ():
            if child.alive and child.places and child.owner in (wanted.owner, None):
                self._idle.remove(child)
                self._busy.add(child)
                self._free_slots -= 1
                child.owner = wanted.owner
                try:
                    return child, self._ask(child, wanted)
                except Gone:
                    continue
                except Exception:
                    self._busy.discard(child)
                    self._idle.append(child)
                    self._free_slots += 1
                    raise
        own = [child for child in self._busy if child.owner == wanted.owner]
        if self._free_slots and self._is_another_due(wanted, own):
            self._free_slots -= 1
            self._started_for[wanted.owner] += 1
            return _Slot.FREE
        for child in sorted(filter(self._has_room, own), key=lambda each: len(each.asked)):
            with suppress(Gone):
                return child, self._ask(child, wanted)
        return None

    def _is_another_due(self, wanted: "_Wanted", own: Sequence[Child]) -> bool:
        """Say whether the owner has more to do than is done while another child starts.

        Where the last one did not come back, the files are such that children do not.
        """
        children = len(own) + self._started_for[wanted.owner]
        waited_s = asyncio.get_running_loop().time() - wanted.since_s
        if not children or wanted.owner in self._losing or waited_s >= self.patience_s:
            return True
        means = [child.mean_s for child in own if child.mean_s is not None]
        if len(means) < children:
            return False
        waiting = sum(each.owner == wanted.owner for each in self._waiting)
        backlog_s = sum(child.work_s for child in own) + waiting * max(means)
        return backlog_s >= self.backlog_s * children

    def _has_room(self, child: Child) -> bool:
        return child.has_room and child.jobs_done + len(child.asked) < self._recycling.jobs

    def _ask(self, child: Child, wanted: "_Wanted") -> Asked:
        """Send a job to a child.

        Raises:
            Gone: the child has ended.
            RunnerUnavailableError: the source can't be moved there.
        """
        self._jobs += 1
        inside = child.folders.hold(wanted.job, self._jobs, child.places[-1])
        try:
            os.rename(wanted.job.source, inside.source)  # noqa: PTH104 - a `Path` costs as much
        except OSError as error:
            raise RunnerUnavailableError(detail=str(error)) from error
        try:
            asked = child.ask(inside, wall_s=wanted.wall_s, hooks=wanted.hooks)
        except BaseException:
            os.rename(inside.source, wanted.job.source)  # noqa: PTH104
            raise
        child.places.pop()
        child.holds += 1
        self._held += 1
        return asked

    # ------------------------------------------------------------ what becomes of it

    async def _answered(self, child: Child, asked: Asked, job: Job) -> Report:
        try:
            report = await asked.answer
            if not report.outputs:
                return report
            many = len(report.outputs) > taking.FEW
            small = not many and sum(map(_BYTES, report.outputs)) <= taking.SMALL_BYTES
            if small:
                outputs = taking.take(report.outputs, asked.job, job.folder)
            else:
                outputs = await disk.in_thread(taking.take, report.outputs, asked.job, job.folder)
            return replace(report, outputs=outputs)
        except BaseException as error:
            child.drop(asked)
            if isinstance(error, ItemError):
                self._crashed += 1
                child.stop()
            if not child.alive and not isinstance(error, NotBegunError):
                await child.kill()
            raise
        finally:
            self._leave(child, asked, job)

    def _leave(self, child: Child, asked: Asked, job: Job) -> None:
        """Move the source back, and use the child's folders no more."""
        with suppress(OSError):  # a child without Landlock may have removed it
            os.rename(asked.job.source, job.source)  # noqa: PTH104 - a `Path` costs as much
        child.places.append(int(os.path.basename(asked.job.folder)))  # noqa: PTH119
        child.holds -= 1
        self._held -= 1
        self._left_one.set()
        if child.is_gone and not child.holds:
            self._discard(child)

    def answered(self, child: Child, report: Report) -> None:
        """Let a child go on, rest or end that has answered. It calls this."""
        most, error = self._recycling, report.error
        is_worn = child.jobs_done >= most.jobs and not child.asked
        is_doubtful = error is not None and error.code in SUSPICIOUS
        if is_worn or is_doubtful or child.rss_bytes > most.rss_bytes:
            child.stop()
        elif not child.asked and child.alive:
            self._losing.discard(child.owner)
            self._busy.discard(child)
            self._idle.append(child)
            self._free_slots += 1
        self._deal()

    def gone(self, child: Child) -> None:
        """Forget a child that has ended, or that a kill does not end. It calls this."""
        self._population -= 1
        if child in self._busy:
            self._busy.discard(child)
            if len(self._losing) < MOST_LOSING:
                self._losing.add(child.owner)
            child.when_ended(self._free_slot)
        elif child in self._idle:
            self._idle.remove(child)
        if not child.holds:
            self._discard(child)

    def _free_slot(self) -> None:
        self._free_slots += 1
        self._deal()

    def _discard(self, child: Child) -> None:
        """Remove the folders of a child that is gone."""
        removing = asyncio.to_thread(discard, Path(child.folders.root))
        task = asyncio.get_running_loop().create_task(removing)
        self._upkeep.add(task)
        task.add_done_callback(self._upkeep.discard)

    # ------------------------------------------------------------ how children come to be

    async def _start_child(self) -> Child:
        folders = ChildFolders.at(str(self.scratch.new("child")))
        self._population += 1
        try:
            folders.make()
            child = await (await self._running_fork_server()).fork(folders)
            if self._closed:  # meanwhile, and `aclose` did not know of this child
                await child.kill()
                raise RunnerUnavailableError(detail=_CLOSED)  # noqa: TRY301 - as one below
            child.watch(self)
        except BaseException as error:
            self._population -= 1
            discard(Path(folders.root))
            if isinstance(error, Gone | OSError):
                raise RunnerUnavailableError(detail=str(error)) from error
            raise
        self._started += 1
        self.sandbox = child.sandbox
        return child

    async def _running_fork_server(self) -> ForkServer:
        async with self._starting:
            if self._closed:
                raise RunnerUnavailableError(detail=_CLOSED)
            if self._fork_server is None or not self._fork_server.alive:
                self._fork_server = await ForkServer.start(self._executor, self._environ)
            return self._fork_server


class _Slot(Enum):
    """A slot in which a child is to be started."""

    FREE = auto()


_Place = tuple[Child, Asked] | _Slot


@dataclass(eq=False, slots=True)
class _Wanted:
    """A job that waits; `place` is the child that was sent it, or a slot for a new one."""

    job: Job
    owner: str
    wall_s: float
    hooks: Hooks
    since_s: float
    place: "asyncio.Future[_Place]"
