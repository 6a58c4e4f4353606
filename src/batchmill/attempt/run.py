"""One attempt: one file through one pipeline.

    stage ─► segment ─► segment … ─► name the outputs ─► Finished
               │  transforms: in a child of the pool
               └─ remote call: here, in a remote slot

The attempt's folder is gone afterwards, however it ends: on failure and cancellation at once,
on success when the caller leaves `Finished`.
"""

import asyncio
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from batchmill.attempt import naming, outputs, reported, segments
from batchmill.attempt.outputs import Made
from batchmill.attempt.segments import FindOperation, Segment
from batchmill.attempt.staging import InputFile
from batchmill.errors import (
    AttemptTimeoutError,
    ItemError,
    RunnerUnavailableError,
    UnsupportedTypeError,
)
from batchmill.model.item import Result, SkipReason
from batchmill.model.limits import Limits
from batchmill.model.media import SNIFF_BYTES, sniff
from batchmill.model.pipeline import Pipeline, Step
from batchmill.operations.base import Source
from batchmill.runner.line import OnProgress
from batchmill.runner.messages import Job, JobStep
from batchmill.runner.pool import Pool


@dataclass(frozen=True, slots=True)
class Remote:
    """What remote calls need: how many may run at once, and the clients they speak through."""

    slots: asyncio.Semaphore
    clients: Any = None


@dataclass(frozen=True, slots=True)
class Workbench:
    """What an attempt works with: everything but the file and the pipeline.

    `find` is `operations.registry.get`; `remote` may be None where no pipeline needs it.
    """

    pool: Pool
    find: FindOperation
    owner: str
    limits: Limits = field(default_factory=Limits)
    remote: Remote | None = None
    on_progress: OnProgress | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A successful attempt. `files` lie in the order of `result.outputs` until it is left."""

    result: Result
    files: tuple[Path, ...]
    folder: Path

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


async def run_attempt(source: InputFile, pipeline: Pipeline, *, bench: Workbench) -> Finished:
    """Take one file through all steps; leave `Finished` with `async with` to empty its folder.

    The wall limit is the pipeline's `timeout_s`, or `Limits.wall_s`; waiting for a slot does
    not count.

    Raises:
        ItemError: the file can't be processed; `step` says where, `budget` what it costs.
        OutageError: something the attempt needs is away.
    """
    folder = bench.pool.scratch.new("attempt")
    folder.mkdir()
    try:
        staged = folder / "source"
        await source.stage(staged)
        work = _Work(folder, source.name, staged, pipeline.timeout_s or bench.limits.wall_s)
        for segment in segments.cut(pipeline, bench.find):
            run = _run_transforms if segment.call is None else _run_remote
            await run(segment, work, bench)
        return _finished(work, pipeline)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@dataclass(slots=True)
class _Work:
    """The state between two segments."""

    folder: Path
    name: str
    source: Path
    remaining_s: float
    made: tuple[Made, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: SkipReason | None = None
    step_ms: dict[str, float] = field(default_factory=dict)


async def _run_transforms(segment: Segment, work: _Work, bench: Workbench) -> None:
    folder = work.folder / f"segment-{segment.number}"
    folder.mkdir()
    job = Job(
        source=str(work.source),
        folder=str(folder),
        name=work.name,
        steps=tuple(_job_step(step) for step in segment.steps),
        limits=bench.limits,
        data=work.data,
    )
    report = await bench.pool.run(
        job,
        owner=bench.owner,
        wall_s=segment.wall_s(work.remaining_s),
        on_progress=bench.on_progress,
    )
    if report.error is not None:
        raise reported.exception(report.error)
    work.made = outputs.collect(report, folder, name=work.name)
    work.data |= report.data
    work.warnings += report.warnings
    work.skipped = report.skipped
    work.step_ms |= report.step_ms
    work.remaining_s -= sum(report.step_ms.values()) / 1000


async def _run_remote(segment: Segment, work: _Work, bench: Workbench) -> None:
    (step,), call, remote = segment.steps, segment.call, bench.remote
    if call is None or remote is None:
        raise RunnerUnavailableError(detail=f"{step.use}: no remote calls here")
    limit_s = segment.wall_s(work.remaining_s)
    async with remote.slots:
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                options = call.options.model_validate(dict(step.options))
                found = await call.call(_source(work), options, remote.clients)
        except TimeoutError as error:
            raise _at(step, AttemptTimeoutError(work.name, limit_s)) from error
        except ItemError as error:
            raise _at(step, error) from error
    spent_s = time.monotonic() - began
    work.remaining_s -= spent_s
    work.data |= found
    work.step_ms[step.id] = round(spent_s * 1000, 3)


def _source(work: _Work) -> Source:
    """Describe the file as the steps so far have left it."""
    path = work.made[0].path if work.made else work.source
    with path.open("rb") as opened:
        media = sniff(opened.read(SNIFF_BYTES))
    if media is None:
        raise UnsupportedTypeError(f"{work.name} is of a type that this pipeline does not take")
    return Source(path, work.name, media, path.stat().st_size)


def _at(step: Step, error: ItemError) -> ItemError:
    error.step = error.step or step.id
    return error


def _job_step(step: Step) -> JobStep:
    condition = step.condition
    bounds = {name: getattr(condition, name) for name in condition.__slots__}
    return JobStep(
        use=step.use,
        options=dict(step.options),
        id=step.id,
        on_error=step.on_error.value,
        condition={name: bound for name, bound in bounds.items() if bound},
    )


def _finished(work: _Work, pipeline: Pipeline) -> Finished:
    taken: set[str] = set()
    named = []
    for index, made in enumerate(work.made, start=1):
        facts = naming.Facts(
            source=work.name,
            made=made.output.name,
            index=index,
            width=made.output.width,
            height=made.output.height,
            step=pipeline.steps[-1].id,
        )
        name = naming.output_name(pipeline.output_path, facts, taken)
        taken.add(name.casefold())
        named.append(replace(made.output, name=name))
    result = Result(tuple(named), work.data, work.warnings, work.skipped, work.step_ms)
    return Finished(result, tuple(made.path for made in work.made), work.folder)
