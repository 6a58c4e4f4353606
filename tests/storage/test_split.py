"""A storage for results beside the main one: the key says where the bytes are."""

import asyncio
from pathlib import Path

import pytest

from batchmill.errors.outage import StorageUnavailableError
from batchmill.storage.keys import RESULTS
from batchmill.storage.local import LocalStorage
from batchmill.storage.split import SplitStorage

pytestmark = pytest.mark.anyio
KEY = "batches/bat_1/out/itm_1.1/0"


class Away(LocalStorage):
    """A bucket that does not answer."""

    async def delete_prefix(self, prefix: str) -> int:
        raise StorageUnavailableError


@pytest.fixture
def main(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "main")


async def put(storage: SplitStorage, key: str, path: Path) -> None:
    await asyncio.to_thread(path.write_bytes, key.encode())
    await storage.put(key, path, media_type="text/plain")


def files(tmp_path: Path) -> list[str]:
    found = (path for place in ("main", "results") for path in (tmp_path / place).rglob("*"))
    return sorted(str(path.relative_to(tmp_path)) for path in found if path.is_file())


async def test_each_key_lies_in_its_own_storage_and_is_read_from_there(
    main: LocalStorage, tmp_path: Path
) -> None:
    split = SplitStorage(main, LocalStorage(tmp_path / "results"))
    for key in (KEY, RESULTS + KEY):
        await put(split, key, tmp_path / "f")
        assert b"".join([piece async for piece in split.read(key)]) == key.encode()
        await split.fetch(key, tmp_path / "fetched")
        assert (tmp_path / "fetched").read_bytes() == key.encode()
        (tmp_path / "fetched").unlink()
        await split.fetch_range(key, tmp_path / "fetched", start=0, length=3)
        (tmp_path / "fetched").unlink()
    assert files(tmp_path) == [f"main/{KEY}", f"results/{KEY}"]

    await split.delete([RESULTS + KEY])
    assert files(tmp_path) == [f"main/{KEY}"]


async def test_the_folder_of_a_batch_is_looked_for_and_removed_in_both(
    main: LocalStorage, tmp_path: Path
) -> None:
    split = SplitStorage(main, LocalStorage(tmp_path / "results"))
    await put(split, KEY, tmp_path / "f")
    await put(split, RESULTS + KEY.replace("bat_1", "bat_2"), tmp_path / "f")

    assert {name async for name in split.list_folders("batches/")} == {"bat_1", "bat_2"}
    assert await split.delete_prefix("batches/bat_1/") == 1
    assert await split.delete_prefix("batches/bat_2/") == 1
    assert files(tmp_path) == []


async def test_nothing_is_removed_while_the_bucket_is_away(
    main: LocalStorage, tmp_path: Path
) -> None:
    split = SplitStorage(main, Away(tmp_path / "results"))
    await put(split, KEY, tmp_path / "f")
    with pytest.raises(StorageUnavailableError):
        await split.delete_prefix("batches/bat_1/")
    assert files(tmp_path) == [f"main/{KEY}"]
