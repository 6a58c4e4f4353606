"""What may be taken out of a child's folder, and how."""

import hashlib
import os
import zlib
from pathlib import Path

import pytest

from batchmill.errors.item import ChildCrashedError
from batchmill.model.item import Output
from batchmill.sandbox.messages import Job
from batchmill.sandbox.taking import take


def outputs(*names: str, size: int = 3) -> tuple[Output, ...]:
    return tuple(Output(name, size, "image/jpeg", "false", 1) for name in names)


@pytest.fixture
def inside(tmp_path: Path) -> Job:
    """Return a job whose folder holds one output, beside a file that is not the child's."""
    out = tmp_path / "work" / "1" / "out"
    out.mkdir(parents=True)
    (out / "a.jpg").write_bytes(b"abc")
    (tmp_path / "secret").write_bytes(b"key")
    return Job(str(tmp_path / "in"), str(out.parent), "cat.jpg", ())


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "attempt").mkdir()
    return str(tmp_path / "attempt")


def out(inside: Job) -> Path:
    return Path(inside.folder, "out")


def test_files_are_taken_in_order_and_measured_anew(inside: Job, folder: str) -> None:
    (out(inside) / "b.jpg").write_bytes(b"def")
    taken = take(outputs("b.jpg", "a.jpg"), inside, folder)
    assert [each.name for each in taken] == ["b.jpg", "a.jpg"]
    assert [Path(folder, each.name).read_bytes() for each in taken] == [b"def", b"abc"]
    assert [each.sha256 for each in taken] == [
        hashlib.sha256(body).hexdigest() for body in (b"def", b"abc")
    ]
    assert [each.crc32 for each in taken] == [zlib.crc32(b"def"), zlib.crc32(b"abc")]


def test_what_a_child_writes_through_an_old_descriptor_reaches_no_file_that_was_taken(
    inside: Job, folder: str, tmp_path: Path
) -> None:
    held = os.open(out(inside) / "a.jpg", os.O_WRONLY)
    os.link(out(inside) / "a.jpg", tmp_path / "work" / "link")
    take(outputs("a.jpg"), inside, folder)
    os.write(held, b"XYZ")
    (tmp_path / "work" / "link").write_bytes(b"XYZ")
    os.close(held)
    assert Path(folder, "a.jpg").read_bytes() == b"abc"


def test_large_file_is_taken_whole(inside: Job, folder: str) -> None:
    body = os.urandom(3 * 2**20 + 5)
    (out(inside) / "a.jpg").write_bytes(body)
    (taken,) = take(outputs("a.jpg", size=len(body)), inside, folder)
    assert Path(folder, "a.jpg").read_bytes() == body
    assert taken.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "missing.jpg", "sub/a.jpg"])
def test_name_that_is_no_file_of_the_folder_is_refused(inside: Job, folder: str, name: str) -> None:
    with pytest.raises(ChildCrashedError):
        take(outputs(name), inside, folder)


def test_absolute_name_is_refused(inside: Job, folder: str, tmp_path: Path) -> None:
    with pytest.raises(ChildCrashedError):
        take(outputs(str(tmp_path / "secret")), inside, folder)


def test_link_to_a_file_elsewhere_is_refused(inside: Job, folder: str, tmp_path: Path) -> None:
    (out(inside) / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ChildCrashedError):
        take(outputs("link"), inside, folder)


@pytest.mark.parametrize("level", ["out", "job"])
def test_folder_that_is_a_link_is_refused(
    inside: Job, folder: str, tmp_path: Path, level: str
) -> None:
    (tmp_path / "elsewhere" / "out").mkdir(parents=True)
    (tmp_path / "elsewhere" / "out" / "a.jpg").write_bytes(b"key")
    (out(inside) / "a.jpg").unlink()
    out(inside).rmdir()
    if level == "out":
        out(inside).symlink_to(tmp_path / "elsewhere" / "out")
    else:
        Path(inside.folder).rmdir()
        Path(inside.folder).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ChildCrashedError):
        take(outputs("a.jpg"), inside, folder)


def test_pipe_that_would_block_is_refused(inside: Job, folder: str) -> None:
    os.mkfifo(out(inside) / "pipe")
    with pytest.raises(ChildCrashedError):
        take(outputs("pipe", size=0), inside, folder)


@pytest.mark.parametrize("size", [2, 4])
def test_file_that_has_another_size_than_reported_is_refused(
    inside: Job, folder: str, size: int
) -> None:
    with pytest.raises(ChildCrashedError):
        take(outputs("a.jpg", size=size), inside, folder)


def test_copy_has_a_mode_of_ours_whatever_the_child_gave_its_own(inside: Job, folder: str) -> None:
    (out(inside) / "a.jpg").chmod(0o4755)
    take(outputs("a.jpg"), inside, folder)
    assert Path(folder, "a.jpg").stat().st_mode & 0o7777 == 0o600
