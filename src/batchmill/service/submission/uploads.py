"""Uploads: a file arrives over several requests, then a batch takes it.

The row says whose it is and how long it will be; the file beside it, in a folder that all servers
share, says how much has arrived. The transaction that starts the batch removes the row: whoever
comes second finds nothing, and a kill at any moment leaves either the upload or the batch.

A direct upload is one that its sender puts into the bucket; what lies there says what has arrived.
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
from batchmill.errors.amounts import size
from batchmill.errors.item import InputLostError
from batchmill.errors.outage import OutageError
from batchmill.errors.request import (
    ConflictError,
    InvalidFieldError,
    NoDirectUploadsError,
    NotFoundError,
    TooLargeError,
    TooManyUploadsError,
    UploadSizeError,
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
from batchmill.storage import disk, growing, keys
from batchmill.storage.base import LONGEST_SIGNATURE_S
from batchmill.storage.disk import PIECE_BYTES, FreeSpace
from batchmill.storage.growing import Checksum

CHUNK_ROWS = 1_000
LENT_AT_ONCE = 8
"""Uploads of one request that are looked at, or fetched from the bucket, side by side."""
LARGEST_PUT_BYTES = 5_000_000_000
"""What S3 takes in one request."""
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
    _refuse_too_large(name, length_bytes, caller, limits)
    space = _space(server)
    await asyncio.to_thread(space.require, length_bytes)
    values = {"name": label(name), "length_bytes": length_bytes, "metadata": metadata}
    values["expiry_ms"] = server.settings.upload_expiry_s * 1000
    upload = await server.database.run(_enter, server, caller, upload_id, **values)
    await asyncio.to_thread(growing.begin, space, _path(server, upload_id))
    return upload


async def begin_direct(
    server: ServerContext, caller: Caller, *, name: str, length_bytes: int
) -> tuple[Upload, str]:
    """Make an upload whose bytes go to the bucket; return it and the address to PUT them to.

    Raises:
        NoDirectUploadsError: the storage is no bucket, or none that we can sign addresses of.
        TooLargeError, TooManyUploadsError: as `begin`.
    """
    upload_id, limits = ids.direct_upload_id(), server.settings.tier(caller.tier)
    valid_s = min(server.settings.upload_expiry_s, LONGEST_SIGNATURE_S)
    address = await server.storage.put_address(
        keys.upload_key(upload_id), length_bytes=length_bytes, expires_s=valid_s
    )
    if address is None:
        raise NoDirectUploadsError
    _refuse_too_large(name, length_bytes, caller, limits)
    if length_bytes > LARGEST_PUT_BYTES:
        raise TooLargeError(
            f"{name} is larger than {size(LARGEST_PUT_BYTES)}, which a bucket takes in one request;"
            " send it by tus: `POST /v1/uploads` with `Upload-Length`."
        )
    values = {"name": label(name), "length_bytes": length_bytes, "metadata": ""}
    values["expiry_ms"] = valid_s * 1000
    return await server.database.run(_enter, server, caller, upload_id, **values), address


async def get_upload(
    server: ServerContext, caller: Caller, upload_id: UploadId
) -> tuple[Upload, int]:
    """Return an upload and how many of its bytes have arrived.

    Raises:
        NotFoundError: there is none, its time is over, or a batch has taken it.
    """
    upload = await server.database.read(_get, upload_id, caller.owner_id)
    if keys.is_direct_upload(upload_id):
        return upload, await _bytes_in_bucket(server, upload_id)
    try:
        return upload, await asyncio.to_thread(growing.arrived_bytes, _path(server, upload_id))
    except FileNotFoundError as error:
        raise NotFoundError("upload", upload_id) from error


async def _bytes_in_bucket(server: ServerContext, upload_id: UploadId) -> int:
    try:
        return await server.storage.size_bytes(keys.upload_key(upload_id))
    except NotFoundError:
        return 0


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
        ConflictError: its bytes go to the bucket.
        TooLargeError: it is no ZIP, and larger than other files may be; or longer than it said.
        UploadBusyError, UploadOffsetError, ChecksumError, StorageFullError: as `growing.append`.
    """
    if keys.is_direct_upload(upload.id):
        raise ConflictError("The bytes of this upload go to the bucket; PUT them to its address.")
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
    with suppress(OutageError):  # then it is found as an orphan
        await _remove_direct(server, [upload_id])


