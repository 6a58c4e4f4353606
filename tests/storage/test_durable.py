"""What a storage says is stored has been forced to the disk, in the order that a power cut needs.

Bytes before the name that leads to them, the name before the answer.
"""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors.request import ChecksumError
from batchmill.storage import growing
from batchmill.storage.disk import FreeSpace
from batchmill.storage.growing import Checksum
from batchmill.storage.local import LocalStorage
from batchmill.storage.sink import Sink
from support.forced import Forced

pytestmark = pytest.mark.anyio
BODY = b"body"


@pytest.fixture
def forced(tmp_path: Path) -> Forced:
    return Forced(tmp_path)


async def put(storage: LocalStorage, key: str, path: Path) -> None:
    path.write_bytes(BODY)  # noqa: ASYNC240 - a few bytes
    await storage.put(key, path, media_type="image/jpeg")


async def test_a_file_is_forced_before_it_gets_its_name_and_its_name_after_that(
    tmp_path: Path, forced: Forced
) -> None:
    storage = LocalStorage(tmp_path / "storage", sync=forced)
    await put(storage, "a/b/0", tmp_path / "new")
    assert forced.notes == [
        ("new", BODY),
        ("storage", ["a"]),
        ("storage/a", ["b"]),
        ("storage/a/b", ["0"]),
    ]


async def test_a_folder_is_forced_once_and_again_when_it_was_gone(
    tmp_path: Path, forced: Forced
) -> None:
    storage = LocalStorage(tmp_path / "storage", sync=forced)
    await put(storage, "a/0", tmp_path / "new")
    await put(storage, "a/1", tmp_path / "new")
    assert forced.notes[3:] == [("new", BODY), ("storage/a", ["0", "1"])]
    await storage.delete(["a/0", "a/1"])
    forced.notes.clear()
    await put(storage, "a/2", tmp_path / "new")
    assert forced.notes == [("new", BODY), ("storage", ["a"]), ("storage/a", ["2"])]


async def test_a_folder_that_another_process_removed_is_made_and_forced_again(
    tmp_path: Path, forced: Forced
) -> None:
    storage = LocalStorage(tmp_path / "storage", sync=forced)
    await put(storage, "a/0", tmp_path / "new")
    await LocalStorage(tmp_path / "storage").delete(["a/0"])
    forced.notes.clear()
    await put(storage, "a/1", tmp_path / "new")
    assert forced.notes == [("new", BODY), ("storage", ["a"]), ("storage/a", ["1"])]


async def test_a_copy_from_another_disk_is_forced_before_it_gets_its_name(
    tmp_path: Path, small_disk: Path, forced: Forced
) -> None:
    storage = LocalStorage(tmp_path / "storage", sync=forced)
    await put(storage, "a/0", small_disk / "new")
    *_, (part, held), (folder, names) = forced.notes
    assert part.startswith("storage/a/.")
    assert held == BODY
    assert (folder, names) == ("storage/a", ["0"])


async def test_files_of_a_form_are_forced_each_and_then_their_names(
    tmp_path: Path, forced: Forced
) -> None:
    sink = Sink(tmp_path, sync=forced)
    for number in range(9):
        sink.begin()
        sink.append(b"%d" % number)
        sink.end()
    await sink.finish()
    names = [str(number) for number in range(9)]
    assert sorted(forced.notes[:-1]) == [(name, name.encode()) for name in names]
    assert forced.notes[-1] == (".", names)


async def test_an_upload_that_was_begun_is_there_after_a_power_cut(
    tmp_path: Path, forced: Forced
) -> None:
    growing.begin(FreeSpace(tmp_path, sync=forced), tmp_path / "file")
    assert forced.notes == [(".", ["file"])]


async def arriving(pieces: list[bytes], *, breaks: bool) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if breaks:
        raise ConnectionError


async def sent(forced: Forced, pieces: list[bytes], *, breaks: bool, checked: bool) -> bytes:
    """Send pieces to an upload; return what has arrived of them."""
    room, path = FreeSpace(forced.root, sync=forced), forced.root / "file"
    growing.begin(room, path)
    wrong = hashlib.sha256(b"".join([*pieces, b"more"] if breaks else pieces))
    checksum = Checksum("sha256", wrong.digest()) if checked else None
    try:
        await growing.append(
            room,
            path,
            arriving(pieces, breaks=breaks and not checked),
            offset_bytes=0,
            length_bytes=10_000,
            checksum=checksum,
        )
    except (ConnectionError, ChecksumError):
        assert breaks
    return path.read_bytes()


@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6),
    breaks=st.booleans(),
    checked=st.booleans(),
)
async def test_what_counts_as_arrived_was_forced_to_the_disk(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], breaks: bool, checked: bool
) -> None:
    forced = Forced(tmp_path_factory.mktemp("uploads"))
    arrived = await sent(forced, pieces, breaks=breaks, checked=checked)
    assert arrived == (b"" if breaks and checked else b"".join(pieces))
    assert (forced.bytes_of("file") or b"") == arrived
