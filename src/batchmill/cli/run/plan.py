"""What a run is to do: the command line's words turned into a pipeline, files and rules."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from batchmill.cli.run.existing import ExistingResults
from batchmill.cli.run.halt import Halt, parse_halt
from batchmill.cli.run.options import RunOptions
from batchmill.errors.request import UsageError
from batchmill.local import joblog
from batchmill.local.inputs import LocalInput, Search, find
from batchmill.local.pipelines import Changes, changed, limited, resolve
from batchmill.local.session import Rules, cores
from batchmill.model.pipeline import Pipeline
from batchmill.operations import registry
from batchmill.operations.contract import RemoteCall
from batchmill.sandbox.child_process import AHEAD_JOBS
from batchmill.settings import loading
from batchmill.settings.fields import Settings

STDIN = "-"
_TIER = "pro"
"""Whose limits hold for one's own files on one's own machine."""
_WALL_S = 120.0
_REMOTE_CONCURRENCY = 5
_AHEAD = 1
"""Files beyond those at work: one is fetched or saved while every child is busy."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is to be done, and what is not because it was done before."""

    pipeline: Pipeline
    rules: Rules
    halt: Halt
    items: tuple[LocalInput, ...]
    found: tuple[LocalInput, ...]
    done: int = 0
    failed_earlier: int = 0
    existing: int = 0
    earlier: Mapping[str, str] = field(default_factory=dict)


def make(options: RunOptions) -> RunPlan:
    """Find the pipeline and the files, and leave out what need not be done.

    Raises:
        RequestError: the command line makes no sense.
    """
    _check(options)
    settings = loading.load(os.environ, loading.read_file(os.environ))
    pipeline = _pipeline(options, settings)
    items = tuple(search(options))
    if not items and not options.watch:
        raise UsageError(f"No files were found in {', '.join(options.paths)}.")
    plan = RunPlan(
        pipeline=pipeline,
        rules=_rules(options, pipeline, settings),
        halt=parse_halt(options.halt),
        items=items,
        found=items,
    )
    plan = _without_existing(_without_done(plan, options), options)
    return replace(plan, items=_spread(plan.items, options.sample))


def search(options: RunOptions) -> list[LocalInput]:
    """Return the files that the command line names.

    Raises:
        UsageError: a path does not exist.
    """
    return named(options.paths, Search(options.recursive, options.output))


def named(paths: Sequence[str], how: Search) -> list[LocalInput]:
    """Return the files that arguments name; `-` reads more paths from stdin.

    Raises:
        UsageError: a path does not exist.
    """
    arguments = [path for path in paths if path != STDIN]
    lines = _lines(sys.stdin.buffer.read()) if STDIN in paths else []
    return find(arguments, how, listed=lines)


def _check(options: RunOptions) -> None:
    wrong = {
        "Name a folder for the results with -o FOLDER.": not (
            options.output or options.json or options.dry_run
        ),
        "--resume needs the joblog of the earlier run: --joblog FILE.": (
            (options.resume or options.resume_failed) and not options.joblog
        ),
        "--overwrite and --skip-existing exclude each other.": (
            options.overwrite and options.skip_existing
        ),
        "--watch needs folders; it cannot watch a list on stdin.": (
            options.watch and STDIN in options.paths
        ),
        "--sequential and --jobs exclude each other.": (
            options.sequential and options.jobs is not None
        ),
        "--watch and --sample exclude each other.": (options.watch and options.sample is not None),
    }
    for sentence, is_wrong in wrong.items():
        if is_wrong:
            raise UsageError(sentence)
    _check_joblog(options)


def _check_joblog(options: RunOptions) -> None:
    log = options.joblog
    if (
        log
        and log.exists()
        and log.stat().st_size
        and not (options.resume or options.resume_failed)
    ):
        raise UsageError(
            f"{log} is the joblog of an earlier run; go on with --resume or name another file."
        )


