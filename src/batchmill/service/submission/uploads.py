"""Uploads: a file arrives over several requests, then a batch takes it.

The row says whose it is and how long it will be; the file beside it, in a folder that all servers
share, says how much has arrived. The transaction that starts the batch removes the row: whoever
comes second finds nothing, and a kill at any moment leaves either the upload or the batch.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from batchmill.db import uploads
from batchmill.db.connect import Connection
from batchmill.db.orphans import UPLOADS
from batchmill.errors.outage import OutageError
from batchmill.errors.request import (
    InvalidFieldError,
    NotFoundError,
    TooManyUploadsError,
    UploadUnfinishedError,
    over_size,
)
from batchmill.model import ids
from batchmill.model.batch import OwnerId
from batchmill.model.filenames import label
from batchmill.model.media import SNIFF_BYTES, ZIP, sniff
from batchmill.model.upload import Upload, UploadId
from batchmill.service import orphans, stores
from batchmill.service.context import ServerContext
from batchmill.service.orphans import StoreKind
from batchmill.service.submission.store_files import AbsentFile, AnySent, SentFile
from batchmill.service.submission.submit import Also, Caller, Take, too_much
from batchmill.settings.fields import TierLimits, tier_variable
from batchmill.storage import growing
from batchmill.storage.disk import PIECE_BYTES, FreeSpace
from batchmill.storage.growing import Checksum

CHUNK_ROWS = 1_000
_ZIP_HEAD_BYTES = 4


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A finished upload, named as a file of a batch; without a `name` it keeps its own."""

    upload_id: UploadId
    name: str | None = None
    custom_id: str | None = None


AnyFile = AnySent | UploadedFile


async def begin(
    server: ServerContext, caller: Caller, *, name: str, length_bytes: int, metadata: str
) -> Upload:
    """Make an upload of which nothing has arrived.

    Raises:
        TooLargeError: it would be larger than any file may be.
        StorageFullError: it would not fit on the disk.
        TooManyUploadsError: the caller has too many already, or too large ones.
    """
    limits, upload_id = server.settings.tier(caller.tier), ids.upload_id()
    most_bytes = max(limits.file_bytes, limits.zip_bytes)
    if length_bytes > most_bytes:
        named = "file_bytes" if limits.file_bytes > limits.zip_bytes else "zip_bytes"
        raise over_size(name, most_bytes, tier_variable(caller.tier, named))
    space = _space(server)
    await asyncio.to_thread(space.require, length_bytes)
    values = {"name": label(name), "length_bytes": length_bytes, "metadata": metadata}
    upload = await server.database.run(_enter, server, caller, upload_id, **values)
    await asyncio.to_thread(growing.begin, space, _path(server, upload_id))
    return upload


async def get_upload(
    server: ServerContext, caller: Caller, upload_id: UploadId
) -> tuple[Upload, int]:
    """Return an upload and how many of its bytes have arrived.

    Raises:
        NotFoundError: there is none, its time is over, or a batch has taken it.
    """
    upload = await server.database.read(_get, upload_id, caller.owner_id)
    try:
        return upload, await asyncio.to_thread(growing.arrived_bytes, _path(server, upload_id))
    except FileNotFoundError as error:
        raise NotFoundError("upload", upload_id) from error


async def append(
    server: ServerContext,
    caller: Caller,
    upload: Upload,
    pieces: AsyncIterator[bytes],
    *,
    offset_bytes: int,
    checksum: Checksum | None = None,
) -> Upload:
    """Write bytes behind what has arrived, and put off the end of the upload.

    Raises:
        NotFoundError: the upload is gone.
        TooLargeError: it is no ZIP, and larger than other files may be; or longer than it said.
        UploadBusyError, UploadOffsetError, ChecksumError, StorageFullError: as `growing.append`.
    """
    await server.database.run(_extend, server, caller, upload.id)
    limits = server.settings.tier(caller.tier)
    if offset_bytes == 0:
        pieces = _of_allowed_size(upload, pieces, limits, caller.tier)
    try:
        await growing.append(
            _space(server),
            _path(server, upload.id),
            pieces,
            offset_bytes=offset_bytes,
            length_bytes=upload.length_bytes,
            checksum=checksum,
        )
    except FileNotFoundError as error:
        raise NotFoundError("upload", upload.id) from error
    return await server.database.run(_extend, server, caller, upload.id)


