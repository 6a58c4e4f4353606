from pathlib import Path

import pytest

from batchmill.attempt.outputs import collect
from batchmill.errors.item import ChildCrashedError
from batchmill.model.item import Output
from batchmill.sandbox.messages import Report


def report(*names: str, size: int = 3) -> Report:
    return Report(outputs=tuple(Output(name, size, "image/jpeg", "", 0) for name in names))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_bytes(b"abc")
    (tmp_path / "secret").write_bytes(b"key")
    return tmp_path


def test_plain_files_are_collected_in_order(folder: Path) -> None:
    (folder / "out" / "b.jpg").write_bytes(b"def")
    made = collect(report("b.jpg", "a.jpg"), folder, name="x")
    assert [each.path.read_bytes() for each in made] == [b"def", b"abc"]


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "missing.jpg", "sub/a.jpg"])
def test_name_that_is_no_file_of_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ChildCrashedError):
        collect(report(name), folder, name="x")


def test_absolute_name_is_refused(folder: Path) -> None:
    with pytest.raises(ChildCrashedError):
        collect(report(str(folder / "secret")), folder, name="x")


def test_link_to_a_file_elsewhere_is_refused(folder: Path) -> None:
    (folder / "out" / "link").symlink_to(folder / "secret")
    with pytest.raises(ChildCrashedError):
        collect(report("link"), folder, name="x")


def test_folder_of_outputs_that_is_a_link_is_refused(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "out").symlink_to(folder)
    with pytest.raises(ChildCrashedError):
        collect(report("secret"), folder / "elsewhere", name="x")


def test_file_that_has_another_size_than_reported_is_refused(folder: Path) -> None:
    with pytest.raises(ChildCrashedError):
        collect(report("a.jpg", size=4), folder, name="x")


@pytest.mark.parametrize("mode", [0o4755, 0o2644, 0o200])
def test_file_with_an_odd_mode_is_refused(folder: Path, mode: int) -> None:
    (folder / "out" / "a.jpg").chmod(mode)
    with pytest.raises(ChildCrashedError):
        collect(report("a.jpg"), folder, name="x")
