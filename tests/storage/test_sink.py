"""A sink writes while bytes still arrive, so that memory holds no whole file."""

import asyncio
from pathlib import Path

import pytest

from batchmill.storage.disk import PIECE_BYTES
from batchmill.storage.sink import Sink

pytestmark = pytest.mark.anyio


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def written_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def until_written(path: Path, size: int) -> None:
    async with asyncio.timeout(60):
        while written_bytes(path) < size:
            await asyncio.sleep(0.01)


async def test_a_mebibyte_is_written_before_its_file_ends(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    sink.begin()
    sink.append(bytes(PIECE_BYTES))
    await sink.turn()
    await until_written(tmp_path / "0", PIECE_BYTES)
    assert names(tmp_path) == ["0"]
    await sink.discard()


async def test_a_thousand_small_files_are_written_before_the_last_has_come(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    for _ in range(400):
        sink.begin()
        sink.append(b"x")
        sink.end()
    await sink.turn()
    await until_written(tmp_path / "399", 1)
    await sink.discard()
    assert names(tmp_path) == []
