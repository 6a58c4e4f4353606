"""Runs one job in the child: opens the file, runs the steps, writes the outputs, reports."""

import errno
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors.base import BatchmillError
from batchmill.errors.item import (
    EmptyFileError,
    ItemError,
    OperationFailedError,
    OutOfMemoryError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from batchmill.errors.outage import OutageError, StorageFullError
from batchmill.model.containers import identify
from batchmill.model.item import Output, SkipReason
from batchmill.model.media import Family
from batchmill.model.pipeline import OnError
from batchmill.operations import registry
from batchmill.operations.contract import ExtraFile, RemoteCall, Source, Work
from batchmill.operations.files import row
from batchmill.operations.images.codec.damage import translated
from batchmill.sandbox.messages import OUT, Job, JobStep, Report, ReportedError, StepProgress
from batchmill.sandbox.output_names import output_stem, safe_name

if TYPE_CHECKING:
    from batchmill.operations.picture import Picture


def warm() -> None:
    """Load what most jobs need, before children are forked. Must not start a thread."""
    import_module("batchmill.operations.images.codec.decode")
    import_module("batchmill.operations.images.codec.encode")
    for name in ("resize", "convert"):
        registry.get(name)


def warm_more() -> None:
    """Load what other jobs need, where there is time for it. Must not start a thread."""
    for name in registry.BUILTIN:
        registry.get(name)


def execute(job: Job, report_progress: Callable[[StepProgress], None]) -> Report:
    """Run a job to its report; no error leaves here, whatever the file or an operation does.

    Outputs lie in `job.folder/out` under their names, closed and measured. With
    `job.tolerant` a damaged file is tried again accepting the damage, which the report's
    warnings then say.
    """
    trace = _Trace(report_progress)
    try:
        if job.original:
            return _original(job, trace)
        try:
            return _run(job, trace, tolerant=False)
        except UnreadableFileError as damage:
            if not job.tolerant:
                raise
            _clear(Path(job.folder) / OUT)
            report = _run(job, trace, tolerant=True)
            return replace(report, warnings=(f"{damage.message}; kept", *report.warnings))
    except BatchmillError as error:
        return Report(error=_reported(error, trace), step_ms=trace.step_ms)


@dataclass(slots=True)
class _Trace:
    """Where the job is, for which steps, and how long each step took."""

    report_progress: Callable[[StepProgress], None]
    step: str = ""
    working_for: Sequence[JobStep] = ()
    step_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str, *working_for: JobStep) -> Iterator[None]:
        self.step, self.working_for = step, working_for
        began = time.perf_counter()
        try:
            yield
        finally:
            spent_ms = (time.perf_counter() - began) * 1000
            self.step_ms[step] = round(self.step_ms.get(step, 0.0) + spent_ms, 3)

    def progress(self, fraction: float) -> None:
        self.report_progress(StepProgress(fraction, self.step))


def _run(job: Job, trace: _Trace, *, tolerant: bool) -> Report:
    with trace.timed("open", *job.steps), _translating(job, "open"):
        work = _opened(_found(job, trace, tolerant=tolerant))
    steps = [step for step in job.steps if _applies(step.condition, work)]
    if not steps:
        return Report(skipped=SkipReason.FILTERED, step_ms=trace.step_ms)
    work = _after_all(work, steps, job, trace)
    with trace.timed("encode", *steps), _translating(job, "encode"):
        trace.progress(0.0)
        return _written(work, trace)


def _after_all(work: Work, steps: list[JobStep], job: Job, trace: _Trace) -> Work:
    for step in steps:
        try:
            with trace.timed(step.id or step.use, step), _translating(job, step.use):
                work = _in_time(work, step)
        except OutageError:
            raise
        except BatchmillError as error:
            if step.on_error != OnError.SKIP:
                raise
            work = work.with_warning(f"{step.use} was left out: {error.message}")
    return work


