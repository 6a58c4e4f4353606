"""What every storage promises; a new one joins by a parameter of the fixture `storage`."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from batchmill.errors.item import InputLostError
from batchmill.errors.outage import StorageUnavailableError
from batchmill.errors.request import NotFoundError
from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage
from batchmill.storage.objects import Bucket, ObjectStorage
from batchmill.storage.split import SplitStorage

pytestmark = pytest.mark.anyio

BODY = random.Random(5).randbytes(3 * 2**20 + 17)  # noqa: S311
MEDIA_TYPE = "application/octet-stream"


async def put(storage: Storage, key: str, body: bytes, folder: Path) -> None:
    path = folder / "to_put"
    path.write_bytes(body)
    await storage.put(key, path, media_type=MEDIA_TYPE)


async def read(
    storage: Storage, key: str, *, start: int = 0, stop: int | None = None
) -> list[bytes]:
    return [piece async for piece in storage.read(key, start=start, stop=stop)]


async def folders(storage: Storage, prefix: str) -> set[str]:
    return {name async for name in storage.list_folders(prefix)}


async def test_what_was_put_is_read_and_fetched_unchanged(storage: Storage, tmp_path: Path) -> None:
    await put(storage, "batches/b/in/0", BODY, tmp_path)
    await storage.fetch("batches/b/in/0", tmp_path / "fetched")
    assert b"".join(await read(storage, "batches/b/in/0")) == BODY
    assert (tmp_path / "fetched").read_bytes() == BODY


async def test_putting_consumes_the_file(storage: Storage, tmp_path: Path) -> None:
    await put(storage, "a/0", b"x", tmp_path)
    assert not (tmp_path / "to_put").exists()


async def test_putting_again_overwrites(storage: Storage, tmp_path: Path) -> None:
    await put(storage, "a/0", b"old", tmp_path)
    await put(storage, "a/0", b"new and longer", tmp_path)
    assert await read(storage, "a/0") == [b"new and longer"]


async def test_an_empty_object_is_there_and_has_no_bytes(storage: Storage, tmp_path: Path) -> None:
    await put(storage, "a/0", b"", tmp_path)
    await storage.fetch("a/0", tmp_path / "fetched")
    assert await read(storage, "a/0") == []
    assert (tmp_path / "fetched").read_bytes() == b""


async def test_the_size_of_a_file_is_known_without_reading_it(
    storage: Storage, tmp_path: Path
) -> None:
    await put(storage, "a/0", BODY, tmp_path)
    assert await storage.size_bytes("a/0") == len(BODY)
    with pytest.raises(NotFoundError):
        await storage.size_bytes("a/1")


async def test_files_are_named_that_lie_directly_below_a_prefix_and_are_still_there(
    storage: Storage, tmp_path: Path
) -> None:
    assert [name async for name in storage.list_files("a/")] == []
    for key in ("a/0", "a/1", "a/b/2", "ab/3"):
        await put(storage, key, b"x", tmp_path)
    await storage.delete(["a/1"])
    assert [name async for name in storage.list_files("a/")] == ["0"]


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (5, 5), (1000, 2000), (2**20 - 1, 2**20 + 1), (3 * 2**20, None), (17, 10**9)],
)
async def test_a_range_is_exactly_that_range(
    storage: Storage, tmp_path: Path, start: int, stop: int | None
) -> None:
    await put(storage, "a/0", BODY, tmp_path)
    assert b"".join(await read(storage, "a/0", start=start, stop=stop)) == BODY[start:stop]


async def test_a_range_behind_the_end_has_no_bytes(storage: Storage, tmp_path: Path) -> None:
    await put(storage, "a/0", b"abc", tmp_path)
    assert await read(storage, "a/0", start=3) == []
    assert await read(storage, "a/0", start=9, stop=12) == []


async def test_pieces_are_never_much_larger_than_a_mebibyte(
    storage: Storage, tmp_path: Path
) -> None:
    await put(storage, "a/0", BODY, tmp_path)
    assert max(len(piece) for piece in await read(storage, "a/0")) <= 2**20


async def test_a_reader_may_stop_early(storage: Storage, tmp_path: Path) -> None:
    await put(storage, "a/0", BODY, tmp_path)
    async for _piece in storage.read("a/0"):
        break
    assert b"".join(await read(storage, "a/0")) == BODY


async def test_fetching_a_range_writes_exactly_it(storage: Storage, tmp_path: Path) -> None:
    await put(storage, "a/0", BODY, tmp_path)
    await storage.fetch_range("a/0", tmp_path / "part", start=99, length=2**20 + 3)
    assert (tmp_path / "part").read_bytes() == BODY[99 : 99 + 2**20 + 3]


async def test_fetching_a_range_of_no_bytes_makes_an_empty_file(
    storage: Storage, tmp_path: Path
) -> None:
    await put(storage, "a/0", b"abc", tmp_path)
    await storage.fetch_range("a/0", tmp_path / "part", start=1, length=0)
    assert (tmp_path / "part").read_bytes() == b""


async def test_a_range_that_the_object_does_not_have_is_lost_not_shortened(
    storage: Storage, tmp_path: Path
) -> None:
    await put(storage, "a/0", b"abc", tmp_path)
    with pytest.raises(InputLostError):
        await storage.fetch_range("a/0", tmp_path / "part", start=1, length=3)
    assert not (tmp_path / "part").exists()


async def test_a_key_that_is_absent_is_reported_as_such(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await read(storage, "a/0")
    with pytest.raises(InputLostError):
        await storage.fetch("a/0", tmp_path / "fetched")
    with pytest.raises(InputLostError):
        await storage.fetch_range("a/0", tmp_path / "fetched", start=0, length=1)
    assert not (tmp_path / "fetched").exists()


async def test_deleting_removes_these_keys_and_no_other(storage: Storage, tmp_path: Path) -> None:
    for key in ("a/0", "a/1", "a/10"):
        await put(storage, key, b"x", tmp_path)
    await storage.delete(["a/1", "a/absent", "absent/0"])
    assert await read(storage, "a/0") == await read(storage, "a/10") == [b"x"]
    with pytest.raises(NotFoundError):
        await read(storage, "a/1")


async def test_deleting_a_prefix_counts_and_spares_what_only_starts_like_it(
    storage: Storage, tmp_path: Path
) -> None:
    for key in ("batches/b1/in/0", "batches/b1/out/i.1/0", "batches/b10/in/0"):
        await put(storage, key, b"x", tmp_path)
    assert await storage.delete_prefix("batches/b1/") == 2
    assert await storage.delete_prefix("batches/b1/") == 0
    assert await read(storage, "batches/b10/in/0") == [b"x"]
    for key in ("batches/b1/in/0", "batches/b1/out/i.1/0"):
        with pytest.raises(NotFoundError):
            await read(storage, key)


async def test_folders_are_the_names_directly_below_and_no_files(
    storage: Storage, tmp_path: Path
) -> None:
    for key in ("a/x/0", "a/x/1", "a/y/deep/0", "a/file"):
        await put(storage, key, b"x", tmp_path)
    assert await folders(storage, "a/") == {"x", "y"}
    assert await folders(storage, "a/absent/") == set()


async def test_many_writers_share_folders_while_others_delete(
    storage: Storage, tmp_path: Path
) -> None:
    async def story(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        for turn in range(5):
            await put(storage, f"a/shared/{number}.{turn}", b"x", folder)
            await storage.delete([f"a/shared/{number}.{turn}"])
        await put(storage, f"a/shared/{number}", b"y", folder)

    await asyncio.gather(*(story(number) for number in range(8)))
    for number in range(8):
        assert await read(storage, f"a/shared/{number}") == [b"y"]


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", ".a", "a\\b", "a\0b", "ä", "a b", "x" * 600],
)
async def test_what_is_no_key_is_refused_everywhere(
    storage: Storage, tmp_path: Path, key: str
) -> None:
    (tmp_path / "to_put").write_bytes(b"x")
    with pytest.raises(ValueError, match="not a storage key"):
        await storage.put(key, tmp_path / "to_put", media_type=MEDIA_TYPE)
    with pytest.raises(ValueError, match="not a storage key"):
        await storage.fetch(key, tmp_path / "fetched")
    with pytest.raises(ValueError, match="not a storage key"):
        await read(storage, key)
    with pytest.raises(ValueError, match="not a storage key"):
        await storage.delete([key])
    with pytest.raises(ValueError, match="not a storage key"):
        await storage.delete_prefix(key + "/")
    with pytest.raises(ValueError, match="a prefix ends with a slash"):
        await storage.delete_prefix(key.rstrip("/"))
    assert (tmp_path / "to_put").exists()


async def test_what_was_swapped_in_is_read_and_only_what_is_known_is_replaced(
    storage: Storage,
) -> None:
    assert await storage.swap("mark.json", b"one", expected=None)
    assert not await storage.swap("mark.json", b"two", expected=None)
    assert not await storage.swap("mark.json", b"two", expected=b"zero")
    assert await read(storage, "mark.json") == [b"one"]
    assert await storage.swap("mark.json", b"two", expected=b"one")
    assert not await storage.swap("mark.json", b"three", expected=b"one")
    assert await read(storage, "mark.json") == [b"two"]


async def test_what_is_absent_is_not_replaced(storage: Storage) -> None:
    assert not await storage.swap("mark.json", b"two", expected=b"one")
    with pytest.raises(NotFoundError):
        await read(storage, "mark.json")


@pytest.mark.parametrize("expected", [None, b"before"])
async def test_of_many_that_swap_at_once_one_succeeds(
    storage: Storage, expected: bytes | None
) -> None:
    if expected is not None:
        await storage.swap("mark.json", expected, expected=None)
    bodies = [f"from {number}".encode() for number in range(8)]
    swapped = await asyncio.gather(
        *(storage.swap("mark.json", body, expected=expected) for body in bodies)
    )
    assert sum(swapped) == 1
    assert await read(storage, "mark.json") == [bodies[swapped.index(True)]]


async def test_each_of_two_storages_that_look_like_one_has_its_own_bytes(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    main, results = LocalStorage(tmp_path / "main"), ObjectStorage(own_bucket)
    split = SplitStorage(main, results)
    assert await split.swap("mark.json", b"main", expected=None)
    assert await split.swap("results/mark.json", b"results", expected=None)
    assert await read(main, "mark.json") == [b"main"]
    assert await read(results, "mark.json") == [b"results"]


async def test_a_bucket_that_is_not_there_is_away_and_not_empty(own_bucket: Bucket) -> None:
    elsewhere = ObjectStorage(replace(own_bucket, url="s3://no-such-bucket/prefix"))
    with pytest.raises(StorageUnavailableError):
        await folders(elsewhere, "batches/")
