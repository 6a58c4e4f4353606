"""What only a storage in a folder can get wrong: links, devices, full disks, crashes."""

import asyncio
import os
from errno import EDQUOT
from pathlib import Path

import pytest

from batchmill.errors.item import InputLostError
from batchmill.errors.outage import StorageFullError
from batchmill.errors.request import NotFoundError
from batchmill.storage.disk import FreeSpace, full_disk_reported
from batchmill.storage.local import LocalStorage

pytestmark = pytest.mark.anyio
MEDIA_TYPE = "image/jpeg"


def a_file(path: Path, body: bytes = b"body") -> Path:
    path.write_bytes(body)
    return path


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def put(storage: LocalStorage, key: str, folder: Path, body: bytes = b"body") -> None:
    await storage.put(key, a_file(folder / "to_put", body), media_type=MEDIA_TYPE)


async def test_fetching_links_instead_of_copying(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    await put(storage, "a/0", tmp_path)
    await storage.fetch("a/0", tmp_path / "fetched")
    assert (tmp_path / "storage/a/0").samefile(tmp_path / "fetched")


async def test_a_stored_file_is_read_only(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    await put(storage, "a/0", tmp_path)
    assert (tmp_path / "storage/a/0").stat().st_mode & 0o222 == 0


async def test_what_a_cancelled_put_leaves_does_not_come_back(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    for number in range(20):
        putting = asyncio.create_task(put(storage, f"a/{number}", tmp_path, b"x" * 2**20))
        await asyncio.sleep(0)
        putting.cancel()
        await asyncio.wait({putting})
        await storage.delete_prefix("a/")
    await asyncio.sleep(0.2)  # a put that goes on in its thread would be done by now
    assert not (tmp_path / "storage/a").exists()


async def test_a_cancelled_fetch_writes_nothing_after_its_end(tmp_path: Path) -> None:
    storage, whole = LocalStorage(tmp_path / "storage"), 64 * 2**20
    await put(storage, "a/0", tmp_path, bytes(whole))
    targets = [tmp_path / f"fetched-{number}" for number in range(20)]
    for target in targets:
        fetching = asyncio.create_task(storage.fetch("a/0", target))
        await asyncio.sleep(0)
        fetching.cancel()
        await asyncio.wait({fetching})
        assert target.exists()
    copying = asyncio.create_task(
        storage.fetch_range("a/0", tmp_path / "range", start=0, length=whole)
    )
    await asyncio.sleep(0)
    copying.cancel()
    await asyncio.wait({copying})
    assert (tmp_path / "range").stat().st_size == whole


async def test_across_devices_bytes_are_copied_both_ways(small_disk: Path, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    await put(storage, "a/0", small_disk, b"from the other disk")
    await storage.fetch("a/0", small_disk / "fetched")
    assert (small_disk / "fetched").read_bytes() == b"from the other disk"
    assert names(small_disk) == ["fetched"]
    assert names(tmp_path / "storage/a") == ["0"]


async def test_a_full_disk_is_reported_and_leaves_nothing_behind(
    small_disk: Path, tmp_path: Path
) -> None:
    storage = LocalStorage(small_disk)
    with pytest.raises(StorageFullError):
        await put(storage, "a/0", tmp_path, b"x" * 3 * 2**20)
    with pytest.raises(NotFoundError):
        await anext(storage.read("a/0"))
    assert names(small_disk / "a") == []
    assert (tmp_path / "to_put").exists()


async def test_a_full_disk_under_the_target_of_a_fetch_is_reported(
    small_disk: Path, tmp_path: Path
) -> None:
    storage = LocalStorage(tmp_path / "storage")
    await put(storage, "a/0", tmp_path, b"x" * 3 * 2**20)
    with pytest.raises(StorageFullError):
        await storage.fetch("a/0", small_disk / "fetched")
    assert names(small_disk) == []


def test_the_system_s_no_space_left_becomes_storage_full() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StorageFullError), full_disk_reported():
            os.write(full, b"x")
    finally:
        os.close(full)


def test_a_quota_that_is_used_up_is_a_full_disk() -> None:
    with pytest.raises(StorageFullError), full_disk_reported():
        raise OSError(EDQUOT, "over quota")


def test_what_is_wanted_must_fit_as_well_as_the_reserve(tmp_path: Path) -> None:
    FreeSpace(tmp_path, reserve_bytes=0).require(1)
    with pytest.raises(StorageFullError):
        FreeSpace(tmp_path, reserve_bytes=0).require(2**60)
    with pytest.raises(StorageFullError):
        FreeSpace(tmp_path, reserve_bytes=2**60).require(0)


async def test_a_copy_that_gets_no_name_is_removed(small_disk: Path, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    await put(storage, "a/0", tmp_path)
    with pytest.raises(IsADirectoryError):
        await put(storage, "a", small_disk)
    assert names(tmp_path / "storage") == ["a"]


async def test_the_reserve_is_left_free(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage", reserve_bytes=2**60)
    with pytest.raises(StorageFullError):
        await put(storage, "a/0", tmp_path)
    assert (tmp_path / "to_put").exists()
    assert (await storage.free_bytes() or 0) > 0


async def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    secret = a_file(tmp_path / "secret", b"secret")
    (tmp_path / "storage/a").mkdir()
    (tmp_path / "storage/a/0").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        await anext(storage.read("a/0"))
    with pytest.raises(OSError, match="symbolic"):
        await storage.fetch("a/0", tmp_path / "fetched")
    await storage.delete(["a/0"])
    assert secret.read_bytes() == b"secret"


async def test_a_link_is_never_put(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    (tmp_path / "link").symlink_to(a_file(tmp_path / "secret"))
    with pytest.raises(OSError, match="symbolic"):
        await storage.put("a/0", tmp_path / "link", media_type=MEDIA_TYPE)


async def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        await storage.put("a/0", tmp_path / "pipe", media_type=MEDIA_TYPE)


async def test_deleting_a_prefix_removes_links_but_not_what_they_lead_to(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = a_file(outside / "precious")
    await put(storage, "a/b/0", tmp_path)
    (tmp_path / "storage/a/b/link").symlink_to(outside)
    (tmp_path / "storage/a/link").symlink_to(outside)
    with pytest.raises(OSError):  # noqa: PT011
        await storage.delete_prefix("a/link/")
    await storage.delete_prefix("a/")
    assert precious.exists()
    assert names(tmp_path / "storage") == []


async def test_many_may_delete_the_same_folder_at_once(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    for number in range(400):
        folder = tmp_path / f"storage/a/{number % 20}"
        folder.mkdir(parents=True, exist_ok=True)
        a_file(folder / str(number))
    deleted = await asyncio.gather(*(storage.delete_prefix("a/") for _ in range(8)))
    assert sum(deleted) == 400
    assert names(tmp_path / "storage") == []


async def test_putting_another_link_of_the_stored_file_consumes_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    await put(storage, "a/0", tmp_path)
    await storage.fetch("a/0", tmp_path / "again")
    await storage.put("a/0", tmp_path / "again", media_type=MEDIA_TYPE)
    assert not (tmp_path / "again").exists()


async def test_a_folder_is_gone_with_its_last_key(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    for key in ("a/x/0", "a/y/0", "a/z/deep/0"):
        await put(storage, key, tmp_path)
    await storage.delete(["a/x/0"])
    await storage.delete_prefix("a/z/deep/")
    assert [name async for name in storage.list_folders("a/")] == ["y"]


async def test_a_listing_that_is_cancelled_leaves_its_folder_open_under_the_reader(
    tmp_path: Path,
) -> None:
    for number in range(3_000):
        (tmp_path / "a" / f"b{number}").mkdir(parents=True)
    storage = LocalStorage(tmp_path)

    async def listed() -> list[str]:
        return [name async for name in storage.list_folders("a/")]

    for after_ms in range(40):  # a folder closed under its reader ends this process
        listing = asyncio.create_task(listed())
        await asyncio.sleep(after_ms / 10_000)
        listing.cancel()
        await asyncio.wait({listing})
    assert len(await listed()) == 3_000


async def test_a_shortened_file_is_lost_for_a_range(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    await put(storage, "a/0", tmp_path, b"x" * 100)
    os.truncate(tmp_path / "storage/a/0", 50)
    with pytest.raises(InputLostError):
        await storage.fetch_range("a/0", tmp_path / "part", start=0, length=100)
