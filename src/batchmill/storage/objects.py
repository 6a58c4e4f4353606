"""A storage in a bucket: S3 and what speaks it (R2, MinIO, SeaweedFS), Google Cloud, Azure.

Everything is read in windows of one ranged request each, so that a slow reader holds 4 MiB and no
connection, and a time limit counts for a window and not for a whole file.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from batchmill.errors.item import InputLostError
from batchmill.errors.outage import StorageDamagedError, StorageUnavailableError
from batchmill.errors.request import NotFoundError, UsageError
from batchmill.model.filenames import disposition
from batchmill.storage import disk
from batchmill.storage.base import LONGEST_SIGNATURE_S
from batchmill.storage.keys import check_key, check_prefix
from batchmill.storage.s3_uploads import S3Uploads

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ClientConfig, RetryConfig, S3Config

WINDOW_BYTES = 4 * disk.PIECE_BYTES
PART_BYTES = 8 * 2**20
PARTS_AT_ONCE = 4
ENDING_S = 10.0
"""How long a request that is on its way may take after its caller was cancelled."""

CACHING = "public, max-age=3600"
"""What a CDN and browsers may do with results: they never change under their key."""

_IDS = re.compile(r"\b(bat|itm)_[0-9a-z]+")
_LIST_AT_ONCE = 1_000
_DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the bucket is, as `s3://bucket/prefix`, `gs://…` or `az://…`, and who asks.

    Without keys, S3 takes them from its usual places (environment, instance role); Google and
    Azure always do. With `virtual_host` the bucket's name stands in the host of each request,
    also in that of `endpoint`.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    virtual_host: bool = False


@dataclass(frozen=True, slots=True)
class _Window:
    """One range of an object of `size`; `sha256` is that of the whole, where it is known."""

    body: memoryview
    size: int
    sha256: str | None = None


class ObjectStorage:
    """Keeps bytes in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._store = _open_store(bucket)
        self._uploads = _uploads(bucket)

    async def put(
        self,
        key: str,
        path: Path,
        *,
        media_type: str,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Upload the file, in parts when it is large, and remove it here.

        What is sent is signed with its SHA-256, so that a flipped bit is refused. An upload that
        breaks off is aborted; what a killed process leaves, `delete_prefix` aborts. When cancelled,
        a file that goes in one request ends first: the service may carry out what is on its way,
        and what a caller then removes would come back.
        """
        check_key(key)
        size = await asyncio.to_thread(_regular_bytes, path)
        putting = obstore.put_async(
            self._store,
            key,
            path,
            attributes=_attributes(key, media_type, name, sha256),
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
        try:
            await (_to_its_end(putting) if size <= PART_BYTES else putting)
        except (BaseError, FileNotFoundError) as error:  # the latter: there is no such bucket
            await self._abort(key)
            raise StorageUnavailableError(detail=str(error)) from error
        except asyncio.CancelledError:
            await asyncio.shield(self._abort(key))
            raise
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def fetch(self, key: str, target: Path) -> None:
        """Download an object to `target`, which must not exist."""
        await self._download(key, target, start=0, length=None)

    async def fetch_range(self, key: str, target: Path, *, start: int, length: int) -> None:
        """Download a range to `target`, which must not exist."""
        await self._download(key, target, start=start, length=length)

    async def read(
        self, key: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a range in pieces of 1 MiB, four to a request."""
        async for window in self._windows(key, start, stop):
            for at in range(0, len(window.body), disk.PIECE_BYTES):
                yield bytes(window.body[at : at + disk.PIECE_BYTES])

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, a thousand a request where the service can."""
        for key in keys:
            check_key(key)
        for first in range(0, len(keys), _LIST_AT_ONCE):
            await self._delete(keys[first : first + _LIST_AT_ONCE])

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every object below `prefix`, and abort the uploads that were left there."""
        await self._abort(check_prefix(prefix))
        deleted = 0
        try:
            async for page in obstore.list(self._store, prefix, chunk_size=_LIST_AT_ONCE):
                await self._delete([each["path"] for each in page])
                deleted += len(page)
        except BaseError as error:
            raise StorageUnavailableError(detail=str(error)) from error
        return deleted

    async def swap(self, key: str, body: bytes, *, expected: bytes | None) -> bool:
        """Put on a condition that the service checks: that the object is new, or unchanged."""
        mode: PutMode | None = "create"
        if expected is not None:
            mode = await self._version(key, expected)
        if mode is None:
            return False
        try:
            await obstore.put_async(self._store, check_key(key), body, mode=mode)
        except (AlreadyExistsError, PreconditionError):
            return False
        except (BaseError, FileNotFoundError) as error:
            raise StorageUnavailableError(detail=str(error)) from error
        return True

    async def list_folders(self, prefix: str) -> AsyncIterator[str]:
        """Yield the common prefixes, also of unfinished uploads, which show nowhere else.

        A service may name a folder shortly after its last key.
        """
        try:
            listed = await obstore.list_with_delimiter_async(self._store, check_prefix(prefix))
        except (BaseError, FileNotFoundError) as error:  # the latter: there is no such bucket
            raise StorageUnavailableError(detail=str(error)) from error
        for folder in listed["common_prefixes"]:
            yield folder.rpartition("/")[2]
        for name in await self._unfinished(prefix):
            yield name

    async def list_files(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of the objects, a thousand a request."""
        try:
            async for page in obstore.list(
                self._store, check_prefix(prefix), chunk_size=_LIST_AT_ONCE
            ):
                for each in page:
                    folder, _, name = each["path"].rpartition("/")
                    if f"{folder}/" == prefix:
                        yield name
        except (BaseError, FileNotFoundError) as error:  # the latter: there is no such bucket
            raise StorageUnavailableError(detail=str(error)) from error

    async def free_bytes(self) -> int | None:
        """Return None: a bucket has no end."""
        return None

    async def aclose(self) -> None:
        """Nothing is held between calls that has to be closed."""

    async def address(self, key: str, *, expires_s: int) -> str | None:
        """Return a signed address; None without keys to sign with."""
        if self._uploads is None:
            return None
        expires = timedelta(seconds=_checked_s(expires_s))
        return await obstore.sign_async(self._store, "GET", check_key(key), expires)

    async def put_address(self, key: str, *, length_bytes: int, expires_s: int) -> str | None:
        """Return a signed address; None without keys to sign with."""
        if self._uploads is None:
            return None
        return self._uploads.put_address(
            check_key(key),
            length_bytes=length_bytes,
            expires_s=_checked_s(expires_s),
            now=datetime.now(UTC),
        )

    async def size_bytes(self, key: str) -> int:
        """Ask for the head of the object."""
        try:
            return (await obstore.head_async(self._store, check_key(key)))["size"]
        except FileNotFoundError as error:
            raise NotFoundError("object", key) from error
        except BaseError as error:
            raise StorageUnavailableError(detail=str(error)) from error

    async def _version(self, key: str, expected: bytes) -> "UpdateVersion | None":
        """Return what names the version that has these bytes; None: another one lies there."""
        try:
            found = await obstore.get_async(self._store, check_key(key))
            body = bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise StorageUnavailableError(detail=str(error)) from error
        if body != expected:
            return None
        version: UpdateVersion = {"e_tag": found.meta["e_tag"]}
        if (number := found.meta["version"]) is not None:
            version["version"] = number
        return version

    async def _windows(self, key: str, start: int, stop: int | None) -> AsyncIterator[_Window]:
        check_key(key)
        end = stop
        if end is not None and start >= end:
            await self.size_bytes(key)  # nothing to read, but whether the object is there
        while end is None or start < end:
            window_end = start + WINDOW_BYTES if end is None else min(start + WINDOW_BYTES, end)
            window = await self._window(key, start, window_end)
            yield window
            start += len(window.body)
            end = window.size if stop is None else min(window.size, stop)

    async def _window(self, key: str, start: int, stop: int) -> _Window:
        try:
            found = await obstore.get_async(self._store, key, options={"range": (start, stop)})
            body = memoryview(await found.bytes_async())
            return _Window(body, found.meta["size"], found.attributes.get("sha256"))
        except FileNotFoundError as error:
            raise NotFoundError("object", key) from error
        except BaseError as error:
            size = await self.size_bytes(key)  # a range behind the end is an error on S3
            if start < size:
                raise StorageUnavailableError(detail=str(error)) from error
            return _Window(memoryview(b""), size)

    async def _download(self, key: str, target: Path, *, start: int, length: int | None) -> None:
        stop = None if length is None else start + length
        digest, expected = hashlib.sha256(), None
        out = await asyncio.to_thread(disk.create, target)
        try:
            async for window in self._windows(key, start, stop):
                await disk.in_thread(_write_all, out, window.body, digest)
                expected = window.sha256 if length is None else None
            _check_length(key, out.tell(), length)
            _check_sum(key, digest.hexdigest(), expected)
        except BaseException as error:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            if isinstance(error, NotFoundError):
                raise InputLostError(key) from error
            raise
        finally:
            out.close()

    async def _delete(self, keys: Sequence[str]) -> None:
        try:
            await obstore.delete_async(self._store, keys)
        except FileNotFoundError:  # Google and Azure call an absent key an error and stop there
            for key in keys:
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, key)
        except BaseError as error:
            raise StorageUnavailableError(detail=str(error)) from error

    async def _unfinished(self, prefix: str) -> set[str]:
        """Return the folders of unfinished uploads, as far as they can be known."""
        if self._uploads is not None:
            with suppress(httpx.HTTPError):
                return await self._uploads.folders(prefix)
        return set()

    async def _abort(self, prefix: str) -> None:
        """Abort unfinished uploads as well as possible: they cost money but harm nothing."""
        if self._uploads is not None:
            with suppress(httpx.HTTPError):
                await self._uploads.abort(prefix)


def _checked_s(expires_s: int) -> int:
    if not 0 < expires_s <= LONGEST_SIGNATURE_S:
        raise ValueError(f"a signature lasts 1 to {LONGEST_SIGNATURE_S} s")
    return expires_s


def _open_store(bucket: Bucket) -> S3Store | GCSStore | AzureStore:
    client: ClientConfig = {"timeout": "120s", "connect_timeout": "5s"}
    retries: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
    try:
        if bucket.url.startswith("s3://"):
            client["allow_http"] = (bucket.endpoint or "").startswith("http://")
            config = _s3_config(bucket)
            return S3Store.from_url(
                bucket.url, config=config, client_options=client, retry_config=retries
            )
        store = from_url(bucket.url, client_options=client, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise UsageError(_unusable(bucket), detail=str(error)) from error
    if not isinstance(store, GCSStore | AzureStore):
        raise UsageError(_unusable(bucket))
    return store


def _unusable(bucket: Bucket) -> str:
    return (
        f"{bucket.url!r} names no bucket that can be used: BATCHMILL_STORAGE_URL and"
        " BATCHMILL_RESULTS_URL start with s3://, gs:// or az://, and the bucket's name."
    )


def _attributes(key: str, media_type: str, name: str | None, sha256: str | None) -> dict[str, str]:
    """Return what lies beside the bytes, for browsers, CDNs and people; nothing of the owner."""
    attributes = {"Content-Type": media_type}
    if name is not None:
        attributes |= {"Content-Disposition": disposition(name), "Cache-Control": CACHING}
    if sha256 is not None:
        attributes["sha256"] = sha256
    kinds = {"bat": "batch", "itm": "item"}
    return attributes | {kinds[each[1]]: each[0] for each in _IDS.finditer(key)}


def _s3_config(bucket: Bucket) -> "S3Config":
    config: S3Config = {"virtual_hosted_style_request": bucket.virtual_host}
    if bucket.endpoint:
        config["endpoint"] = bucket.endpoint
    if bucket.region:
        config["region"] = bucket.region
    if bucket.access_key_id and bucket.secret_access_key:
        config["access_key_id"] = bucket.access_key_id
        config["secret_access_key"] = bucket.secret_access_key
    return config


def _uploads(bucket: Bucket) -> S3Uploads | None:
    """Return the way to abort uploads, where we hold the keys that it takes."""
    url = urlsplit(bucket.url)
    if url.scheme != "s3" or not (bucket.access_key_id and bucket.secret_access_key):
        return None
    region = bucket.region or _DEFAULT_REGION
    folder = url.path.strip("/")
    host = f"{url.netloc}." if bucket.virtual_host else ""
    return S3Uploads(
        endpoint=(bucket.endpoint or f"https://{host}s3.{region}.amazonaws.com").rstrip("/"),
        bucket="" if bucket.virtual_host else url.netloc,
        prefix=f"{folder}/" if folder else "",
        region=region,
        access_key_id=bucket.access_key_id,
        secret_access_key=bucket.secret_access_key,
    )


def _check_length(key: str, done: int, length: int | None) -> None:
    if length not in {None, done}:
        raise InputLostError(key)


def _check_sum(key: str, found: str, expected: str | None) -> None:
    if expected not in {None, found}:
        raise StorageDamagedError(detail=key)


def _regular_bytes(path: Path) -> int:
    """Return the size of a regular file; what is none is refused."""
    opened = disk.open_regular(path)
    try:
        return os.fstat(opened).st_size
    finally:
        os.close(opened)


async def _to_its_end(request: Awaitable[object]) -> None:
    """Wait for a request, for a while even when cancelled."""
    running = asyncio.ensure_future(request)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running}, timeout=ENDING_S)
        running.cancel()
        raise


def _write_all(out: FileIO, piece: memoryview, digest: "hashlib._Hash") -> None:
    digest.update(piece)
    left = piece
    with disk.full_disk_reported():
        while left:
            left = left[out.write(left) :]
