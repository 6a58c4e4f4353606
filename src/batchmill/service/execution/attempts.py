"""Binds attempts to the server: inputs from storage, limits of the tier, children of the pool."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from batchmill.archives.entry import unpack_entry
from batchmill.attempt.context import AttemptContext, Remote
from batchmill.attempt.run import Finished, run_attempt
from batchmill.attempt.staging import InputFile
from batchmill.errors.item import (
    FileTooLargeError,
    InputLostError,
    InputMissingError,
    InputUnfetchedError,
    ItemError,
)
from batchmill.errors.request import NotFoundError
from batchmill.model import pipeline as pipelines
from batchmill.model.item import Input, ItemId, limit_passed
from batchmill.model.limits import Limits
from batchmill.model.pipeline import Pipeline
from batchmill.operations import registry
from batchmill.sandbox.child_process import Hooks
from batchmill.sandbox.messages import StepProgress
from batchmill.sandbox.pool import Pool
from batchmill.service.context import ServerContext
from batchmill.service.execution.budget import remote_of
from batchmill.service.execution.process_item import Attempt
from batchmill.service.scheduling.transitions import Claimed
from batchmill.storage.base import Storage

DEFAULT_TIMEOUT_S = 120.0


def attempts_in(
    server: ServerContext, pool: Pool, remote: Remote, *, on_remote: Callable[[ItemId], None]
) -> Attempt:
    """Return the function that takes a claimed item through its pipeline in `pool`.

    `on_remote` hears of items that wait for another server.
    """
    parsed = _last_parsed()

    @asynccontextmanager
    async def attempt(claimed: Claimed, report: Callable[[float], None]) -> AsyncIterator[Finished]:
        async def stage(target: Path) -> None:
            await stage_input(server.storage, claimed.input, target, limits=limits)

        def on_progress(progress: StepProgress) -> None:
            report(progress.fraction)

        pipeline = parsed(claimed.pipeline)
        limits = server.settings.tier(claimed.tier).attempt(
            wall_s=pipeline.timeout_s or DEFAULT_TIMEOUT_S
        )
        context = AttemptContext(
            pool=pool,
            find=registry.get,
            owner=claimed.owner_id,
            limits=limits,
            remote=remote_of(server, remote, claimed),
            hooks=Hooks(partial(report, 0.0), on_progress),
            on_remote=partial(on_remote, claimed.claim.item_id),
        )
        source = InputFile(claimed.input.name, stage)
        async with await run_attempt(source, pipeline, context=context) as finished:
            yield finished

    return attempt


def _last_parsed() -> Callable[[Mapping[str, Any]], Pipeline]:
    """Return a `parse` that knows the last pipeline again: the next item's is the same mostly."""
    last: tuple[Mapping[str, Any], Pipeline] | None = None

    def parsed(body: Mapping[str, Any]) -> Pipeline:
        nonlocal last
        if last is None or last[0] != body:
            last = body, pipelines.parse(body)
        return last[1]

    return parsed


async def stage_input(storage: Storage, source: Input, target: Path, *, limits: Limits) -> None:
    """Make an item's bytes appear at `target`: a whole object, or one entry of a stored ZIP.

    Raises:
        InputMissingError, InputUnfetchedError, FileTooLargeError: there were no bytes when it was
            submitted, or too many.
        InputLostError: the bytes are gone. ItemError: the entry can't be unpacked.
    """
    entry = source.entry
    if not source.key:
        raise _absence(source)
    if entry is None:
        await storage.fetch(source.key, target)
        return
    stop = entry.offset + entry.compressed_bytes
    pieces = storage.read(source.key, start=entry.offset, stop=stop)
    try:
        await unpack_entry(pieces, source, target, limits=limits)
    except NotFoundError as error:
        raise InputLostError(source.name) from error


def _absence(source: Input) -> ItemError:
    if source.absent is None:
        return InputMissingError(source.name)
    limit_bytes = limit_passed(source.absent)
    if limit_bytes is not None:
        return FileTooLargeError(source.name, limit_bytes)
    return InputUnfetchedError(source.name, source.absent)