async def remove(server: ServerContext, caller: Caller, upload_id: UploadId) -> None:
    """Remove an upload and what has arrived of it.

    Raises:
        NotFoundError: there is none.
    """
    await server.database.run(_take, [upload_id], caller.owner_id)
    await asyncio.to_thread(_path(server, upload_id).unlink, missing_ok=True)


@asynccontextmanager
async def taken(
    server: ServerContext, caller: Caller, files: Sequence[AnyFile]
) -> AsyncIterator[tuple[list[AnySent], Take]]:
    """Yield all files as files of ours, and what takes uploads of some: a part of a transaction.

    The files are second names of the uploads', which stay until the transaction has happened: if
    anything fails, the uploads can be used again.

    Raises:
        NotFoundError: an upload is gone; the transaction raises it too.
        UploadUnfinishedError: a part is missing.
        TooLargeError: all together are over the limit of a batch.
        InvalidFieldError: one is named twice.
    """
    wanted = [file.upload_id for file in files if isinstance(file, UploadedFile)]
    if len(set(wanted)) < len(wanted):
        raise InvalidFieldError("An upload can be used once only; `inputs` names one twice.")
    lent: dict[Path, UploadId] = {}

    def take(files: Sequence[AnySent]) -> Also:
        paths = [file.path for file in files if isinstance(file, SentFile)]
        ours = [lent[path] for path in paths if path in lent]
        return lambda conn: _take(conn, ours, caller.owner_id)

    try:
        yield await _all_lent(server, caller, files, lent), take
    finally:
        await asyncio.to_thread(_unlink, list(lent))
        await _remove_taken(server, set(lent.values()))


async def _remove_taken(server: ServerContext, lent: Collection[UploadId]) -> None:
    """Remove the files of uploads that were there before and have been taken, all or some."""
    with suppress(OutageError):  # then they are found as orphans
        left = await server.database.read(uploads.existing, lent) if lent else set()
        taken = [_path(server, upload_id) for upload_id in lent if upload_id not in left]
        await asyncio.to_thread(_unlink, taken)


async def tidy(server: ServerContext) -> None:
    """Remove uploads whose time is over, and in time what no upload has; every server does it."""
    files = await asyncio.to_thread(growing.files, server.settings.uploads_folder)
    while over := await server.database.read(uploads.expired, limit=CHUNK_ROWS):
        # The files first: while its row stands, an upload is known, and so is that it is over.
        paths = [path for upload_id in over for path in files.get(upload_id, ())]
        await asyncio.to_thread(_unlink, paths)
        await server.database.run(uploads.forget_expired, over)
    kind = StoreKind(
        UPLOADS, stores.of_uploads(server), uploads.existing, partial(_remove_files, files)
    )
    if await orphans.may_be_removed(server, kind):
        await orphans.remove(server, kind, files)


async def _remove_files(files: Mapping[UploadId, Sequence[Path]], name: str) -> None:
    await asyncio.to_thread(_unlink, files[UploadId(name)])


def _enter(
    conn: Connection,
    server: ServerContext,
    caller: Caller,
    upload_id: UploadId,
    /,
    **values: Any,  # noqa: ANN401 - columns
) -> Upload:
    limits = server.settings.tier(caller.tier)
    number, total_bytes = uploads.held(conn, caller.owner_id)
    total_bytes += values["length_bytes"]
    if number >= limits.open_uploads or total_bytes > limits.open_uploads_bytes:
        raise TooManyUploadsError(limits.open_uploads, limits.open_uploads_bytes)
    expiry_ms = server.settings.upload_expiry_s * 1000
    uploads.insert(conn, upload_id, owner_id=caller.owner_id, expiry_ms=expiry_ms, **values)
    return _get(conn, upload_id, caller.owner_id)


