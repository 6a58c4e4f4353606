"""One item in process, from its file to its result.

look ─► attempt ─► save ─► ItemResult
           ▲  │
           └──┘ after a transient failure, as often as the retry policy allows
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchmill import logs
from batchmill.archives.entry import unpack_local
from batchmill.attempt.run import run_attempt
from batchmill.attempt.staging import InputFile, link_or_copy
from batchmill.errors.item import Budget, InputMissingError, ItemError, UnreadableFileError
from batchmill.errors.outage import OutageError
from batchmill.local.inputs import LocalInput
from batchmill.local.outputs import Save
from batchmill.local.results import FileFacts, ItemResult
from batchmill.local.session import LocalSession
from batchmill.logs import Event
from batchmill.model.containers import identify
from batchmill.model.item import Failure, ItemStatus, SkipReason, Spent
from batchmill.model.limits import Limits
from batchmill.model.media import BY_MIME, Family, claimed_family
from batchmill.model.retry import backoff_s, verdict
from batchmill.sandbox.child_process import Hooks
from batchmill.storage import disk

BACKOFF_S = 1.0
"""Wait before the first retry; it doubles."""
SMALL_BYTES = 2**18
"""Linking and looking at so much takes less than handing it to a thread."""
LONGEST_WAIT_S = 300.0
"""Nobody watches a run for longer: a file whose server asks for more fails at once."""


@dataclass(slots=True)
class _Story:
    """What has happened to an item so far."""

    facts: FileFacts
    began_s: float
    is_begun: bool = False
    spent: Spent = field(default_factory=Spent)
    attempts: int = 0

    def begin(self) -> None:
        """Note that a child begins: until then the file may have waited behind others."""
        if not self.is_begun:
            self.began_s, self.is_begun = time.monotonic(), True

    def end(self, status: ItemStatus, **fields: Any) -> ItemResult:  # noqa: ANN401 - fields of the result
        run_ms = round((time.monotonic() - self.began_s) * 1000)
        logs.info(Event.ITEM_FINISHED, item=self.facts.name, status=status.value, run_ms=run_ms)
        return ItemResult(self.facts, status, attempts=self.attempts, run_ms=run_ms, **fields)


async def process_item(item: LocalInput, session: LocalSession) -> ItemResult:
    """Take one file through the pipeline; nothing but cancellation is raised."""
    story = _Story(_facts(item), time.monotonic())
    with session.outputs.begin(item) as save:
        if item.flaw is not None:
            return story.end(ItemStatus.FAILED, error=Failure(item.flaw.code, item.flaw.message))
        try:
            return await _tried(item, story, save, session)
        except _UnwantedError:
            return story.end(ItemStatus.SKIPPED, skipped=SkipReason.UNSUPPORTED)


class _UnwantedError(Exception):
    """A file that was found beside the wanted ones is of a type that the pipeline ignores."""


async def _tried(item: LocalInput, story: _Story, save: Save, session: LocalSession) -> ItemResult:
    while True:
        story.attempts += 1
        try:
            return await _attempted(item, story, save, session)
        except (ItemError, OutageError) as error:
            _note(error, story)
            budget: Budget = error.budget if isinstance(error, ItemError) else "errors"
            used = getattr(story.spent, budget) + 1
            story.spent = replace(story.spent, **{budget: used})
            asked_s = error.retry_after_s or 0.0 if isinstance(error, OutageError) else 0.0
            retryable = error.retryable and asked_s <= LONGEST_WAIT_S
            failure = _failure(error)
            policy = session.rules.policy(session.pipeline, failure.step)
            status = verdict(story.spent, budget, policy, retryable=retryable)
            if status is not ItemStatus.RETRYING:
                return story.end(status, error=failure)
        await asyncio.sleep(max(asked_s, backoff_s(used, base_s=BACKOFF_S)))


async def _attempted(
    item: LocalInput, story: _Story, save: Save, session: LocalSession
) -> ItemResult:
    async def stage(target: Path) -> None:
        limits, hashed = session.context.limits, session.rules.hashed
        if not (item.entry or item.read) and item.bytes <= SMALL_BYTES:
            _stage(item, target, limits)
            story.facts = _examined(story.facts, target, hashed)
        else:
            await asyncio.to_thread(_stage, item, target, limits)
            story.facts = await asyncio.to_thread(_examined, story.facts, target, hashed)
        if _is_stranger(item, story.facts, session.accepts):
            raise _UnwantedError

    source = InputFile(item.name, stage)
    context = replace(session.context, hooks=Hooks(story.begin))
    async with await run_attempt(source, session.pipeline, context=context) as finished:
        saved = await save(finished)
    result = finished.result
    return story.end(
        ItemStatus.SKIPPED if result.skipped else ItemStatus.COMPLETED,
        files=saved.files,
        data=result.data,
        warnings=(*result.warnings, *saved.warnings),
        skipped=result.skipped,
        step_ms=result.step_ms,
    )


def _facts(item: LocalInput) -> FileFacts:
    return FileFacts(
        path=item.path,
        name=item.name,
        bytes=item.bytes,
        mtime_ns=item.mtime_ns,
        entry=item.entry.name if item.entry else None,
    )


def _stage(item: LocalInput, target: Path, limits: Limits) -> None:
    with _reading(item):
        if item.entry:
            unpack_local(item.path, item.entry, target, limits=limits)
        elif item.read:
            with closing(item.read()) as pieces, disk.new_file(target) as made:
                made.writelines(pieces)
        else:
            link_or_copy(item.path, target)


def _examined(facts: FileFacts, staged: Path, hashed: bool) -> FileFacts:
    with staged.open("rb") as file:
        media = identify(file)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest() if hashed else None
        length = os.fstat(file.fileno()).st_size
    mime = media.mime if media else None
    return replace(facts, bytes=length, media_type=mime, sha256=sha256)


def _is_stranger(item: LocalInput, facts: FileFacts, accepts: Container[Family]) -> bool:
    """Say whether a file only lay beside the wanted ones: by its content, and by its name too.

    An empty `photo.jpg` is a photo that was lost, which its owner wants to hear of.
    """
    return not (item.named or _family(facts) in accepts or claimed_family(item.name) in accepts)


def _family(facts: FileFacts) -> Family | None:
    media = BY_MIME.get(facts.media_type or "")
    return media.family if media else None


@contextmanager
def _reading(item: LocalInput) -> Iterator[None]:
    try:
        with disk.full_disk_reported():
            yield
    except FileNotFoundError as error:
        raise InputMissingError(item.name) from error
    except OSError as error:
        raise UnreadableFileError(item.name, error.strerror or type(error).__name__) from error


def _note(error: ItemError | OutageError, story: _Story) -> None:
    logs.warning(
        Event.ITEM_FAILED,
        item=story.facts.name,
        attempt=story.attempts,
        code=error.code,
        detail=error.detail,
    )


def _failure(error: ItemError | OutageError) -> Failure:
    return Failure(error.code, error.message, error.retryable, error.step)
