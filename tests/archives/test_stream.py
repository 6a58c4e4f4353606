"""Results as one ZIP archive: what others unpack, and any range of it, from rows alone."""

import asyncio
import io
import os
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchmill.archives.index import ArchiveLimits, index_archive
from batchmill.archives.layout import ArchiveRow, Layout
from batchmill.archives.stream import ArchivePlans, Rows, plan_archive, read_archive
from batchmill.errors.item import InputLostError
from batchmill.errors.request import NotFoundError
from batchmill.model.filenames import label
from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage

ENDED_AT = datetime(2026, 11, 22, 13, 14, 16, tzinfo=UTC)
BODIES = [b"", b"x", b"abc" * 1000, bytes(300_000), b"y" * 2**20, b"z" * 70_001]


def pages_of(rows: Sequence[ArchiveRow], size: int, asked: list[int] | None = None) -> Rows:
    """A source of rows that keeps the files of an item on one page."""

    async def pages(after: int) -> Sequence[ArchiveRow]:
        if asked is not None:
            asked.append(after)
        positions = set(sorted({row.position for row in rows if row.position > after})[:size])
        return [row for row in rows if row.position in positions]

    return pages


def plan(rows: Sequence[ArchiveRow], size: int = 3) -> Layout:
    return asyncio.run(plan_archive(pages_of(rows, size), modified_at=ENDED_AT))


def read(
    layout: Layout, rows: Rows, storage: Storage, *, start: int = 0, stop: int | None = None
) -> bytes:
    async def story() -> bytes:
        pieces = read_archive(layout, rows, storage, start=start, stop=stop)
        return b"".join([piece async for piece in pieces])

    return asyncio.run(story())


def stored(
    storage: Storage, folder: Path, bodies: Sequence[bytes], names: Sequence[str]
) -> list[ArchiveRow]:
    async def put(number: int, body: bytes) -> None:
        path = folder / f"to_put_{number}"
        path.write_bytes(body)
        await storage.put(f"out/{number}", path, media_type="image/jpeg")

    rows = []
    for number, (name, body) in enumerate(zip(names, bodies, strict=True)):
        asyncio.run(put(number, body))
        rows.append(ArchiveRow(number * 2, name, f"out/{number}", len(body), zlib.crc32(body)))
    return rows


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, list[ArchiveRow]]:
    """Six files, small and large, two of one name."""
    folder = tmp_path_factory.mktemp("results")
    storage = LocalStorage(folder / "storage")
    names = ["a.jpg", "dir/été.webp", "A.JPG", "b", "dir/c.tar.gz", "d.png"]
    return storage, stored(storage, folder, BODIES, names)


def test_others_unpack_it_and_find_every_file(
    results: tuple[Storage, list[ArchiveRow]], tmp_path: Path
) -> None:
    storage, rows = results
    layout = plan(rows)
    body = read(layout, pages_of(rows, 3), storage)
    assert len(body) == layout.bytes
    with zipfile.ZipFile(io.BytesIO(body)) as theirs:
        assert theirs.testzip() is None
        assert [theirs.read(each) for each in theirs.infolist()] == BODIES
        assert {each.date_time for each in theirs.infolist()} == {(2026, 11, 22, 13, 14, 16)}
        assert theirs.namelist() == [
            "a.jpg",
            "dir/été.webp",
            "A (#3).JPG",
            "b",
            "dir/c.tar.gz",
            "d.png",
        ]
    (tmp_path / "z").write_bytes(body)
    if unzip := shutil.which("unzip"):
        subprocess.run([unzip, "-tqq", str(tmp_path / "z")], check=True)


def test_our_own_index_agrees_with_it(
    results: tuple[Storage, list[ArchiveRow]], tmp_path: Path
) -> None:
    storage, rows = results
    (tmp_path / "z").write_bytes(read(plan(rows), pages_of(rows, 2), storage))
    index = index_archive(tmp_path / "z", name="results.zip", limits=ArchiveLimits())
    (page,) = index.pages("a/0")
    found = [(each.bytes, each.entry.method, each.entry.crc32) for each in page if each.entry]
    assert found == [(row.bytes, 0, row.crc32) for row in rows]


