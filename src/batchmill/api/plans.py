"""Dry runs: what a batch would be, and which of its files would not work."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from fastapi import Request

from batchmill.api import body, orders, submissions, uploads
from batchmill.api.context import Context
from batchmill.api.problems import checked
from batchmill.model.media import BY_MIME, TYPES, ZIP, sniff
from batchmill.model.pipeline import Pipeline
from batchmill.operations import registry
from batchmill.wire import asked, told

UNKNOWN: Final = "unknown"
_EXTENSIONS: Final = {media.extension: media.mime for media in TYPES} | {"jpeg": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that would be sent; `mime` is `UNKNOWN` for what nobody takes."""

    mime: str
    bytes: int


async def read(request: Request, asking: Context, folder: Path) -> told.Plan:
    """Read a form, or the names and sizes of files in JSON, and say what would become of it.

    The types of files in a form are read from their bytes, those in JSON from their names.

    Raises:
        RequestError: one of its kinds: the batch itself would be refused.
    """
    if body.media_type(request) == uploads.FORM:
        sent = await submissions.read(request, asking, folder)
        found = [Planned(_mime(file.head), file.bytes) for file in sent.files]
        return _plan(asking, sent.order.pipeline, found)
    parsed = await submissions.read_json(request, asking)
    wanted: asked.NewPlan = checked(asked.NewPlan, parsed.value, "The request")
    order = orders.of_options(asking.mill, wanted.pipeline, wanted)
    return _plan(asking, order.pipeline, [Planned(_by_name(f.name), f.bytes) for f in wanted.files])


def _plan(asking: Context, pipeline: Pipeline, files: Sequence[Planned]) -> told.Plan:
    numbers = Counter(file.mime for file in files)
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[file.mime] += file.bytes
    return told.Plan(
        files=len(files),
        bytes=sum(sizes.values()),
        types=[
            told.TypeCount(type=mime, files=number, bytes=sizes[mime])
            for mime, number in numbers.most_common()
        ],
        pipeline=pipeline.to_json(),
        problems=[*_too_large(asking, files), *_not_taken(pipeline, numbers)],
    )


def _too_large(asking: Context, files: Sequence[Planned]) -> list[str]:
    limits, problems = asking.limits, []
    large = sum(file.bytes > limits.file_bytes and file.mime != ZIP.mime for file in files)
    if large:
        problems.append(f"{large} file(s) over the limit of {limits.file_bytes / 1e6:g} MB.")
    if len(files) > limits.files_per_request:
        problems.append(f"More than {limits.files_per_request} files: send several requests.")
    if sum(file.bytes for file in files) > limits.batch_bytes:
        problems.append(f"Together over the limit of {limits.batch_bytes / 1e9:g} GB.")
    return problems


def _not_taken(pipeline: Pipeline, numbers: Counter[str]) -> list[str]:
    first = pipeline.steps[0].use
    accepts = registry.get(first).accepts
    return [
        f"{number} file(s) of type {mime}, which {first} does not take."
        for mime, number in numbers.most_common()
        if mime != ZIP.mime and (mime == UNKNOWN or BY_MIME[mime].family not in accepts)
    ]


def _mime(head: bytes) -> str:
    media = sniff(head)
    return media.mime if media else UNKNOWN


def _by_name(name: str) -> str:
    suffix = PurePosixPath(name).suffix.removeprefix(".").lower()
    return _EXTENSIONS.get(suffix, UNKNOWN)
