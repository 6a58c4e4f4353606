"""Files of a multipart form, on their way to the disk."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from uuid import uuid4

from fastapi import Request

from batchmill.api.context import RequestContext
from batchmill.api.http import json_body
from batchmill.api.http.multipart import (
    AnyFile,
    Form,
    FormLimits,
    OnFields,
    RefusedFile,
    receive_form,
    require_space,
)
from batchmill.errors.request import (
    InvalidFieldError,
)
from batchmill.model.filenames import label
from batchmill.service.submission.store_files import AbsentFile, AnySent, SentFile

FORM = "multipart/form-data"
FILES = "files"
FORM_OVERHEAD_BYTES = 1_000_000
"""What a form may add to its files: boundaries, headers, fields."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form brought: its files, its other fields, and a digest of both.

    The digest is of contents, not of the body: a repeat has another boundary.
    """

    files: Sequence[AnySent]
    fields: dict[str, str]
    sha256: str


@asynccontextmanager
async def landing(ctx: RequestContext) -> AsyncIterator[Path]:
    """Make a folder for the files of one request; what is left in it goes when the block ends."""
    folder = ctx.server.uploads / uuid4().hex
    await asyncio.to_thread(folder.mkdir, parents=True)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def receive(
    request: Request,
    ctx: RequestContext,
    folder: Path,
    *,
    fields: Sequence[str] = (),
    check: Callable[[dict[str, str]], object] | None = None,
) -> Sent:
    """Stream a form's `files` into `folder`; `fields` names the other fields it may have.

    `check` sees those that come before the files, so that a wrong order is refused before they
    have been sent.

    Raises:
        TooLargeError, MalformedUploadError, StorageFullError: as `receive_form`.
        InvalidFieldError: a field is unknown or came twice.
    """

    def before_files(given: Mapping[str, list[str]]) -> None:
        if check is not None:
            check({name: given[name][0] for name in fields if name in given})

    limits = form_limits(ctx)
    form = await receive_all(request, ctx, folder, limits, before_files=before_files)
    for file in form.files:
        _refuse_unknown(file.field, [FILES])
    single = {name: _single(name, values, fields) for name, values in form.fields.items()}
    return sent(form, single)


async def receive_all(
    request: Request,
    ctx: RequestContext,
    folder: Path,
    limits: FormLimits,
    *,
    before_files: OnFields = lambda _fields: None,
) -> Form:
    """Stream a form into `folder`, whatever its fields are called.

    Raises: as `receive_form`.
    """
    expected = request.headers.get("content-length", "")
    if expected.isdecimal():
        await asyncio.to_thread(require_space, folder, limits, expected_bytes=int(expected))
    return await receive_form(
        json_body.stream(request, silence_s=ctx.server.settings.body_timeout_s),
        request.headers.get("content-type", ""),
        folder=folder,
        limits=limits,
        before_files=before_files,
    )


def sent(form: Form, fields: dict[str, str]) -> Sent:
    """Return what a form brought, once its fields are checked."""
    return Sent([_sent(file) for file in form.files], fields, _digest(form.files, fields))


def form_limits(ctx: RequestContext) -> FormLimits:
    """Return the limits of the caller's tier for one form."""
    limits, settings = ctx.limits, ctx.server.settings
    return FormLimits(
        file_bytes=limits.file_bytes,
        zip_bytes=limits.zip_bytes,
        request_bytes=limits.whole_batch_bytes,
        files=limits.files_per_request,
        field_bytes=settings.json_bytes,
        reserve_bytes=settings.disk_reserve_bytes,
        overhead_bytes=FORM_OVERHEAD_BYTES,
        tier=ctx.caller.tier,
    )


def _single(name: str, values: list[str], known: Sequence[str]) -> str:
    if name == FILES:
        raise InvalidFieldError("`files` must be files; give each part a file name.")
    _refuse_unknown(name, [FILES, *known])
    if len(values) > 1:
        raise InvalidFieldError(f"The form has `{name}` more than once.")
    return values[0]


def _refuse_unknown(name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    near = get_close_matches(name, known, n=1) or known
    names = " or ".join(f"`{each}`" for each in near)
    raise InvalidFieldError(f"The form has no field `{label(name)}`. Did you mean {names}?")


def _sent(file: AnyFile) -> AnySent:
    if isinstance(file, RefusedFile):
        return AbsentFile.too_large(file.name, file.limit_bytes)
    return SentFile(file.path, file.name, file.head, file.bytes, file.sha256)


def _digest(files: Sequence[AnyFile], fields: dict[str, str]) -> str:
    prints = [
        (file.name, file.bytes if isinstance(file, RefusedFile) else file.sha256) for file in files
    ]
    content = [sorted(fields.items()), prints]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