def _in_time(work: Work, step: JobStep) -> Work:
    """Run a step within its `timeout_s`, which ends this process: no decoder can be stopped else.

    The pixels of such a step are computed at its end; those of others when the result is written.
    """
    if step.timeout_s is None:
        return _after(work, step)
    signal.setitimer(signal.ITIMER_REAL, step.timeout_s)
    try:
        after = _after(work, step)
        return replace(after, pictures=tuple(map(_computed, after.pictures)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _computed(picture: "Picture") -> "Picture":
    untouched = picture.source is not None
    return picture if untouched else replace(picture, image=picture.image.copy_memory())


def _found(job: Job, trace: _Trace, *, tolerant: bool) -> Work:
    out = Path(job.folder, OUT)
    if not out.is_dir():
        out.mkdir(exist_ok=True)
    return Work(
        source=_source(job),
        folder=out,
        limits=job.limits,
        tolerant=tolerant,
        data=job.data,
        report_progress=trace.progress,
    )


def _opened(work: Work) -> Work:
    if work.source.media.family is not Family.IMAGE:
        return work
    from batchmill.operations.images.codec.decode import left_out, open_picture

    picture = open_picture(work.source, work.limits, tolerant=work.tolerant)
    work = replace(work, pictures=(picture,))
    sentence = left_out(picture)
    return work.with_warning(sentence) if sentence else work


def _clear(out: Path) -> None:
    for left in out.iterdir():
        left.unlink()


def _source(job: Job) -> Source:
    path = Path(job.source)
    size = path.stat().st_size
    if size == 0:
        raise EmptyFileError(job.name)
    with path.open("rb") as file:
        media = identify(file)
    if media is None:
        raise UnsupportedTypeError(f"{job.name} is of no type that is supported here")
    return Source(path=path, name=job.name, media=media, bytes=size)


def _applies(condition: Mapping[str, Any], work: Work) -> bool:
    """Tell whether the source meets every bound of a step's `if`."""
    if not condition:
        return True
    media, size = work.source.media, work.source.bytes
    kinds = {media.mime, media.extension, media.family.value, f"{media.family.value}/*"}
    width, height = work.pictures[0].size if work.pictures else (0, 0)
    at_least = (("min_bytes", size), ("min_width", width), ("min_height", height))
    most = condition.get("max_bytes")
    return (
        not kinds.isdisjoint(condition.get("types") or kinds)
        and all(own >= (condition.get(name) or 0) for name, own in at_least)
        and (most is None or size <= most)
    )


def _after(work: Work, step: JobStep) -> Work:
    operation = registry.get(step.use)
    if isinstance(operation, RemoteCall):
        raise TypeError(f"{step.use} is a remote call and can't run in a child")
    source = work.source
    if source.media.family not in operation.accepts:
        takes = " and ".join(sorted(f"{family.value}s" for family in operation.accepts))
        raise UnsupportedTypeError(
            f"{source.name} is {source.media.mime}; {step.use} takes {takes}"
        )
    work.report_progress(0.0)
    return operation.run(work, registry.options(step.use, step.options))


def _written(work: Work, trace: _Trace) -> Report:
    outputs, skipped, warnings = _pictures(work)
    outputs += [_extra(work.folder, file) for file in work.files]
    return Report(
        outputs=tuple(outputs),
        data=dict(work.data),
        warnings=(*work.warnings, *warnings),
        skipped=work.skipped or skipped,
        step_ms=trace.step_ms,
    )


def _pictures(work: Work) -> tuple[list[Output], SkipReason | None, list[str]]:
    if not work.pictures:
        return [], None, []
    from batchmill.operations.images.codec.encode import write

    taken: set[str] = set()
    written = []
    for picture in work.pictures:
        stem = output_stem(work.source.name, picture.suffix, taken)
        written.append(write(picture, work.source, work.folder / stem))
        taken.add(stem)
    reasons = {each.skipped for each in written}
    reason = reasons.pop() if len(reasons) == 1 else None
    warnings = [each.warning for each in written if each.warning]
    return [each.output for each in written], reason, warnings


def _extra(out: Path, file: ExtraFile) -> Output:
    """Give a file that an operation left in the folder its safe name, if that is still free."""
    name = safe_name(file.name)
    stem, dot, extension = name.rpartition(".")
    taken = {each.name for each in out.iterdir() if each != file.path}
    numbered = (f"{stem or name}-{number}{dot}{extension}" for number in range(2, len(taken) + 3))
    free = name if name not in taken else next(each for each in numbered if each not in taken)
    return row(file.path.replace(out / free), file.media_type)


def _original(job: Job, trace: _Trace) -> Report:
    """Deliver the source itself, a picture less the metadata that nothing asks to keep."""
    with trace.timed("open"), _translating(job, "open"):
        work = _found(job, trace, tolerant=True)
        with suppress(ItemError), _translating(job, "open"):
            work = _opened(work)
        source = work.source
        target = work.folder / f"{output_stem(source.name, '', set())}.{source.media.extension}"
        if source.media.family is Family.IMAGE:
            target.write_bytes(_cleaned(work, job.steps))
        else:
            shutil.copyfile(source.path, target)
        size = work.pictures[0].size if work.pictures else None
        return Report(outputs=(row(target, source.media.mime, size=size),), step_ms=trace.step_ms)


def _cleaned(work: Work, steps: Sequence[JobStep]) -> bytes:
    """Return a picture's bytes as the last step that says so wants them kept.

    Raises:
        UnsupportedTypeError: its metadata can't be told from the rest.
    """
    from batchmill.operations.images.codec.strip.file import stripped
    from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

    source = work.source
    asked = [step.options["keep"] for step in steps if _applies(step.condition, work)]
    orientation = work.pictures[0].orientation if work.pictures else 1
    policy = Policy(asked[-1] if asked else "none", orientation, cut=True)
    with suppress(MalformedError):
        content = stripped(source.path.read_bytes(), source.media, policy)
        if content is not None:
            return content
    raise UnsupportedTypeError(f"the metadata of {source.name} can't be removed")


# ---------------------------------------------------------------- errors


@contextmanager
def _translating(job: Job, step: str) -> Iterator[None]:
    """Turn whatever a step raises into an error of ours."""
    try:
        yield
    except BatchmillError:
        raise
    except Exception as error:
        raise _translated(error, job, step) from error


def _translated(error: Exception, job: Job, step: str) -> BatchmillError:
    detail = "".join(traceback.format_exception(error))
    if isinstance(error, MemoryError):
        return OutOfMemoryError(job.name, job.limits.memory_bytes)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFullError()
    if type(error).__module__ == "pyvips.error":
        known = translated(error, job.name, step, job.limits)
        unclear = isinstance(known, OperationFailedError)
        return _damage(job, detail) if unclear and not _sound(job) else known
    return OperationFailedError(job.name, step, detail=detail)


def _damage(job: Job, detail: str) -> BatchmillError:
    return UnreadableFileError(job.name, "its data is damaged", detail=detail)


def _sound(job: Job) -> bool:
    from batchmill.operations.images.codec.decode import is_sound

    return is_sound(_source(job), job.limits)


def _reported(error: BatchmillError, trace: _Trace) -> ReportedError:
    """Describe an error; opening and writing belong to all steps that they are done for."""
    return ReportedError(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        budget=getattr(error, "budget", "errors"),
        step=trace.step or None,
        detail=error.detail,
        keep_original=bool(trace.working_for)
        and all(step.on_error == OnError.KEEP_ORIGINAL for step in trace.working_for),
    )
