"""How files arrive in the dialects of the reference documents, and the batch they become."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fastapi import Request

from batchmill.api.context import RequestContext
from batchmill.api.submission import form_files
from batchmill.api.submission.form_files import Sent
from batchmill.errors.request import (
    InvalidFieldError,
    TooManyFilesError,
    WrongFileCountError,
    WrongFileTypeError,
)
from batchmill.model.batch import Batch
from batchmill.model.filenames import label
from batchmill.model.media import MediaType
from batchmill.model.priority import TIER_PRIORITY
from batchmill.service.submission import submit
from batchmill.service.submission.store_files import AbsentFile, SentFile, media_of
from batchmill.service.submission.submit import Also, Order

TOKEN_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Expected:
    """What a form brings: 1 to `most` files of `file_bytes` each, in one of `fields`.

    `setting` raises `file_bytes`, or `zip_bytes` where that is given.
    """

    fields: tuple[str, ...]
    most: int
    file_bytes: int
    setting: str
    zip_bytes: int | None = None


async def receive(request: Request, ctx: RequestContext, folder: Path, expected: Expected) -> Sent:
    """Stream a form into `folder`. Fields that nobody asked for are left alone.

    Raises:
        WrongFileCountError: there is no file, or too many.
        InvalidFieldError: a file came in another field.
        TooLargeError, MalformedUploadError, StorageFullError: as `uploads.receive_all`.
    """
    limits = replace(
        form_files.form_limits(ctx),
        files=expected.most,
        file_bytes=expected.file_bytes,
        zip_bytes=expected.zip_bytes or expected.file_bytes,
        setting=expected.setting,
    )
    try:
        form = await form_files.receive_all(request, ctx, folder, limits)
    except TooManyFilesError as error:
        raise WrongFileCountError(expected.most) from error
    for file in form.files:
        if file.field not in expected.fields:
            wanted = " or ".join(f"`{name}`" for name in expected.fields)
            raise InvalidFieldError(f"Send files in the field {wanted}, not `{label(file.field)}`.")
    if not form.files:
        raise WrongFileCountError(expected.most)
    return form_files.sent(form, {name: values[-1] for name, values in form.fields.items()})


async def require_types(
    files: Sequence[SentFile | AbsentFile],
    takes: Callable[[SentFile, MediaType], bool],
    *,
    wanted: str,
) -> None:
    """Look into every file and refuse the first that is not wanted.

    Raises:
        WrongFileTypeError: there is one; the message names it and what `wanted` says.
    """
    for file in files:
        if isinstance(file, AbsentFile):
            continue
        media = await asyncio.to_thread(media_of, file)
        if media is None or not takes(file, media):
            found = media.mime if media else "of no type that is known here"
            raise WrongFileTypeError(file.name, found, wanted)


def lowered(ctx: RequestContext, tier: str | None) -> RequestContext:
    """Return the context of a caller who asks for a lower tier; a higher one is not heard."""
    caller = ctx.caller
    if tier not in TIER_PRIORITY or TIER_PRIORITY[tier] <= TIER_PRIORITY[caller.tier]:
        return ctx
    return replace(ctx, caller=replace(caller, tier=tier))


async def start(
    ctx: RequestContext,
    order: Order,
    files: Sequence[SentFile | AbsentFile],
    *,
    also: Also = submit.nothing,
) -> Batch:
    """Start a batch whose results can be read by whoever gets their addresses.

    `also` happens in the transaction that starts it. Raises: as `submit.accept`.
    """
    server, caller = ctx.server, ctx.caller
    order = replace(order, result_token=secrets.token_hex(TOKEN_BYTES))
    async with submit.drafted(server, caller) as batch_id:
        await submit.accept(server, batch_id, caller, order=order, files=files, also=also)
    return await ctx.reading.batch(batch_id)
