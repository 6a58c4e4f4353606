"""What the library takes as a file, beside a path."""

import io
import time
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors.request import UsageError
from batchmill.local.process import process_batch_sync
from batchmill.model.item import ItemStatus
from support.faulty import faulty
from support.local_runs import Process, process
from support.pictures import scene

__all__ = ["faulty", "process"]


@pytest.fixture(scope="module")
def photo() -> bytes:
    return bytes(scene(96, 64).write_to_buffer(".png"))


class Once(io.RawIOBase):
    """A stream that can't go back, as one from the network."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._left = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._left.readinto(buffer)


def test_bytes_file_objects_and_named_bytes_go_through_beside_paths(
    tmp_path: Path, photo: bytes, process: Process
) -> None:
    path = tmp_path / "path.png"
    path.write_bytes(photo)
    with path.open("rb") as opened:
        files = [path, str(path), photo, bytearray(photo), ("trip/b.png", photo), opened]
        files += [io.BytesIO(photo), Once(photo), ("c.png", io.BytesIO(photo)), ("d.png", path)]

        result = process(files, "web", output_dir=tmp_path / "out")

    assert [(item.source.name, item.source.bytes) for item in result.items] == [
        (name, len(photo))
        for name in (
            *("path.png", "path.png", "file-3", "file-4", "trip/b.png", "path.png", "file-7"),
            *("file-8", "c.png", "d.png"),
        )
    ]
    assert [item.status for item in result.items] == [ItemStatus.COMPLETED] * 10
    made = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").glob("**/*.*")}
    assert {"file-3.webp", "trip/b.webp", "c.webp", "d.webp", "file-8.webp"} <= made


def test_bytes_of_one_name_never_replace_each_other(
    tmp_path: Path, photo: bytes, process: Process
) -> None:
    files = [("a.png", photo), ("a.png", photo), ("../../a.png", photo)]

    result = process(files, "web", output_dir=tmp_path / "out")

    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["a-2.webp", "a-3.webp", "a.webp"]
    assert result.successful == 3


@pytest.mark.parametrize("kind", [io.BytesIO, Once])
def test_a_file_object_is_read_again_by_the_second_attempt(
    photo: bytes, kind: Any, faulty: Any, process: Process
) -> None:
    result = process([("flaky-a.png", kind(photo))], {"steps": [{"use": "faulty"}]})

    assert (result.items[0].ok, result.items[0].attempts) == (True, 2)
    assert result.items[0].source.bytes == len(photo)


def test_a_file_object_that_is_given_twice_is_whole_both_times(
    photo: bytes, process: Process
) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            time.sleep(0.01)
            return super().read(size)

    stream = Slow(b"before" + photo)
    stream.seek(6)

    result = process([stream] * 8, "web")

    assert result.successful == 8
    assert not stream.closed


def test_a_file_object_that_fails_costs_only_its_own_file(photo: bytes, process: Process) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise LookupError("the connection was reset")

    closed = io.BytesIO(photo)
    closed.close()

    result = process([("a.png", Broken()), ("b.png", closed), ("c.png", photo)], "web")

    assert [item.ok for item in result.items] == [False, False, True]
    assert [item.error.code for item in result.items if item.error] == ["unreadable_file"] * 2
    assert result.items[0].error is not None
    assert "a.png" in result.items[0].error.message
    assert "the connection was reset" in result.items[0].error.message


@pytest.mark.parametrize(
    "wrong", [7, None, io.StringIO("text"), ("a.png", 7), (7, b""), ("a", b"", b"")]
)
def test_what_holds_no_bytes_is_refused_with_its_place(photo: bytes, wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"File 2 is a \w+; give a path, bytes"):
        process_batch_sync([photo, wrong], "web")


@pytest.mark.parametrize("alone", ["a.jpg", Path("a.jpg"), b"\xff\xd8", io.BytesIO(b"\xff\xd8")])
def test_one_file_that_is_not_in_a_list_is_refused(alone: Any) -> None:
    with pytest.raises(UsageError, match="give a list"):
        process_batch_sync(alone, "web")
