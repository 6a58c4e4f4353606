"""Files that grow over several requests keep what arrived, and take bytes from one at a time."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors.outage import StorageFullError
from batchmill.errors.request import (
    ChecksumError,
    TooLargeError,
    UploadBusyError,
    UploadOffsetError,
)
from batchmill.storage import growing
from batchmill.storage.disk import PIECE_BYTES, FreeSpace
from batchmill.storage.growing import Checksum

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    growing.begin(FreeSpace(tmp_path), tmp_path / "file")
    return tmp_path / "file"


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A link where a file should be."""
    (tmp_path / "elsewhere").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "link"


async def arriving(*pieces: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if then is not None:
        raise then


async def send(
    path: Path, *pieces: bytes, at: int = 0, then: Exception | None = None, **more: Any
) -> None:
    await growing.append(
        FreeSpace(path.parent),
        path,
        arriving(*pieces, then=then),
        offset_bytes=at,
        length_bytes=more.pop("length", 100),
        **more,
    )


def content(path: Path) -> bytes:
    return path.read_bytes()


def make_read_only(path: Path) -> None:
    path.chmod(0o440)


def beside(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


async def test_bytes_of_several_requests_follow_each_other(path: Path) -> None:
    await send(path, b"one ", b"two ")
    await send(path, b"three", at=8)
    assert content(path) == b"one two three"


async def test_what_came_before_the_line_broke_is_kept(path: Path) -> None:
    many = os.urandom(PIECE_BYTES)
    with pytest.raises(ConnectionError):
        await send(path, many, b"and more", then=ConnectionError(), length=2 * PIECE_BYTES)
    assert content(path) == many + b"and more"


async def test_bytes_for_another_place_than_the_end_are_refused(path: Path) -> None:
    await send(path, b"four")
    for wrong in (0, 3, 5):
        with pytest.raises(UploadOffsetError, match="4 bytes"):
            await send(path, b"more", at=wrong)
    assert content(path) == b"four"


async def test_more_than_was_declared_is_never_written(path: Path) -> None:
    with pytest.raises(TooLargeError):
        await send(path, b"12345", b"678901", length=10)
    assert content(path) == b"12345"
    await send(path, b"67890", at=5, length=10)
    with pytest.raises(TooLargeError):
        await send(path, b"!", at=10, length=10)
    assert content(path) == b"1234567890"


async def test_a_finished_file_that_became_read_only_is_asked_about_in_vain(path: Path) -> None:
    await send(path, b"done", length=4)
    make_read_only(path)
    await send(path, at=4, length=4)
    assert content(path) == b"done"


async def test_while_one_request_writes_another_is_turned_away(path: Path) -> None:
    begun, second = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"one"
        begun.set()
        await second.wait()
        yield b"two"

    room = FreeSpace(path.parent)
    first = asyncio.create_task(
        growing.append(room, path, slow(), offset_bytes=0, length_bytes=100)
    )
    await begun.wait()
    with pytest.raises(UploadBusyError):
        await send(path, b"in between")
    second.set()
    await first
    assert content(path) == b"onetwo"


@pytest.mark.parametrize("algorithm", growing.ALGORITHMS)
async def test_with_a_checksum_all_bytes_are_kept_or_none(path: Path, algorithm: str) -> None:
    right = Checksum(algorithm, hashlib.new(algorithm, b"hello").digest())
    await send(path, b"hel", b"lo", checksum=right)
    with pytest.raises(ChecksumError):
        await send(path, b"hellO", at=5, checksum=right)
    with pytest.raises(ConnectionError):
        await send(path, b"hel", at=5, checksum=right, then=ConnectionError())
    assert content(path) == b"hello"
    assert beside(path) == ["file"]


async def test_a_full_disk_keeps_what_fitted_and_says_so(small_disk: Path) -> None:
    path = small_disk / "file"
    growing.begin(FreeSpace(path.parent), path)
    many = [os.urandom(PIECE_BYTES) for _ in range(4)]
    with pytest.raises(StorageFullError):
        await send(path, *many, length=4 * PIECE_BYTES)
    arrived = growing.arrived_bytes(path)
    assert PIECE_BYTES <= arrived <= 2 * PIECE_BYTES
    assert content(path) == b"".join(many)[:arrived]


async def test_the_reserve_is_kept_free(path: Path) -> None:
    room = FreeSpace(path.parent, reserve_bytes=2**60)
    with pytest.raises(StorageFullError):
        await growing.append(room, path, arriving(b"x"), offset_bytes=0, length_bytes=1)
    assert content(path) == b""


async def test_a_link_is_not_followed(linked: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="symbolic"):
        await send(linked, b"x", at=growing.arrived_bytes(linked), length=1_000)
    assert content(tmp_path / "elsewhere") == b""


async def test_what_a_killed_request_left_beside_a_file_is_no_part_of_it(path: Path) -> None:
    (path.parent / "file.part").write_bytes(b"left by a kill")
    right = Checksum("sha256", hashlib.sha256(b"hello").digest())
    await send(path, b"hello", checksum=right)
    assert content(path) == b"hello"


async def test_where_a_file_ends_is_looked_at_again_once_nobody_else_can_write(path: Path) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as one_thread:  # so that what is called first is done first
        loop.set_default_executor(one_thread)
        appending = asyncio.create_task(send(path, b"mine"))
        await asyncio.sleep(0)  # its first look at the file waits for the thread
        await asyncio.to_thread(path.write_bytes, b"another's")
        with pytest.raises(UploadOffsetError):
            await appending
    loop.set_default_executor(ThreadPoolExecutor())
    assert content(path) == b"another's"


def test_only_we_may_read_an_upload(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
