"""Unpacking one entry: what it promised comes out, or a clear error and no file."""

import asyncio
import random
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.archives.entry import unpack_entry, unpack_local
from batchmill.archives.index import ArchiveLimits, index_archive
from batchmill.errors.item import (
    EncryptedFileError,
    InputLostError,
    ItemError,
    UnpacksTooLargeError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from batchmill.errors.outage import StorageFullError
from batchmill.model.item import ArchiveEntry, Input
from batchmill.model.limits import Limits
from support.archives import Entry, deflated, written

NOISE = random.Random(1).randbytes(3_000_000)  # noqa: S311
LIMITS = Limits()


def inputs(path: Path) -> list[Input]:
    index = index_archive(path, name="photos.zip", limits=ArchiveLimits())
    return [each for page in index.pages("a/0") for each in page]


def entry_range(path: Path, source: Input) -> bytes:
    assert source.entry
    end = source.entry.offset + source.entry.compressed_bytes
    return path.read_bytes()[source.entry.offset : end]


async def pieces(path: Path, source: Input, count: int = 4) -> AsyncIterator[bytes]:
    """What a storage would yield of the entry's range, in `count` pieces and a rest."""
    body = entry_range(path, source)
    size = len(body) // count or 1
    for start in range(0, len(body), size):
        yield body[start : start + size]


def unpack(path: Path, source: Input, target: Path, *, count: int = 4) -> bytes:
    """Unpack through both doors, which must give the same."""
    asyncio.run(unpack_entry(pieces(path, source, count), source, target, limits=LIMITS))
    local = target.with_name("local")
    unpack_local(path, source, local, limits=LIMITS)
    assert local.read_bytes() == target.read_bytes()
    return target.read_bytes()


def refused(path: Path, error: type[ItemError], limits: Limits = LIMITS) -> str:
    """Return the sentence with which the only entry of an archive fails; no file is left."""
    (source,) = inputs(path)
    target = path.with_name("target")
    with pytest.raises(error) as local:
        unpack_local(path, source, target, limits=limits)
    with pytest.raises(error) as remote:
        asyncio.run(unpack_entry(pieces(path, source), source, target, limits=limits))
    assert not target.exists()
    assert local.value.message == remote.value.message
    return local.value.message


@pytest.mark.parametrize("method", [0, 8, 12, 14])
@pytest.mark.parametrize("body", [b"", b"x", NOISE, b"\0" * 9_000_000], ids=len)
def test_every_usual_method_gives_back_the_file(method: int, body: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w", method) as out:
        out.writestr("a.bin", body)
    (source,) = inputs(tmp_path / "z")
    assert unpack(tmp_path / "z", source, tmp_path / "target") == body


@settings(deadline=None)
@given(
    body=st.binary(max_size=300) | st.builds(bytes.__mul__, st.binary(max_size=5), st.just(999)),
    method=st.sampled_from([0, 8, 12, 14]),
    count=st.integers(1, 20),
)
def test_the_file_is_the_same_however_its_range_arrives(
    body: bytes, method: int, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("unpack")
    with zipfile.ZipFile(folder / "z", "w", method) as out:
        out.writestr("a.bin", body)
    (source,) = inputs(folder / "z")
    assert unpack(folder / "z", source, folder / "target", count=count) == body


def test_only_the_entry_s_own_range_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a", b"first"), Entry(b"b", b"second"), Entry(b"c"))
    assert unpack(path, inputs(path)[1], tmp_path / "target") == b"second"


def test_stored_entries_with_sizes_behind_them_are_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a", NOISE, descriptor=True))
    assert unpack(path, inputs(path)[0], tmp_path / "target") == NOISE


def test_a_wrong_checksum_is_found(tmp_path: Path) -> None:
    wrong = {"crc32": 5}
    path = written(tmp_path / "z", Entry(b"a.jpg", says=wrong, local=wrong))
    assert "a.jpg cannot be read: its checksum" in refused(path, UnreadableFileError)


def test_an_encrypted_entry_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a.jpg", flags=1))
    assert refused(path, EncryptedFileError).startswith("a.jpg is encrypted")


def test_a_contradictory_entry_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a.jpg", local={"name": b"b.jpg"}))
    assert "contradicts" in refused(path, UnreadableFileError)


@pytest.mark.parametrize("method", [1, 6, 9, 93, 95, 97])
def test_an_unknown_method_is_named(method: int, tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a.jpg", method=method))
    assert f"method {method}" in refused(path, UnsupportedTypeError)


@pytest.mark.parametrize("method", [8, 12, 14])
def test_damaged_packed_bytes_are_unreadable(method: int, tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a.jpg", b"x" * 500, packed=b"\xff" * 99, method=method))
    assert "a.jpg cannot be read" in refused(path, UnreadableFileError)


def test_an_lzma_dictionary_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    head = b"\x09\x14\x05\x00\x5d\xff\xff\xff\xff"
    path = written(tmp_path / "z", Entry(b"a", b"x" * 9, packed=head + b"\0" * 99, method=14))
    assert "damaged" in refused(path, UnreadableFileError)


@pytest.mark.parametrize(("declared", "says"), [(999, "more bytes"), (1001, "fewer bytes")])
def test_a_declared_size_must_be_kept(declared: int, says: str, tmp_path: Path) -> None:
    lie = {"bytes": declared}
    entry = Entry(b"a", b"x" * 1000, packed=deflated(b"x" * 1000), method=8, says=lie, local=lie)
    assert says in refused(written(tmp_path / "z", entry), UnreadableFileError)


def test_a_bomb_with_a_modest_declaration_stops_right_behind_it(tmp_path: Path) -> None:
    body, lie = b"\0" * 100_000_000, {"bytes": 1000, "crc32": zlib.crc32(b"\0" * 1000)}
    entry = Entry(b"a", body, packed=deflated(body), method=8, says=lie, local=lie)
    assert "more bytes" in refused(written(tmp_path / "z", entry), UnreadableFileError)


def test_a_bomb_that_declares_its_ratio_is_refused_before_it_is_read(tmp_path: Path) -> None:
    body = b"\0" * 10_000_001
    path = written(tmp_path / "z", Entry(b"a.bin", body, packed=deflated(body), method=8))
    assert "200 times" in refused(path, UnpacksTooLargeError)


def test_a_high_ratio_is_fine_for_a_small_file(tmp_path: Path) -> None:
    body = b"\0" * 10_000_000
    path = written(tmp_path / "z", Entry(b"a.bin", body, packed=deflated(body), method=8))
    assert unpack(path, inputs(path)[0], tmp_path / "target") == body


def test_an_entry_over_the_limit_for_one_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a.jpg", b"x" * 1000))
    message = refused(path, UnpacksTooLargeError, Limits(unpacked_bytes=999))
    assert message == "a.jpg unpacks to more than the limit of 999 bytes"


def test_a_range_that_ends_early_is_a_lost_input(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a.jpg", b"x" * 100))
    (source,) = inputs(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputLostError):
        unpack_local(path, source, tmp_path / "target", limits=LIMITS)
    assert not (tmp_path / "target").exists()


def test_a_full_disk_is_an_outage_and_not_the_file_s_fault(
    small_disk: Path, tmp_path: Path
) -> None:
    path = written(tmp_path / "z", Entry(b"a", NOISE))
    with pytest.raises(StorageFullError):
        unpack_local(path, inputs(path)[0], small_disk / "target", limits=LIMITS)
    assert list(small_disk.iterdir()) == []


async def test_a_cancelled_unpacking_leaves_nothing_behind(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a", NOISE))
    (source,) = inputs(path)
    begun = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        async for piece in pieces(path, source):
            yield piece
            begun.set()
            await asyncio.Event().wait()

    target = tmp_path / "target"
    unpacking = asyncio.create_task(unpack_entry(stuck(), source, target, limits=LIMITS))
    await begun.wait()
    unpacking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unpacking
    assert not (tmp_path / "target").exists()


def test_a_whole_file_is_no_entry(tmp_path: Path) -> None:
    whole = Input("a/0", "a.jpg", 5)
    with pytest.raises(ValueError, match=r"a\.jpg is no entry"):
        unpack_local(tmp_path / "z", whole, tmp_path / "target", limits=LIMITS)


def test_a_target_that_exists_is_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a"))
    (tmp_path / "target").write_bytes(b"precious")
    source = Input("a/0", "a", 4, entry=ArchiveEntry(31, 4, 0, zlib.crc32(b"body")))
    with pytest.raises(FileExistsError):
        unpack_local(path, source, tmp_path / "target", limits=LIMITS)
    assert (tmp_path / "target").read_bytes() == b"precious"