def _extend(conn: Connection, server: ServerContext, caller: Caller, upload_id: UploadId) -> Upload:
    expiry_ms = server.settings.upload_expiry_s * 1000
    uploads.extend(conn, upload_id, owner_id=caller.owner_id, expiry_ms=expiry_ms)
    return _get(conn, upload_id, caller.owner_id)


def _get(conn: Connection, upload_id: UploadId, owner_id: OwnerId) -> Upload:
    upload = uploads.get(conn, upload_id, owner_id=owner_id)
    if upload is None:
        raise NotFoundError("upload", upload_id)
    return upload


def _take(conn: Connection, wanted: Sequence[UploadId], owner_id: OwnerId) -> None:
    for upload_id in sorted(wanted):  # in one order, so that two takers can't block each other
        if not uploads.remove(conn, upload_id, owner_id=owner_id):
            raise NotFoundError("upload", upload_id)


async def _all_lent(
    server: ServerContext, caller: Caller, files: Sequence[AnyFile], lent: dict[Path, UploadId]
) -> list[AnySent]:
    most_bytes = server.settings.tier(caller.tier).whole_batch_bytes
    total_bytes, found = 0, list[AnySent]()
    for each in files:
        file = await _lend(server, caller, each, lent) if isinstance(each, UploadedFile) else each
        total_bytes += file.bytes if isinstance(file, SentFile) else 0
        if lent and total_bytes > most_bytes:
            raise too_much(most_bytes, caller.tier)
        found.append(file)
    return found


async def _lend(
    server: ServerContext, caller: Caller, file: UploadedFile, lent: dict[Path, UploadId]
) -> AnySent:
    upload, arrived = await get_upload(server, caller, file.upload_id)
    if arrived < upload.length_bytes:
        raise UploadUnfinishedError(upload.name, arrived, upload.length_bytes)
    path = _path(server, upload.id).with_name(f"{upload.id}.{uuid4().hex}")
    lent[path] = upload.id
    head, sha256 = await asyncio.to_thread(_link, _path(server, upload.id), path)
    limits = server.settings.tier(caller.tier)
    name = label(file.name) if file.name else upload.name
    if upload.length_bytes > limits.file_bytes and sniff(head) is not ZIP:
        return AbsentFile.too_large(name, limits.file_bytes, file.custom_id)
    return SentFile(path, name, head, upload.length_bytes, sha256, file.custom_id)


def _link(path: Path, other: Path) -> tuple[bytes, str]:
    """Give a file a second name; return its first bytes and its hash."""
    os.link(path, other)
    digest = hashlib.sha256()
    with other.open("rb") as opened:
        head = opened.read(SNIFF_BYTES)
        digest.update(head)
        while piece := opened.read(PIECE_BYTES):
            digest.update(piece)
    return head, digest.hexdigest()


async def _of_allowed_size(
    upload: Upload, pieces: AsyncIterator[bytes], limits: TierLimits, tier: str
) -> AsyncIterator[bytes]:
    """Refuse what is too large as soon as its first bytes say that it is no ZIP."""
    head = b""
    async for piece in pieces:
        if len(head) < _ZIP_HEAD_BYTES:
            head += piece[:SNIFF_BYTES]
            known = len(head) >= _ZIP_HEAD_BYTES
            if known and upload.length_bytes > limits.file_bytes and sniff(head) is not ZIP:
                raise over_size(upload.name, limits.file_bytes, tier_variable(tier, "file_bytes"))
        yield piece


def _path(server: ServerContext, upload_id: UploadId) -> Path:
    return server.settings.uploads_folder / upload_id


def _space(server: ServerContext) -> FreeSpace:
    return FreeSpace(server.settings.uploads_folder, server.settings.disk_reserve_bytes)


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # `tidy` comes again
            path.unlink()
