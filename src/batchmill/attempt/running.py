"""Takes one staged file through the segments of its pipeline."""

import asyncio
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from batchmill.attempt import reported
from batchmill.attempt.context import AttemptContext
from batchmill.attempt.segments import Segment
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import (
    AttemptTimeoutError,
    ItemError,
    OperationFailedError,
    UnsupportedTypeError,
)
from batchmill.errors.outage import OutageError, RunnerUnavailableError
from batchmill.model.item import Output, Result, SkipReason
from batchmill.model.media import BY_MIME, JPEG
from batchmill.model.pipeline import OnError, Pipeline, Step
from batchmill.operations.contract import Copy, Options, RemoteCall
from batchmill.sandbox.messages import Job, JobStep, Report


@dataclass(frozen=True, slots=True)
class Made:
    """An output and where it lies."""

    path: Path
    output: Output


@dataclass(frozen=True, slots=True)
class State:
    """One file between two segments: what was made of it so far, and the time it has left.

    `made` is empty until a segment has left outputs; then those are what the next works on.
    """

    source: Path
    remaining_s: float
    made: tuple[Made, ...] = ()
    result: Result = field(default_factory=Result)
    begun: bool = False
    ended: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """What the next segment works on."""
        return tuple(map(_PATH, self.made)) or (self.source,)

    def after(self, report: Report, made: Sequence[Made] = ()) -> "State":
        """Return the state with what one job has found out and made.

        A file counts as skipped only as long as every job has skipped it.
        """
        all_skipped = self.result.skipped is not None or not self.begun
        result = replace(
            self.result,
            data=self.result.data | report.data,
            warnings=(*self.result.warnings, *report.warnings),
            skipped=report.skipped if all_skipped else None,
            step_ms=self.result.step_ms | report.step_ms,
        )
        remaining_s = self.remaining_s - sum(report.step_ms.values()) / 1000
        return State(self.source, remaining_s, (*self.made, *made), result, begun=True)

    def with_warning(self, sentence: str) -> "State":
        """Return the same state with one more warning for the user."""
        warnings = (*self.result.warnings, sentence)
        return replace(self, result=replace(self.result, warnings=warnings))


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt under way: `folder` is its own, `name` the label of its file."""

    folder: Path
    name: str
    context: AttemptContext
    limit_s: float
    pipeline: Pipeline

    async def run(self, segment: Segment, state: State) -> State:
        """Run one segment and return what it leaves.

        Raises:
            ItemError, OutageError: as the child or the remote call says.
        """
        try:
            return await self._run(segment, state)
        except ItemError as error:
            if not error.keeps_original:
                raise
            return await self._original(state, error)

    async def _run(self, segment: Segment, state: State) -> State:
        try:
            if segment.call is None:
                return await self._transform(segment, state)
            return await self._call(segment.call, segment, state)
        except AttemptTimeoutError as error:
            own = {step.timeout_s for step in segment.steps}
            if error.limit_s in own | {segment.own_s, self.context.limits.cpu_s}:
                raise
            raise self._over_limit(error) from error

    def _over_limit(self, error: AttemptTimeoutError) -> AttemptTimeoutError:
        """Name the limit of the attempt where `error` names what was left of it."""
        full = AttemptTimeoutError(self.name, self.limit_s)
        full.step, full.detail = error.step, error.detail
        return full

    async def _transform(self, segment: Segment, state: State) -> State:
        """Run the steps on each file in turn; where they leave no outputs, the files stay."""
        jobs = tuple(map(_job_step, segment.steps))
        after = replace(state, made=())
        for number, file in enumerate(state.files, start=1):
            folder = self._new_folder(f"{segment.number}-{number}")
            job = replace(self._job(jobs, file, folder), data=after.result.data)
            report = await self._in_child(job, wall_s=segment.wall_s(after.remaining_s))
            after = after.after(report, _made(report, folder))
        return after if after.made else replace(after, made=state.made)

    async def _call(self, call: RemoteCall[Any], segment: Segment, state: State) -> State:
        """Make the segment's remote call, or leave it out if the step says so when it fails."""
        step = segment.steps[0]
        try:
            return await self._sent(call, segment, state)
        except OutageError as error:
            error.step = step.id
            raise
        except ItemError as error:
            error.step = step.id
            error.keeps_original = step.on_error is OnError.KEEP_ORIGINAL
            if step.on_error is not OnError.SKIP:
                raise
            return state.with_warning(f"{step.use} was left out: {error.message}")

    async def _sent(self, call: RemoteCall[Any], segment: Segment, state: State) -> State:
        """Send the copy that the call's own transforms make; the attempt's files stay.

        The step's condition is met when one of those transforms' is, for it is theirs too.
        """
        step = segment.steps[0]
        options = call.options.model_validate(dict(step.options))
        folder = self._new_folder(f"{segment.number}-copy")
        prepare = call.prepare(options)
        jobs = tuple(_job_step(replace(own, condition=step.condition)) for own in prepare)
        wall_s = segment.wall_s(state.remaining_s)
        report = await self._in_child(self._job(jobs, state.files[0], folder), wall_s=wall_s)
        if report.skipped is SkipReason.FILTERED:
            return state.after(report)
        copies = _made(report, folder)
        if not copies:
            raise UnsupportedTypeError(f"{self.name} holds no picture for {step.use} to look at")
        copy = _copy(self.name, copies[0], report)
        spent_ms = sum(report.step_ms.values())
        data, call_ms = await self._answer(call, options, copy, spent_ms=spent_ms, wall_s=wall_s)
        return state.after(Report(data=data, step_ms={step.id: round(spent_ms + call_ms, 3)}))

    async def _answer(
        self,
        call: RemoteCall[Any],
        options: Options,
        copy: Copy,
        *,
        spent_ms: float,
        wall_s: float,
    ) -> tuple[dict[str, Any], float]:
        """Return what the call has found out, and its milliseconds without the wait for a slot."""
        remote = self.context.remote
        if remote is None:
            raise RunnerUnavailableError(detail=f"{call.name}: remote calls are not set up")
        async with remote.slots:
            if self.context.on_remote is not None:
                self.context.on_remote()
            began = time.monotonic()
            try:
                async with asyncio.timeout(wall_s - spent_ms / 1000):
                    found = await call.call(copy, options, remote.clients)
            except TimeoutError as error:
                raise AttemptTimeoutError(self.name, wall_s) from error
            except BatchmillError:
                raise
            except Exception as error:  # a fault of an operation ends its file, not the run
                detail = "".join(traceback.format_exception(error))
                raise OperationFailedError(self.name, call.name, detail=detail) from error
            return dict(found), (time.monotonic() - began) * 1000

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        with suppress(FileExistsError):  # of an attempt before
            folder.mkdir()
        return folder

    async def _original(self, state: State, error: ItemError) -> State:
        """End the attempt with the file that it began with, in place of all that was made of it."""
        folder = self._new_folder("original")
        steps = tuple(_job_step(each) for each in self.pipeline.steps if "keep" in each.options)
        job = replace(self._job(steps, state.source, folder), original=True)
        try:
            report = await self._in_child(job, wall_s=state.remaining_s)
        except UnsupportedTypeError as refusal:
            error.args = (f"{error.message}; the original was not kept: {refusal.message}",)
            raise error from refusal
        made = _made(report, folder)
        kept = replace(state, made=()).after(report, made)
        kept = kept.with_warning(f"{error.message}; the original was kept")
        return replace(kept, result=replace(kept.result, skipped=SkipReason.UNCHANGED), ended=True)

    def _job(self, steps: tuple[JobStep, ...], source: Path, folder: Path) -> Job:
        limits, tolerant = self.context.limits, self.pipeline.tolerant
        return Job(str(source), str(folder), self.name, steps, limits=limits, tolerant=tolerant)

    async def _in_child(self, job: Job, *, wall_s: float) -> Report:
        if wall_s <= 0:
            raise AttemptTimeoutError(self.name, self.limit_s)
        context = self.context
        report = await context.pool.run(
            job, owner=context.owner, wall_s=wall_s, hooks=context.hooks
        )
        if report.error is not None:
            raise reported.exception(report.error)
        return report


_PATH = attrgetter("path")


def _made(report: Report, folder: Path) -> tuple[Made, ...]:
    return tuple([Made(folder / output.name, output) for output in report.outputs])


def _copy(name: str, made: Made, report: Report) -> Copy:
    output = made.output
    media = BY_MIME.get(output.media_type, JPEG)
    size = {"width": output.width, "height": output.height}
    return Copy(made.path, name, media, output.bytes, **size, data=report.data)


def _job_step(step: Step) -> JobStep:
    return JobStep(
        use=step.use,
        options=dict(step.options),
        id=step.id,
        on_error=step.on_error.value,
        timeout_s=step.timeout_s,
        condition=step.condition.bounds(),
    )
