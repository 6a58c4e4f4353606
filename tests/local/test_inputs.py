"""Finding files: what is taken, what is left, and how it is called."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from batchmill.errors.request import UsageError
from batchmill.local.inputs import LocalInput, Search, find


def files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(found: Iterable[LocalInput]) -> list[str]:
    return [each.name for each in found]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_walked_in_order_without_junk_and_hidden_files(folder: Path) -> None:
    files(folder, "in/b.png", "in/a/z.png", "in/a/.hidden", "in/.git/config", "in/Thumbs.db")
    files(folder, "in/__MACOSX/a.png")

    assert names(find(["in"], Search())) == ["b.png", "a/z.png"]
    assert names(find(["in"], Search(recursive=False))) == ["b.png"]


def test_links_are_not_followed_out_of_a_folder(folder: Path) -> None:
    files(folder, "in/a.png", "secret/key")
    (folder / "in" / "folder").symlink_to(folder / "secret")
    (folder / "in" / "file").symlink_to(folder / "secret" / "key")

    assert names(find(["in"], Search())) == ["a.png"]


def test_the_output_folder_is_left_out_unless_it_is_the_input(folder: Path) -> None:
    files(folder, "in/a.png", "in/out/a.webp")

    assert names(find(["in"], Search(without=Path("in/out")))) == ["a.png"]
    assert names(find(["in"], Search(without=Path("in")))) == ["a.png", "out/a.webp"]
    assert names(find(["in/**/*.*"], Search(without=Path("in/out")))) == ["a.png"]


def test_a_file_is_taken_once_however_often_it_is_named(folder: Path) -> None:
    files(folder, "in/a.png")

    assert len(find(["in", "in/a.png", "in/*.png"], Search(), listed=["in/a.png"])) == 1


def test_a_listed_file_keeps_its_folders_but_never_leaves(folder: Path) -> None:
    files(folder, "in/a.png", "in/b/c.png")
    absolute = str(folder / "in" / "b" / "c.png")

    assert names(find([], Search(), listed=["in/a.png"])) == ["in/a.png"]
    assert names(find([], Search(), listed=["in/b/../a.png", absolute])) == ["a.png", "c.png"]


def test_named_files_are_told_from_found_ones(folder: Path) -> None:
    files(folder, "in/a.png")

    assert [each.named for each in find(["in/a.png"], Search())] == [True]
    assert [each.named for each in find(["in"], Search())] == [False]


def test_a_workbook_is_a_file_and_an_archive_is_its_entries(folder: Path) -> None:
    for name in ("book.xlsx", "pack.zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            if name == "book.xlsx":
                archive.writestr("[Content_Types].xml", "<x/>")
                archive.writestr("xl/workbook.xml", "<x/>")
            archive.writestr("a/b.png", "x")

    found = find(["book.xlsx", "pack.zip"], Search())

    assert names(found) == ["book.xlsx", "a/b.png"]
    assert found[1].key.endswith("pack.zip!/a/b.png")
    assert names(find(["pack.zip"], Search(unpack=False))) == ["pack.zip"]


def test_entries_never_lead_out_of_the_output_folder(folder: Path) -> None:
    with zipfile.ZipFile("evil.zip", "w") as archive:
        for name in ("../../etc/passwd", "/etc/shadow", "a\\..\\b.png"):
            archive.writestr(name, "x")

    assert names(find(["evil.zip"], Search())) == ["etc/passwd", "etc/shadow", "a/b.png"]


@pytest.mark.parametrize("path", ["gone", "in/*.gif", "gone/*"])
def test_what_is_not_there_is_refused(folder: Path, path: str) -> None:
    files(folder, "in/a.png")

    with pytest.raises(UsageError, match="check the"):
        find([path], Search())


def test_a_name_with_magic_characters_is_a_name_first(folder: Path) -> None:
    files(folder, "in/a[1].png")

    assert names(find(["in/a[1].png"], Search())) == ["a[1].png"]
