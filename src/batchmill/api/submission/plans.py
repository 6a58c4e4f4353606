"""Dry runs: what a batch would be, which of its files would not work, how long it would take."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from fastapi import Request

from batchmill.api.context import RequestContext
from batchmill.api.http import json_body
from batchmill.api.http.problems import checked
from batchmill.api.submission import estimates, form_files, orders, submissions
from batchmill.archives.index import ArchiveLimits, index_archive
from batchmill.errors.amounts import count, size
from batchmill.errors.request import ConflictError
from batchmill.model import pipeline as pipelines
from batchmill.model.batch import Batch, BatchStatus
from batchmill.model.media import BY_MIME, TYPES, ZIP
from batchmill.model.pipeline import Pipeline
from batchmill.operations import registry
from batchmill.service.queries import ItemFilter
from batchmill.service.submission.store_files import SentFile, media_of
from batchmill.wire import requests, responses

UNKNOWN: Final = "unknown"
_EXTENSIONS: Final = {media.extension: media.mime for media in TYPES} | {"jpeg": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that would be sent; `mime` is `UNKNOWN` for what nobody takes."""

    name: str
    mime: str
    bytes: int


@dataclass(slots=True)
class _Seen:
    """What was seen of the files: how many and large by type, and the first few themselves."""

    sample_files: int
    numbers: Counter[str]
    sizes: Counter[str]
    sample: list[Planned]

    @classmethod
    def of(cls, files: Iterable[Planned], sample_files: int) -> "_Seen":
        seen = cls(sample_files, Counter(), Counter(), [])
        seen.add(files)
        return seen

    def add(self, files: Iterable[Planned]) -> None:
        for file in files:
            self.numbers[file.mime] += 1
            self.sizes[file.mime] += file.bytes
            if len(self.sample) < self.sample_files:
                self.sample.append(file)


async def read(
    request: Request, ctx: RequestContext, folder: Path, *, sample: int
) -> responses.Plan:
    """Read a form, or the names and sizes of files in JSON, and say what would become of it.

    The types of files in a form are read from their bytes; those in JSON, and the entries of
    archives, are told by their names. The first `sample` files are named.

    Raises:
        RequestError: one of its kinds: the batch itself would be refused.
    """
    if json_body.media_type(request) == form_files.FORM:
        sent = await submissions.read(request, ctx, folder)
        files = [file for file in sent.files if isinstance(file, SentFile)]
        planned = await asyncio.to_thread(lambda: [*_planned(files, ctx)])
        kept_back = len(sent.files) - len(files)
        problems = _too_large(ctx, [(file.bytes, True) for file in files], kept_back)
        return await _plan(ctx, sent.order.pipeline, _Seen.of(planned, sample), problems)
    parsed = await submissions.read_json(request, ctx)
    wanted: requests.NewPlan = checked(requests.NewPlan, parsed.value, "The request")
    order = orders.of_options(ctx.server, wanted.pipeline, wanted)
    planned = [Planned(file.name, _by_name(file.name), file.bytes) for file in wanted.files]
    problems = _too_large(ctx, [(file.bytes, file.mime == ZIP.mime) for file in planned])
    return await _plan(ctx, order.pipeline, _Seen.of(planned, sample), problems)


async def of_batch(batch: Batch, ctx: RequestContext, *, sample: int) -> responses.Plan:
    """Say the same of a batch that exists: of all its files, ended or not.

    Raises:
        ConflictError: its first files are still arriving.
    """
    if batch.status is BatchStatus.UPLOADING:
        raise ConflictError("The batch's files are still arriving; ask again when they are here.")
    seen = _Seen.of((), sample)
    async for items in ctx.reading.every_item(batch, ItemFilter()):
        found = (item.input for item in items)
        seen.add(
            Planned(each.name, each.media_type or _by_name(each.name), each.bytes) for each in found
        )
    return await _plan(ctx, pipelines.parse(batch.pipeline), seen, [])


async def _plan(
    ctx: RequestContext, pipeline: Pipeline, seen: _Seen, problems: Sequence[str]
) -> responses.Plan:
    refused = {mime: _refusal(pipeline, mime) for mime in seen.numbers}
    files = seen.numbers.total()
    return responses.Plan(
        files=files,
        bytes=seen.sizes.total(),
        types=[
            responses.TypeCount(type=mime, files=number, bytes=seen.sizes[mime])
            for mime, number in seen.numbers.most_common()
        ],
        pipeline=pipeline.to_json(),
        problems=[
            *problems,
            *(f"{seen.numbers[mime]} file(s): {why}" for mime, why in refused.items() if why),
        ],
        sample=[
            responses.SampledFile(
                name=each.name, type=each.mime, bytes=each.bytes, problem=refused[each.mime]
            )
            for each in seen.sample
        ],
        estimate=await estimates.estimate(ctx, pipeline, files),
    )


def _planned(files: Sequence[SentFile], ctx: RequestContext) -> Iterator[Planned]:
    """Yield the files as the items they would become: an archive is its entries."""
    tier = ctx.limits
    limits = ArchiveLimits(tier.archive_entries, tier.archive_bytes, tier.entry_bytes)
    for file in files:
        media = media_of(file)
        if media is not ZIP:
            yield Planned(file.name, media.mime if media else UNKNOWN, file.bytes)
            continue
        for page in index_archive(file.path, name=file.name, limits=limits).pages(""):
            yield from (Planned(each.name, _by_name(each.name), each.bytes) for each in page)


def _too_large(
    ctx: RequestContext, files: Sequence[tuple[int, bool]], kept_back: int = 0
) -> list[str]:
    """Name the limits that files, given as bytes and whether each is an archive, would break.

    `kept_back` more were so large that their bytes were not kept.
    """
    limits, problems = ctx.limits, []
    large = kept_back + sum(size > limits.file_bytes and not packed for size, packed in files)
    if large:
        problems.append(f"{count(large, 'file')} over the limit of {size(limits.file_bytes)}.")
    if len(files) > limits.files_per_request:
        problems.append(f"More than {limits.files_per_request} files: send several requests.")
    if sum(size for size, _ in files) > limits.batch_bytes:
        problems.append(f"Together over the limit of {size(limits.batch_bytes)}.")
    return problems


def _refusal(pipeline: Pipeline, mime: str) -> str | None:
    """Say why a type would fail, if it would. An archive in a list of names is taken for full."""
    first = pipeline.steps[0].use
    if mime == ZIP.mime or (
        mime in BY_MIME and BY_MIME[mime].family in registry.get(first).accepts
    ):
        return None
    return f"{first} does not take files of type {mime}."


def _by_name(name: str) -> str:
    suffix = PurePosixPath(name).suffix.removeprefix(".").lower()
    return _EXTENSIONS.get(suffix, UNKNOWN)