@settings(deadline=None)
@given(start=st.integers(0, 2_000_000), length=st.integers(0, 700_000), size=st.integers(1, 7))
def test_a_range_is_exactly_that_part_of_the_whole(
    results: tuple[Storage, list[ArchiveRow]], start: int, length: int, size: int
) -> None:
    storage, rows = results
    layout = plan(rows)
    whole = read(layout, pages_of(rows, 3), storage)
    start = start % (len(whole) + 2)
    part = read(layout, pages_of(rows, size), storage, start=start, stop=start + length)
    assert part == whole[start : start + length]


def test_ranges_side_by_side_in_directory_and_end_make_the_whole(
    results: tuple[Storage, list[ArchiveRow]],
) -> None:
    storage, rows = results
    layout = plan(rows, 2)
    whole = read(layout, pages_of(rows, 2), storage)
    for start in range(layout.body_bytes - 5, layout.bytes, 7):
        assert (
            read(layout, pages_of(rows, 2), storage, start=start, stop=start + 7)
            == (whole[start : start + 7])
        )


def test_going_on_late_asks_for_no_earlier_rows(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    rows = [ArchiveRow(number, f"{number}.txt", "out/0", 0, 0) for number in range(3_000)]
    layout, asked = plan(rows, 1_000), list[int]()
    read(layout, pages_of(rows, 1_000, asked), storage, start=layout.body_bytes - 10)
    assert asked == [1_999, -1, 999, 1_999]


def test_equal_rows_give_an_equal_etag_and_different_ones_another(
    results: tuple[Storage, list[ArchiveRow]],
) -> None:
    _, rows = results
    assert plan(rows, 1).etag == plan(rows, 5).etag
    for change in ({"name": "other.jpg"}, {"crc32": 1}, {"bytes": 2}):
        assert plan([*rows[:-1], rows[-1]._replace(**change)]).etag != plan(rows).etag
    later = asyncio.run(
        plan_archive(pages_of(rows, 3), modified_at=datetime(2027, 1, 1, tzinfo=UTC))
    )
    assert later.etag != plan(rows).etag


NAMES = st.lists(
    st.sampled_from(["a.jpg", "A.jpg", "a (#2).jpg", "a (#1).jpg", "b", "b (#3)", "../a.jpg", ""])
    | st.text(max_size=8),
    max_size=12,
)


@settings(deadline=None)
@given(names=NAMES)
@example(names=["a.jpg", "a.jpg", "a (#2).jpg"])
@example(names=["a (#2).jpg", "a.jpg", "A.jpg", "a (#3).jpg"])
def test_no_two_names_in_an_archive_meet_even_where_case_does_not_count(names: list[str]) -> None:
    rows = [ArchiveRow(number, name, "out/0", 0, 0) for number, name in enumerate(names)]
    body = read(plan(rows), pages_of(rows, 3), LocalStorage(Path("/tmp")))  # noqa: S108
    found = zipfile.ZipFile(io.BytesIO(body)).namelist()
    assert len({name.casefold() for name in found}) == len(found) == len(names)
    assert all(name == label(name) for name in found)


def test_the_files_of_one_item_stay_together(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    rows = stored(storage, tmp_path, [b"1", b"2", b"3"], ["a-300.jpg", "a-600.jpg", "b.jpg"])
    rows = [row._replace(position=position) for row, position in zip(rows, (0, 0, 5), strict=True)]
    body = read(plan(rows, 1), pages_of(rows, 1), storage)
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == ["a-300.jpg", "a-600.jpg", "b.jpg"]


def test_an_archive_without_files_is_an_empty_archive(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    body = read(plan([]), pages_of([], 3), storage)
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == []
    assert len(body) == plan([]).bytes


@pytest.mark.long
def test_seventy_thousand_files_need_zip64_and_have_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    rows = [ArchiveRow(number, f"{number}.txt", "out/0", 0, 0) for number in range(70_000)]

    async def pages(after: int) -> Sequence[ArchiveRow]:
        return rows[after + 1 : after + 1_001]

    layout = asyncio.run(plan_archive(pages, modified_at=ENDED_AT))
    body = read(layout, pages, storage)
    assert len(zipfile.ZipFile(io.BytesIO(body)).namelist()) == 70_000


class OverRanges(io.RawIOBase):
    """The archive as a file that is read by ranges, as a browser's resumed download does."""

    def __init__(self, layout: Layout, rows: Rows, storage: Storage) -> None:
        self._source = (layout, rows, storage)
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._source[0].bytes)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._source[0].bytes if size < 0 else self._at + size
        body = read(*self._source, start=self._at, stop=stop)
        self._at += len(body)
        return body


def test_files_and_offsets_beyond_4_gib_are_found(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    rows = stored(storage, tmp_path, [b"", b"behind"], ["big.bin", "behind.txt"])
    big = 2**32 + 5
    (tmp_path / "storage/out/0").chmod(0o600)
    os.truncate(tmp_path / "storage/out/0", big)
    rows[0] = rows[0]._replace(bytes=big)
    layout = plan(rows)
    with zipfile.ZipFile(OverRanges(layout, pages_of(rows, 1), storage)) as theirs:
        assert [each.file_size for each in theirs.infolist()] == [big, 6]
        assert theirs.read("behind.txt") == b"behind"
        with theirs.open("big.bin") as file:
            assert file.read(10) == bytes(10)


def test_a_file_that_is_gone_or_shorter_breaks_the_download_off(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    rows = stored(storage, tmp_path, [b"12345"], ["a.txt"])
    shorter = [rows[0]._replace(bytes=6)]
    with pytest.raises(InputLostError):
        read(plan(shorter), pages_of(shorter, 1), storage)
    asyncio.run(storage.delete(["out/0"]))
    with pytest.raises(NotFoundError):
        read(plan(rows), pages_of(rows, 1), storage)


def test_rows_that_vanished_since_the_plan_break_the_download_off(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    rows = stored(storage, tmp_path, [b"1", b"2"], ["a.txt", "b.txt"])
    with pytest.raises(InputLostError, match="file number 2 of the archive"):
        read(plan(rows), pages_of(rows[:1], 1), storage)


async def test_plans_are_made_once_and_the_oldest_is_forgotten() -> None:
    rows = [ArchiveRow(0, "a.txt", "out/0", 0, 0)]
    asked: list[int] = []

    plans = ArchivePlans(most=2)
    for key in ("a", "b", "a", "c", "a", "b"):
        await plans.get(key, pages_of(rows, 1, asked), modified_at=ENDED_AT)
    assert len(asked) == 2 * 4


@given(st.integers(-40, 40))
@example(0)
@example(-1)
def test_an_archive_is_wide_from_the_first_byte_that_narrow_fields_cannot_count(more: int) -> None:
    empty = plan([ArchiveRow(0, "a", "k", 0, 0), ArchiveRow(1, "a", "k", 0, 0)])
    large = ArchiveRow(0, "a", "k", 2**32 - 1 - empty.body_bytes - 100, 0)
    layout = plan([large, ArchiveRow(1, "a", "k", 100 + more, 0)])
    assert layout.body_bytes == 2**32 - 1 + more
    assert layout.wide == (more >= 0)


def test_an_archive_of_65535_files_counts_them_in_64_bits() -> None:
    def ends_wide(files: int) -> bool:
        rows = [ArchiveRow(number, f"{number}", "k", 0, 0) for number in range(files)]
        return plan(rows, files).end().startswith(b"PK\6\6")

    assert (ends_wide(65_534), ends_wide(65_535)) == (False, True)


def test_a_date_before_1980_becomes_the_first_one_that_a_zip_can_hold() -> None:
    row = ArchiveRow(0, "a", "k", 0, 0)
    headers = [
        asyncio.run(plan_archive(pages_of([row], 1), modified_at=at)).header(row, 0)
        for at in (datetime(1970, 1, 1, tzinfo=UTC), datetime(1980, 1, 1, tzinfo=UTC))
    ]
    assert headers[0] == headers[1]
