"""What a run in this process works with: children, outputs and rules, opened and closed as one."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batchmill.attempt.context import AttemptContext, Remote
from batchmill.errors.request import UsageError
from batchmill.local import remote
from batchmill.local.inputs import LocalInput
from batchmill.local.outputs import Save
from batchmill.model.limits import Limits
from batchmill.model.media import Family
from batchmill.model.pipeline import Pipeline
from batchmill.model.retry import RetryPolicy
from batchmill.operations import registry
from batchmill.sandbox.pool import Pool

SCRATCH = ".batchmill-scratch"
"""Folder inside the output folder that holds unfinished files; gone when the run ends."""
RETRIES = 1
"""How often a transient failure is tried again where neither caller nor pipeline says."""
_OWNER = "local"


class Outputs(Protocol):
    """Where finished files go: memory or a folder."""

    def begin(self, item: LocalInput) -> AbstractContextManager[Save]:
        """Return what takes the item's files."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a run works.

    `concurrency` items are under way at once, in `children` processes (by default as many,
    but not more than cores), and `ahead` more while they are small. Retries are for transient
    errors; a file whose process crashed is tried once more, one that ran out of time is not.
    `retries` None is what the pipeline says, else `RETRIES`. `hashed` notes each input's sha256.
    """

    concurrency: int = 5
    children: int | None = None
    ahead: int = 0
    retries: int | None = None
    limits: Limits = field(default_factory=Limits)
    hashed: bool = False

    def policy(self, pipeline: Pipeline, step: str | None) -> RetryPolicy:
        """Return the retry budgets that hold for a failure in a step."""
        wanted = pipeline.retries_in(step) if self.retries is None else self.retries
        retries = RETRIES if wanted is None else wanted
        return RetryPolicy(errors=retries, crashes=min(1, retries), timeouts=0)


@dataclass(frozen=True, slots=True)
class LocalSession:
    """What every item of a run is worked on with."""

    context: AttemptContext
    pipeline: Pipeline
    rules: Rules
    outputs: Outputs
    accepts: frozenset[Family]


@asynccontextmanager
async def open_session(
    pipeline: Pipeline, outputs: Outputs, rules: Rules, *, output_dir: Path | None = None
) -> AsyncIterator[LocalSession]:
    """Make a session; on leaving, all children are dead and all unfinished files gone.

    Unfinished files lie in `output_dir`, so that finishing one is a rename. What runs that
    were killed left there is removed first.

    Raises:
        UsageError: the folder can't be written, or a setting is wrong.
        ModelKeyMissingError, InvalidOptionError: the pipeline asks a model that is not set up.
    """
    accepts = registry.get(pipeline.steps[0].use).accepts
    async with remote.opened(pipeline) as clients:
        scratch = _own_scratch(output_dir) if output_dir else _system_scratch()
        try:
            pool = Pool(rules.children or min(rules.concurrency, cores()), scratch)
        except OSError as error:
            raise UsageError(f"{scratch.parent} can't be written: {error.strerror}.") from error
        context = AttemptContext(
            pool=pool,
            find=registry.get,
            owner=_OWNER,
            limits=rules.limits,
            remote=Remote(asyncio.Semaphore(rules.concurrency), clients),
        )
        try:
            yield LocalSession(context, pipeline, rules, outputs, accepts)
        finally:
            await pool.aclose()
            with suppress(OSError):  # another run may be using it
                scratch.rmdir()


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _own_scratch(output_dir: Path) -> Path:
    return output_dir.absolute() / SCRATCH  # a child has another working folder


def _system_scratch() -> Path:
    """Return a folder of our own below the system's, the same for every run of this user."""
    folder = Path(tempfile.gettempdir(), f"batchmill-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    ours = status.st_uid == os.getuid() and not folder.is_symlink() and not status.st_mode & 0o077
    return folder if ours else Path(tempfile.mkdtemp(prefix="batchmill-"))