def _pipeline(options: RunOptions, settings: Settings) -> Pipeline:
    changes = Changes(options.format, options.quality, options.settings or (), options.name)
    pipeline = changed(resolve(options.preset, settings.presets_dir), changes)
    pipeline = limited(pipeline, {"timeout_s": options.timeout})
    return replace(pipeline, timeout_s=pipeline.timeout_s or _WALL_S)


def _lines(text: bytes) -> list[str]:
    """Split a list of paths: at NUL, as `find -print0` writes, else at line ends."""
    paths = text.split(b"\0") if b"\0" in text else text.splitlines()
    return [os.fsdecode(path) for path in paths if path.strip()]


def _rules(options: RunOptions, pipeline: Pipeline, settings: Settings) -> Rules:
    jobs = 1 if options.sequential else _jobs(options.jobs) or cores()
    remote = any(isinstance(registry.get(step.use), RemoteCall) for step in pipeline.steps)
    waiting = _REMOTE_CONCURRENCY if remote and not options.jobs else 0
    at_once = 1 if options.sequential else max(jobs + _AHEAD, waiting)
    if pipeline.concurrency and not options.jobs and not options.sequential:
        at_once = pipeline.concurrency
    is_free = not (options.sequential or pipeline.concurrency or remote)
    return Rules(
        concurrency=at_once,
        ahead=jobs * AHEAD_JOBS if is_free else 0,
        children=min(jobs, at_once),
        retries=options.retries,
        limits=settings.tier(_TIER).attempt(wall_s=pipeline.timeout_s or _WALL_S),
        hashed=options.joblog is not None,
    )


def _jobs(text: str | None) -> int | None:
    if text is None:
        return None
    share = text.removesuffix("%")
    if not share.isdecimal() or not int(share):
        raise UsageError(f"--jobs {text!r} must be a whole number from 1 up, or a share as 50%.")
    return max(1, cores() * int(share) // 100) if text.endswith("%") else int(share)


def _without_done(plan: RunPlan, options: RunOptions) -> RunPlan:
    """Leave out what the joblog says is done, and remember whose results are there."""
    if options.joblog is None or not (options.resume or options.resume_failed):
        return plan
    entries = joblog.read(options.joblog)
    digest = joblog.digest(plan.pipeline)
    done = {
        item.key: entries[item.key].failed
        for item in plan.items
        if item.key in entries
        and not (options.resume_failed and entries[item.key].failed)
        and joblog.is_done(entries[item.key], item, pipeline=digest, output=options.output)
    }
    names = ((name, key) for key, entry in entries.items() for name in entry.outputs)
    return replace(
        plan,
        items=tuple(item for item in plan.items if item.key not in done),
        done=len(done),
        failed_earlier=sum(done.values()),
        earlier={name.casefold(): key for name, key in names},
    )


def _without_existing(plan: RunPlan, options: RunOptions) -> RunPlan:
    """Leave out, or refuse, what has a result; what a killed run made unnoted is made again."""
    if options.output is None or options.overwrite:
        return plan
    of_all = ExistingResults(options.output, plan.pipeline).of(plan.found)
    existing = {item.key: of_all[item.key] for item in plan.items if item.key in of_all}
    if options.skip_existing:
        items = tuple(item for item in plan.items if item.key not in existing)
        return replace(plan, items=items, existing=len(existing))
    foreign = set(existing.values())
    if foreign and plan.earlier:
        inputs = {item.path.resolve() for item in plan.found}
        foreign = {name for name in foreign if (options.output / name).resolve() in inputs}
    if foreign:
        first = options.output / min(foreign)
        raise UsageError(
            f"{len(foreign)} of {len(plan.items)} results exist already, as {first}; "
            "say --overwrite, --skip-existing or another folder."
        )
    unnoted = {name.casefold(): key for key, name in existing.items()}
    return replace(plan, earlier={**unnoted, **plan.earlier})


def _spread(items: tuple[LocalInput, ...], number: int | None) -> tuple[LocalInput, ...]:
    """Return `number` of the items, evenly spread."""
    if number is None or number >= len(items):
        return items
    return tuple(items[place * len(items) // number] for place in range(number))