@asynccontextmanager
async def taken(
    server: ServerContext, caller: Caller, files: Sequence[AnyFile]
) -> AsyncIterator[tuple[list[AnySent], Take]]:
    """Yield all files as files of ours, and what takes uploads of some: a part of a transaction.

    The files are second names of the uploads', which stay until the transaction has happened: if
    anything fails, the uploads can be used again.

    Raises:
        NotFoundError: an upload is gone; the transaction raises it too.
        UploadUnfinishedError: a part is missing. UploadSizeError: it is longer than it may be.
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
        if lent:
            await asyncio.to_thread(_unlink, list(lent))
            await _remove_taken(server, set(lent.values()))


async def _remove_taken(server: ServerContext, lent: Collection[UploadId]) -> None:
    """Remove the files of uploads that were there before and have been taken, all or some."""
    with suppress(OutageError):  # then they are found as orphans
        left = await server.database.read(uploads.existing, lent)
        taken = [_path(server, upload_id) for upload_id in lent if upload_id not in left]
        await asyncio.to_thread(_unlink, taken)
        await _remove_direct(server, [id_ for id_ in lent if id_ not in left])


async def _remove_direct(server: ServerContext, gone: Collection[UploadId]) -> None:
    found = [keys.upload_key(upload_id) for upload_id in gone if keys.is_direct_upload(upload_id)]
    if found:
        await server.storage.delete(found)


async def tidy(server: ServerContext) -> None:
    """Remove uploads whose time is over, and in time what no upload has; every server does it."""
    files = await asyncio.to_thread(growing.files, server.settings.uploads_folder)
    while over := await server.database.read(uploads.expired, limit=CHUNK_ROWS):
        # The files first: while its row stands, an upload is known, and so is that it is over.
        paths = [path for upload_id in over for path in files.get(upload_id, ())]
        await asyncio.to_thread(_unlink, paths)
        await _remove_direct(server, over)
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
    uploads.insert(conn, upload_id, owner_id=caller.owner_id, **values)
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
    wanted = [file for file in files if isinstance(file, UploadedFile)]
    if not wanted:
        return [file for file in files if not isinstance(file, UploadedFile)]
    sent_bytes = sum(file.bytes for file in files if isinstance(file, SentFile))
    found = iter(await _lend_some_at_once(server, caller, wanted, lent, beside_bytes=sent_bytes))
    return [next(found) if isinstance(file, UploadedFile) else file for file in files]


async def _lend_some_at_once(
    server: ServerContext,
    caller: Caller,
    files: Sequence[UploadedFile],
    lent: dict[Path, UploadId],
    *,
    beside_bytes: int,
) -> list[AnySent]:
    """Lend uploads, until one must not be or all are too much for a batch with others beside."""
    most_bytes, total_bytes = server.settings.tier(caller.tier).whole_batch_bytes, beside_bytes
    free_slots = asyncio.Semaphore(LENT_AT_ONCE)

    async def lend(file: UploadedFile) -> AnySent:
        nonlocal total_bytes
        async with free_slots:
            found = await _lend(server, caller, file, lent)
        total_bytes += found.bytes if isinstance(found, SentFile) else 0
        if total_bytes > most_bytes:
            raise too_much(most_bytes, caller.tier)
        return found

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(lend(file)) for file in files]
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]


async def _lend(
    server: ServerContext, caller: Caller, file: UploadedFile, lent: dict[Path, UploadId]
) -> AnySent:
    upload, arrived = await get_upload(server, caller, file.upload_id)
    is_direct = keys.is_direct_upload(upload.id)
    if is_direct and arrived not in {0, upload.length_bytes}:
        raise UploadSizeError(upload.name, arrived, upload.length_bytes)
    if arrived < upload.length_bytes:
        raise UploadUnfinishedError(upload.name, arrived, upload.length_bytes)
    path = _path(server, upload.id).with_name(f"{upload.id}.{uuid4().hex}")
    lent[path] = upload.id
    if is_direct:
        await _fetch(server, upload, path)
    else:
        await disk.in_thread(os.link, _path(server, upload.id), path)
    head, sha256 = await asyncio.to_thread(_read, path)
    limits = server.settings.tier(caller.tier)
    name = label(file.name) if file.name else upload.name
    if upload.length_bytes > limits.file_bytes and sniff(head) is not ZIP:
        return AbsentFile.too_large(name, limits.file_bytes, file.custom_id)
    return SentFile(path, name, head, upload.length_bytes, sha256, file.custom_id)


async def _fetch(server: ServerContext, upload: Upload, path: Path) -> None:
    """Bring the bytes of a direct upload here: its sender can still change those in the bucket."""
    await asyncio.to_thread(_space(server).require, upload.length_bytes)
    key = keys.upload_key(upload.id)
    try:
        await server.storage.fetch_range(key, path, start=0, length=upload.length_bytes)
    except InputLostError as error:
        raise UploadUnfinishedError(upload.name, 0, upload.length_bytes) from error


def _read(path: Path) -> tuple[bytes, str]:
    """Return the first bytes of a file and its hash."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
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


def _refuse_too_large(name: str, length_bytes: int, caller: Caller, limits: TierLimits) -> None:
    """Refuse what is larger than any file may be; what is no ZIP may be smaller."""
    most_bytes = max(limits.file_bytes, limits.zip_bytes)
    if length_bytes > most_bytes:
        named = "file_bytes" if limits.file_bytes > limits.zip_bytes else "zip_bytes"
        raise over_size(name, most_bytes, tier_variable(caller.tier, named))


def _path(server: ServerContext, upload_id: UploadId) -> Path:
    return server.settings.uploads_folder / upload_id


def _space(server: ServerContext) -> FreeSpace:
    return FreeSpace(server.settings.uploads_folder, server.settings.disk_reserve_bytes)


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # `tidy` comes again
            path.unlink()
