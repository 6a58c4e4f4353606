"""The pool: a fixed number of slots, in which sandboxed children work on jobs.

    slot ─► child of this owner, or a fresh one ─► files in ─► job ─► files out ─► give back
                                                                │
                         crash · hang · garbage · cancelled     └─► kill, forget

A child serves one owner and never another; idle ones wait for their owner as long as there is room
for them beside the slots, and the eldest goes first. A child is replaced after an error of a
decoder, after `Recycling.jobs` jobs, or when it has grown over `Recycling.rss_bytes`. Whatever
goes wrong costs the one job that was running. A child that a kill does not end, for it hangs in
the kernel, keeps its slot until it has ended; its job ends at once.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors.item import ItemError
from batchmill.errors.outage import RunnerUnavailableError
from batchmill.sandbox.channel import Gone, OnProgress
from batchmill.sandbox.child_process import Child
from batchmill.sandbox.folders import ChildFolders, move
from batchmill.sandbox.fork_client import ForkServer
from batchmill.sandbox.in_force import Sandbox
from batchmill.sandbox.messages import Job, Report
from batchmill.sandbox.scratch import Scratch, discard
from batchmill.sandbox.spawning import EXECUTOR

SUSPICIOUS = frozenset({"unreadable_file", "operation_failed", "out_of_memory"})
"""Codes of errors after which the state of a decoder is not trusted any more."""

START_S = 0.05
"""About what the start of a child and its first file take on a busy machine."""
MOST_LOSING = 1_000
"""Of so many owners is remembered that their last child did not come back."""
_CLOSED = "the pool is closed"


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
    For `patience_s` a job waits for its owner's child that is busy, before another one is started.
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
        self.patience_s = START_S
        self._slots = asyncio.Semaphore(size)
        self._starting = asyncio.Lock()
        self._freed = asyncio.Event()
        self._started_for: Counter[str] = Counter()
        self._losing: set[str | None] = set()
        self._fork_server: ForkServer | None = None
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._population = 0
        self._stuck = 0
        self._closed = False
        self._jobs = self._started = self._crashed = 0

    async def start(self) -> None:
        """Start all children now, so that the first jobs need not wait for them.

        Raises:
            RunnerUnavailableError: a child did not start.
        """
        for _ in range(self.size):
            async with self._slots:
                if self._population < self.size:
                    self._idle.append(await self._start_child())

    async def run(
        self, job: Job, *, owner: str, wall_s: float, on_progress: OnProgress | None = None
    ) -> Report:
        """Run `job` in a child of `owner` and return its report, which may hold an error.

        `job.source` and `job.folder` lie below `scratch.path`; they are moved to the child
        while it works and are back when this returns or raises. `on_progress` is called at
        most once a second. When cancelled, the child is killed before this raises.

        Raises:
            ChildCrashedError, AttemptTimeoutError, OutOfMemoryError: the child is gone.
            RunnerUnavailableError: no child could be started.
        """
        await self._slots.acquire()
        try:
            child = await self._take(owner)
        except BaseException:
            self._slots.release()
            raise
        self._busy.add(child)
        try:
            return await self._run_in(child, job, wall_s, on_progress)
        finally:
            self._leave(child)

    async def trim(self, *, room: int = 0) -> None:
        """End the eldest idle children until there is memory for all, and for `room` more."""
        while self._idle and self._population + room > self.size + self._spare():
            await self._end(self._idle.pop(0))

    async def aclose(self) -> None:
        """Kill all children, end all runs, and remove all folders. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for child in (*self._idle, *self._busy):
            await child.kill()
        for _ in range(self.size - self._stuck):  # once ours, every run has left its folder
            await self._slots.acquire()
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

    def _leave(self, child: Child) -> None:
        self._busy.discard(child)
        self._freed.set()
        if child.alive:
            self._losing.discard(child.owner)
        elif len(self._losing) < MOST_LOSING:
            self._losing.add(child.owner)
        if child.alive:
            self._idle.append(child)
        if child.alive or self._closed:
            self._slots.release()
        else:
            self._stuck += 1
            child.when_ended(self._free_slot)

    def _free_slot(self) -> None:
        self._stuck -= 1
        self._slots.release()

    async def _run_in(
        self, child: Child, job: Job, wall_s: float, on_progress: OnProgress | None
    ) -> Report:
        self._jobs += 1
        inside = child.folders.hold(job, self._jobs)
        move(job, inside)
        try:
            report = await child.run(inside, wall_s=wall_s, on_progress=on_progress)
        except BaseException as error:
            self._crashed += isinstance(error, ItemError)
            await child.kill()
            raise
        else:
            if self._is_spent(child, report):
                await child.kill()
            return report
        finally:
            move(inside, job)
            if not child.alive:
                await self._end(child)

    async def _take(self, owner: str) -> Child:
        """Return a child for `owner`: its own, else a fresh one, for which the eldest may go."""
        while dead := next((child for child in self._idle if not child.alive), None):
            self._idle.remove(dead)  # looked for anew: another run may have ended its fellows
            await self._end(dead)
        child = await self._idle_child(owner)
        if child is None:
            self._started_for[owner] += 1
            try:
                await self.trim(room=1)
                child = await self._start_child()
            finally:
                self._started_for[owner] -= 1
                self._started_for += Counter()  # without those of whom none is left
        child.owner = owner
        return child

    async def _idle_child(self, owner: str) -> Child | None:
        """Take an idle child that is the owner's, or that has no owner yet.

        While the owner has a busy one, wait for that as long as a start would take: of the
        smallest files one child does several in that time. Not where the last one did not come
        back: then the files are such that children do not.
        """
        until = time.monotonic() + self.patience_s
        while True:
            for child in self._idle:
                if child.owner in (owner, None):
                    self._idle.remove(child)
                    return child
            left_s = until - time.monotonic()
            at_work = self._started_for[owner] + sum(each.owner == owner for each in self._busy)
            if left_s <= 0 or not at_work or owner in self._losing:
                return None
            self._freed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._freed.wait()

    async def _start_child(self) -> Child:
        folders = ChildFolders.at(str(self.scratch.new("child")))
        self._population += 1
        try:
            folders.make()
            child = await self._fork(folders)
        except BaseException as error:
            self._population -= 1
            discard(Path(folders.root))
            if isinstance(error, Gone | OSError):
                raise RunnerUnavailableError(detail=str(error)) from error
            raise
        self._started += 1
        self.sandbox = child.sandbox
        return child

    async def _fork(self, folders: ChildFolders) -> Child:
        child = await (await self._running_fork_server()).fork(folders)
        if self._closed:  # meanwhile, and `aclose` did not know of this child
            await child.kill()
            raise RunnerUnavailableError(detail=_CLOSED)
        return child

    async def _running_fork_server(self) -> ForkServer:
        async with self._starting:
            if self._closed:
                raise RunnerUnavailableError(detail=_CLOSED)
            if self._fork_server is None or not self._fork_server.alive:
                self._fork_server = await ForkServer.start(self._executor, self._environ)
            return self._fork_server

    async def _end(self, child: Child) -> None:
        try:
            await child.kill()
            await asyncio.to_thread(discard, Path(child.folders.root))
        finally:
            self._population -= 1

    def _is_spent(self, child: Child, report: Report) -> bool:
        if report.error is not None and report.error.code in SUSPICIOUS:
            return True
        most = self._recycling
        return child.jobs_done >= most.jobs or child.rss_bytes > most.rss_bytes
