"""What only a bucket can get wrong: signed addresses, types, uploads that break off, outages."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from batchmill.errors.item import InputLostError
from batchmill.errors.outage import StorageDamagedError, StorageFullError, StorageUnavailableError
from batchmill.errors.request import NotFoundError, UsageError
from batchmill.storage.objects import PART_BYTES, Bucket, ObjectStorage
from batchmill.storage.s3_uploads import S3Uploads
from support.line import line_to

pytestmark = pytest.mark.anyio
BODY = os.urandom(3 * PART_BYTES + 5)


def a_file(path: Path, body: bytes = b"body") -> Path:
    path.write_bytes(body)
    return path


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def eventually(what: Callable[[], Awaitable[object]], *, limit_s: float = 60) -> None:
    async with asyncio.timeout(limit_s):
        while not await what():
            await asyncio.sleep(0.2)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


def uploads_of(bucket: Bucket) -> S3Uploads:
    url = urlsplit(bucket.url)
    return S3Uploads(
        endpoint=bucket.endpoint or "",
        bucket=url.netloc,
        prefix=f"{url.path.strip('/')}/",
        region=bucket.region or "",
        access_key_id=bucket.access_key_id or "",
        secret_access_key=bucket.secret_access_key or "",
    )


async def test_a_large_file_goes_up_in_parts_and_comes_back_whole(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    storage = ObjectStorage(own_bucket)
    await storage.put("a/0", a_file(tmp_path / "f", BODY), media_type="image/png")
    await storage.fetch("a/0", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == BODY
    assert await uploads_of(own_bucket).abort("") == 0


async def test_what_a_cancelled_put_leaves_does_not_come_back(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    """The line is long: what was sent before the caller hung up arrives after it."""
    near, address = ObjectStorage(own_bucket), urlsplit(own_bucket.endpoint or "")
    async with line_to(address.hostname or "", address.port or 0) as line:
        far = ObjectStorage(replace(own_bucket, endpoint=f"http://127.0.0.1:{line.port}"))
        await far.put("b/0", a_file(tmp_path / "first"), media_type="text/plain")
        line.delay_s = 0.5
        putting = asyncio.create_task(
            far.put("a/0", a_file(tmp_path / "f"), media_type="text/plain")
        )
        await asyncio.sleep(0.2)
        line.delay_s = 0.0  # for what comes after it
        putting.cancel()
        await asyncio.wait({putting})
        assert putting.cancelled()
        await near.delete_prefix("a/")
        await asyncio.sleep(1)  # in which it would come back
        with pytest.raises(InputLostError):
            await near.fetch("a/0", tmp_path / "came back")


async def test_the_media_type_is_kept(
    own_bucket: Bucket, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    storage = ObjectStorage(own_bucket)
    for key, body in (("a/0", b"small"), ("a/1", BODY)):
        await storage.put(key, a_file(tmp_path / "f", body), media_type="image/webp")
        answer = await http.get(await storage.address(key, expires_s=60) or "")
        assert answer.headers["content-type"] == "image/webp"
        assert answer.content == body


async def test_what_is_known_of_a_result_lies_beside_it_and_nothing_of_its_owner(
    own_bucket: Bucket, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    storage, sha256 = ObjectStorage(own_bucket), hashlib.sha256(b"body").hexdigest()
    key = "batches/bat_1/out/itm_2.1/0"
    path = a_file(tmp_path / "f")
    await storage.put(key, path, media_type="image/webp", name="a/Käse.webp", sha256=sha256)

    headers = (await http.get(await storage.address(key, expires_s=60) or "")).headers

    assert headers["content-disposition"] == (
        "attachment; filename=\"K_se.webp\"; filename*=UTF-8''K%C3%A4se.webp"
    )
    assert headers["cache-control"] == "public, max-age=3600"
    about = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
    assert about == {
        "x-amz-meta-batch": "bat_1",
        "x-amz-meta-item": "itm_2",
        "x-amz-meta-sha256": sha256,
    }


@pytest.mark.parametrize("body", [b"body", BODY], ids=["small", "large"])
async def test_a_file_that_comes_back_changed_is_not_used(
    own_bucket: Bucket, tmp_path: Path, body: bytes
) -> None:
    storage = ObjectStorage(own_bucket)
    for key, of in (("a/0", body), ("a/1", body + b"x")):
        sha256 = hashlib.sha256(of).hexdigest()
        path = a_file(tmp_path / "f", body)
        await storage.put(key, path, media_type="image/png", sha256=sha256)
    await storage.fetch("a/0", tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == body
    with pytest.raises(StorageDamagedError):
        await storage.fetch("a/1", tmp_path / "changed")
    assert names(tmp_path) == ["whole"]


async def test_a_bucket_may_be_named_in_the_host(own_bucket: Bucket) -> None:
    plain = Bucket("s3://shop/x", None, "eu-west-1", "key", "secret")
    for bucket, start in (
        (plain, "https://s3.eu-west-1.amazonaws.com/shop/x/a/0?"),
        (replace(plain, virtual_host=True), "https://shop.s3.eu-west-1.amazonaws.com/x/a/0?"),
    ):
        address = await ObjectStorage(bucket).address("a/0", expires_s=60)
        assert address is not None
        assert address.startswith(start)


async def test_without_keys_there_are_no_signed_addresses() -> None:
    assert await ObjectStorage(Bucket("s3://shop")).address("a/0", expires_s=60) is None


async def test_a_signed_address_serves_ranges(
    own_bucket: Bucket, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    storage = ObjectStorage(own_bucket)
    await storage.put("a/0", a_file(tmp_path / "f", b"0123456789"), media_type="image/png")
    url = await storage.address("a/0", expires_s=60) or ""
    answer = await http.get(url, headers={"range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")


async def test_a_signed_address_for_writing_takes_a_file(
    own_bucket: Bucket, http: httpx.AsyncClient
) -> None:
    storage = ObjectStorage(own_bucket)
    url = await storage.put_address("a/0", length_bytes=14, expires_s=60) or ""
    assert (await http.put(url, content=b"from a browser")).is_success
    assert [piece async for piece in storage.read("a/0")] == [b"from a browser"]
    assert await storage.size_bytes("a/0") == 14


async def test_a_signed_address_for_writing_is_for_one_key_one_length_and_a_time(
    own_bucket: Bucket, http: httpx.AsyncClient
) -> None:
    storage = ObjectStorage(own_bucket)
    url = await storage.put_address("a/0", length_bytes=4, expires_s=2) or ""
    for wrong, body in (
        (url, b"longer"),
        (url, b"sho"),
        (url.replace("a/0", "a/1"), b"four"),
        (url.replace("Expires=2", "Expires=9"), b"four"),
    ):
        assert (await http.put(wrong, content=body)).status_code == 403
    assert (await http.get(url)).status_code == 403
    with pytest.raises(NotFoundError):
        await storage.size_bytes("a/0")

    async def expired() -> bool:
        return (await http.put(url, content=b"four")).status_code == 403

    await eventually(expired)


@pytest.mark.parametrize("virtual_host", [False, True])
async def test_an_address_for_writing_is_where_the_one_for_reading_is_and_holds_no_secret(
    *, virtual_host: bool
) -> None:
    bucket = Bucket("s3://shop/x", None, "eu-west-1", "key", "se/cret", virtual_host)
    storage = ObjectStorage(bucket)
    reading = await storage.address("a/0", expires_s=60) or ""
    writing = await storage.put_address("a/0", length_bytes=4, expires_s=60) or ""
    assert writing.partition("?")[0] == reading.partition("?")[0]
    assert "cret" not in writing
    keyless = ObjectStorage(Bucket("s3://shop"))
    assert await keyless.put_address("a/0", length_bytes=4, expires_s=60) is None


async def test_a_signed_address_is_for_one_key_one_method_and_a_time(
    own_bucket: Bucket, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    storage = ObjectStorage(own_bucket)
    for key in ("a/0", "a/1"):
        await storage.put(key, a_file(tmp_path / "f"), media_type="image/png")
    url = await storage.address("a/0", expires_s=1) or ""
    assert (await http.get(url.replace("a/0", "a/1"))).status_code == 403
    assert (await http.put(url, content=b"x")).status_code == 403
    assert (await http.get(url.replace("Expires=1", "Expires=9"))).status_code == 403

    async def expired() -> bool:
        return (await http.get(url)).status_code == 403

    await eventually(expired)


@pytest.mark.parametrize("expires_s", [0, -1, 604_801])
async def test_a_signature_lasts_a_week_at_most(own_bucket: Bucket, expires_s: int) -> None:
    with pytest.raises(ValueError, match="1 to 604800 s"):
        await ObjectStorage(own_bucket).address("a/0", expires_s=expires_s)
    with pytest.raises(ValueError, match="1 to 604800 s"):
        await ObjectStorage(own_bucket).put_address("a/0", length_bytes=1, expires_s=expires_s)


async def test_a_link_is_never_put(own_bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(a_file(tmp_path / "secret"))
    with pytest.raises(OSError, match="symbolic"):
        await ObjectStorage(own_bucket).put("a/0", tmp_path / "link", media_type="image/png")


async def test_a_bucket_that_is_gone_is_an_outage(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    path = a_file(tmp_path / "f")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        keys: dict[str, Any] = {"access_key_id": "a", "secret_access_key": "b"}
        gone = ObjectStorage(Bucket("s3://gone", endpoint=endpoint, region="x", **keys))
        with pytest.raises(StorageUnavailableError):
            await gone.put("a/0", path, media_type="image/png")
    assert path.exists()


async def test_a_full_disk_under_the_target_of_a_fetch_is_reported(
    own_bucket: Bucket, small_disk: Path, tmp_path: Path
) -> None:
    storage = ObjectStorage(own_bucket)
    await storage.put("a/0", a_file(tmp_path / "f", BODY), media_type="image/png")
    with pytest.raises(StorageFullError):
        await storage.fetch("a/0", small_disk / "fetched")
    assert names(small_disk) == []


async def test_a_cancelled_upload_leaves_no_parts(own_bucket: Bucket, tmp_path: Path) -> None:
    async with through_a_door(own_bucket, passing_bytes=2**20) as slow:
        path = a_file(tmp_path / "f", BODY)
        put = asyncio.create_task(ObjectStorage(slow).put("a/0", path, media_type="image/png"))
        await eventually(lambda: unfinished(own_bucket))
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
    assert path.exists()
    assert await uploads_of(own_bucket).abort("") == 0


UPLOADER = """
import asyncio, sys
from pathlib import Path
from batchmill.storage.objects import Bucket, ObjectStorage
bucket = Bucket(*sys.argv[2:])
asyncio.run(ObjectStorage(bucket).put("b/in/0", Path(sys.argv[1]), media_type="image/png"))
"""


async def test_what_a_killed_process_left_is_aborted_with_its_prefix(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "f", BODY)
    async with through_a_door(own_bucket, passing_bytes=2**20) as slow:
        keys = [slow.access_key_id or "", slow.secret_access_key or ""]
        command = [sys.executable, "-c", UPLOADER, str(path), slow.url, slow.endpoint or ""]
        uploader = await asyncio.create_subprocess_exec(*command, slow.region or "", *keys)
        await eventually(lambda: unfinished(own_bucket))
        uploader.kill()
        await uploader.wait()
    storage = ObjectStorage(own_bucket)
    assert [name async for name in storage.list_folders("b/")] == ["in"]
    await storage.delete_prefix("c/")
    assert await unfinished(own_bucket) == 1
    await storage.delete_prefix("b/")
    assert await unfinished(own_bucket) == 0


async def unfinished(bucket: Bucket) -> int:
    uploads = uploads_of(bucket)
    async with httpx.AsyncClient() as client:
        return len(await uploads._list(client, ""))


@asynccontextmanager
async def through_a_door(
    bucket: Bucket, *, refused: int = 0, passing_bytes: int = 2**60
) -> AsyncIterator[Bucket]:
    """The same bucket behind a door that drops `refused` connections before it opens.

    Of what is sent through one connection, it lets `passing_bytes` pass and holds up the rest.
    """
    host, _, port = urlsplit(bucket.endpoint or "").netloc.partition(":")
    guests: set[asyncio.Task[None] | None] = set()
    knocks = 0

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        while left > 0 and (piece := await reader.read(min(left, 2**16))):
            writer.write(piece)
            await writer.drain()
            left -= len(piece)
        if left > 0:
            writer.close()

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        guests.add(asyncio.current_task())
        knocks += 1
        if knocks <= refused:
            writer.close()
            return
        with suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection(host, int(port))
            await asyncio.gather(pump(reader, back, passing_bytes), pump(there, writer, 2**60))

    door = await asyncio.start_server(welcome, "127.0.0.1", 0)
    try:
        yield replace(bucket, endpoint=f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}")
    finally:
        door.close()
        for guest in guests:
            if guest is not None:
                guest.cancel()


async def test_a_bucket_that_is_away_for_a_moment_is_asked_again(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    async with through_a_door(own_bucket, refused=2) as door:
        await ObjectStorage(door).put("a/0", a_file(tmp_path / "f"), media_type="image/png")
    async with through_a_door(own_bucket, refused=2) as door:
        assert [piece async for piece in ObjectStorage(door).read("a/0")] == [b"body"]


async def test_a_bucket_that_stays_away_is_an_outage_that_keeps_the_file(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "f", BODY)
    async with through_a_door(own_bucket, refused=1_000) as door:
        storage = ObjectStorage(door)
        with pytest.raises(StorageUnavailableError):
            await storage.put("a/0", path, media_type="image/png")
    assert path.exists()


async def test_wrong_keys_are_an_outage_that_keeps_the_file(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    storage = ObjectStorage(replace(own_bucket, secret_access_key="wrong"))
    path = a_file(tmp_path / "f")
    with pytest.raises(StorageUnavailableError) as refused:
        await storage.put("a/0", path, media_type="image/png")
    assert path.exists()
    assert "wrong" not in f"{refused.value.message} {refused.value.detail}"
    for call in (storage.fetch("a/0", tmp_path / "t"), storage.delete(["a/0"])):
        with pytest.raises(StorageUnavailableError):
            await call


@pytest.mark.parametrize("url", ["", "s3:", "ftp://x/y", "file:///tmp", "memory:///", "s3:///x"])
def test_what_names_no_bucket_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="BATCHMILL_STORAGE_URL"):
        ObjectStorage(Bucket(url))


def test_the_secret_key_is_not_shown() -> None:
    assert "hidden" not in repr(Bucket("s3://b", secret_access_key="hidden"))
