"""Indexing an archive: honest ones of every kind are read, harmful ones are refused whole."""

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.archives.index import (
    DISAGREES,
    ENCRYPTED,
    ArchiveIndex,
    ArchiveLimits,
    Kind,
    index_archive,
)
from batchmill.errors.request import (
    EmptyArchiveError,
    RequestError,
    TooLargeError,
    UnreadableArchiveError,
)
from batchmill.model.item import Input
from support.archives import Entry, archive, deflated, written

LIMITS = ArchiveLimits()


def index(path: Path, limits: ArchiveLimits = LIMITS) -> ArchiveIndex:
    return index_archive(path, name="photos.zip", limits=limits)


def inputs(path: Path, limits: ArchiveLimits = LIMITS) -> list[Input]:
    return [each for page in index(path, limits).pages("a/0") for each in page]


def methods(path: Path) -> list[int]:
    return [each.entry.method for each in inputs(path) if each.entry]


def refused(path: Path, limits: ArchiveLimits = LIMITS) -> str:
    with pytest.raises(UnreadableArchiveError) as error:
        index(path, limits)
    assert "photos.zip" in error.value.message
    return error.value.message


def zipped(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, body in files.items():
            out.writestr(name, body)
    return path


def unicode_path(of: bytes, name: bytes) -> bytes:
    return struct.pack("<2HBI", 0x7075, 5 + len(name), 1, zlib.crc32(of)) + name


def test_every_file_becomes_an_input_with_its_range(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z", {"a/1.jpg": b"one", "été.jpg": b"x" * 1000})
    first, second = inputs(path)
    assert (first.name, first.bytes, first.key) == ("a/1.jpg", 3, "a/0")
    assert (second.name, second.bytes) == ("été.jpg", 1000)
    assert second.entry is not None
    start, size = second.entry.offset, second.entry.compressed_bytes
    packed = path.read_bytes()[start : start + size]
    assert zlib.decompress(packed, -15) == b"x" * 1000
    assert second.entry.crc32 == zlib.crc32(b"x" * 1000)


def test_pages_have_the_size_that_was_asked_for_and_keep_the_order(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z", {f"{number}.jpg": b"x" for number in range(25)})
    pages = list(index(path).pages("a/0", rows=10))
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [each.name for page in pages for each in page] == [f"{n}.jpg" for n in range(25)]


@pytest.mark.long
def test_seventy_thousand_entries_are_all_found(tmp_path: Path) -> None:
    path = tmp_path / "z"
    with zipfile.ZipFile(path, "w") as out:
        for number in range(70_000):
            out.writestr(zipfile.ZipInfo(f"{number}.txt"), b"")
    found = inputs(path, ArchiveLimits(entries=70_000))
    assert len({each.name for each in found}) == len(found) == 70_000


def test_zip64_sizes_and_offsets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "z"
    big = 2**32 + 10
    with path.open("wb") as file:
        # A sparse file: a stored entry of 4 GiB, and one behind it whose offset needs 64 bits.
        header = Entry(b"big", b"").header()
        local = header[:18] + b"\xff" * 8 + header[26:28] + struct.pack("<H", 20) + header[30:]
        file.write(local + struct.pack("<2H2Q", 1, 16, big, big))
        file.seek(big, 1)
        second_at = file.tell()
        file.write(Entry(b"small").header() + b"body")
        directory_at = file.tell()
        full = {"packed_bytes": 2**32 - 1, "bytes": 2**32 - 1}
        sizes = struct.pack("<2H2Q", 1, 16, big, big)
        file.write(Entry(b"big", b"", extra=sizes, says=full).record(0))
        offset = struct.pack("<2HQ", 1, 8, second_at)
        file.write(Entry(b"small", extra=offset).record(2**32 - 1))
        size = file.tell() - directory_at
        at = file.tell()
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, size, directory_at))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, at, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, size, 2**32 - 1, 0))
    first, second = inputs(path)
    assert (first.name, first.bytes) == ("big", big)
    assert second.entry is not None
    assert second.entry.offset == second_at + 35
    assert second.entry.method == 0


def test_prepended_bytes_shift_every_offset(tmp_path: Path) -> None:
    (found,) = inputs(written(tmp_path / "z", Entry(b"a"), prepended=b"#!/bin/sh\n" * 50))
    assert found.entry is not None
    assert (found.entry.offset, found.entry.method) == (531, 0)


def test_offsets_that_already_count_what_is_prepended_are_believed(tmp_path: Path) -> None:
    stub = b"x" * 100
    plain = archive(Entry(b"a", says={"offset": 100}), offset=100 + 35, prepended=stub)
    (tmp_path / "z").write_bytes(plain)
    (found,) = inputs(tmp_path / "z")
    assert found.entry is not None
    assert (found.entry.offset, found.entry.method) == (131, 0)


def test_a_comment_and_bytes_behind_the_end_do_not_hide_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z", {"a": b"1"})
    with zipfile.ZipFile(path, "a") as out:
        out.comment = b"PK\5\6" * 100
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    assert [each.name for each in inputs(path)] == ["a"]


def test_stored_entries_with_sizes_behind_them_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a", descriptor=True), Entry(b"b", descriptor=True))
    assert methods(path) == [0, 0]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (Entry(b"../../etc/passwd"), "etc/passwd"),
        (Entry(b"/abs"), "abs"),
        (Entry(b"C:\\dir\\a.jpg"), "dir/a.jpg"),
        (Entry("ü.jpg".encode(), flags=0x800), "ü.jpg"),
        (Entry("ü.jpg".encode()), "ü.jpg"),
        (Entry("ü.jpg".encode("cp437")), "ü.jpg"),
        (Entry(b"\xff.jpg", flags=0x800), "\xa0.jpg"),
        (Entry(b"x.jpg", extra=unicode_path(b"x.jpg", b"u.jpg")), "u.jpg"),
        (Entry(b"x.jpg", extra=unicode_path(b"y.jpg", b"u.jpg")), "x.jpg"),
        (Entry(b"a\x1b[2Jb.jpg"), "a_[2Jb.jpg"),
    ],
)
def test_names_are_labels_decoded_as_their_writers_meant(
    entry: Entry, name: str, tmp_path: Path
) -> None:
    assert [each.name for each in inputs(written(tmp_path / "z", entry))] == [name]


def test_entries_of_one_name_are_all_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a", b"1"), Entry(b"a", b"22"), Entry(b"a", b"333"))
    assert [(each.name, each.bytes) for each in inputs(path)] == [("a", 1), ("a", 2), ("a", 3)]


def test_folders_junk_and_special_files_are_counted_and_left_out(tmp_path: Path) -> None:
    link, device = stat.S_IFLNK << 16, stat.S_IFBLK << 16
    path = written(
        tmp_path / "z",
        Entry(b"dir/", b""),
        Entry(b"dos", b"", attributes=0x10),
        Entry(b"__MACOSX/dir/._a.jpg"),
        Entry(b"dir/.DS_Store"),
        Entry(b"dir/Thumbs.db"),
        Entry(b"dir/._b.jpg"),
        Entry(b"link", b"/etc/passwd", host=3, attributes=link),
        Entry(b"disk", host=3, attributes=device),
        Entry(b"dir/a.jpg", host=3, attributes=stat.S_IFREG << 16),
    )
    assert [each.name for each in inputs(path)] == ["dir/a.jpg"]
    counts = {Kind.FOLDER: 2, Kind.JUNK: 4, Kind.SPECIAL: 2, Kind.FILE: 1}
    assert index(path).counts == counts


@pytest.mark.parametrize(
    "entries",
    [[], [Entry(b"dir/", b"")], [Entry(b"dir/", b""), Entry(b"__MACOSX/x"), Entry(b".DS_Store")]],
)
def test_an_archive_without_a_usable_file_is_an_error(entries: list[Entry], tmp_path: Path) -> None:
    with pytest.raises(EmptyArchiveError, match=rf"photos\.zip holds no file .*\({len(entries)} "):
        index(written(tmp_path / "z", *entries))


@pytest.mark.parametrize(
    "bad",
    [
        Entry(b"b", local={"name": b"c"}),
        Entry(b"b", local={"name": b"bb"}),
        Entry(b"b", local={"method": 8}),
        Entry(b"b", local={"flags": 1}),
        Entry(b"b", local={"crc32": 1}),
        Entry(b"b", local={"bytes": 5}),
        Entry(b"b", local={"packed_bytes": 5}),
        Entry(b"b", local={"mark": b"PK\3\5"}),
        Entry(b"b", says={"bytes": 5}, local={"bytes": 5}),
    ],
)
def test_an_entry_that_contradicts_the_directory_is_marked_and_the_others_are_not(
    bad: Entry, tmp_path: Path
) -> None:
    assert methods(written(tmp_path / "z", Entry(b"a"), bad, Entry(b"c"))) == [0, DISAGREES, 0]


def test_encrypted_entries_are_marked_and_the_others_are_not(tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a", flags=1), Entry(b"b", method=99), Entry(b"c"))
    assert methods(path) == [ENCRYPTED, ENCRYPTED, 0]


def test_a_bomb_whose_entries_share_their_bytes_is_refused(tmp_path: Path) -> None:
    kernel = deflated(b"\0" * 10_000_000)
    shared = [
        Entry(b"%d" % number, b"\0" * 10_000_000, packed=kernel, method=8, says={"offset": 0})
        for number in range(3)
    ]
    assert "overlap" in refused(written(tmp_path / "z", *shared))


def test_entries_nested_in_another_are_refused_whatever_their_order(tmp_path: Path) -> None:
    inner = Entry(b"inner", b"1234")
    outer = Entry(b"outer", inner.header() + b"1234")
    hidden = Entry(b"inner", b"1234", says={"offset": 35})
    path = written(tmp_path / "z", outer, hidden)
    assert "overlap" in refused(path)
    path = written(tmp_path / "z", hidden, outer)
    with pytest.raises(UnreadableArchiveError):
        index(path)


def test_entries_in_another_order_than_the_directory_are_fine(tmp_path: Path) -> None:
    one, two = Entry(b"1", b"one"), Entry(b"2", b"two2")
    body = one.header() + b"one" + two.header() + b"two2"
    directory = two.record(34) + one.record(0)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(directory), len(body), 0)
    (tmp_path / "z").write_bytes(body + directory + end)
    assert [each.name for each in inputs(tmp_path / "z")] == ["2", "1"]
    assert methods(tmp_path / "z") == [0, 0]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Entry(b"a", says={"packed_bytes": 10**6}), "directory"),
        (Entry(b"a", says={"offset": 10**6}), "directory"),
        (Entry(b"a", says={"offset": 2**32 - 1}), "damaged"),
    ],
)
def test_entries_that_reach_out_of_the_archive_are_refused(
    entry: Entry, says: str, tmp_path: Path
) -> None:
    assert says in refused(written(tmp_path / "z", entry))


def test_offsets_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    wide = struct.pack("<2HQ", 1, 8, 2**64 - 1)
    entry = Entry(b"a", extra=wide, says={"offset": 2**32 - 1})
    assert "directory" in refused(written(tmp_path / "z", entry))


@pytest.mark.parametrize("records", [0, 1, 3])
def test_an_end_that_counts_other_entries_is_refused(records: int, tmp_path: Path) -> None:
    path = written(tmp_path / "z", Entry(b"a"), Entry(b"b"), records=records)
    assert "number of entries" in refused(path)


def test_a_part_of_a_split_archive_is_refused(tmp_path: Path) -> None:
    assert "split" in refused(written(tmp_path / "z", Entry(b"a"), disk=1))


def test_limits_hold_for_the_number_of_entries_and_for_what_they_unpack_to(tmp_path: Path) -> None:
    path = written(tmp_path / "z", *(Entry(b"%d" % number) for number in range(3)))
    assert len(inputs(path, ArchiveLimits(entries=3, unpacked_bytes=12))) == 3
    with pytest.raises(TooLargeError, match="more than 2 entries"):
        index(path, ArchiveLimits(entries=2))
    with pytest.raises(TooLargeError, match="unpacks to more than"):
        index(path, ArchiveLimits(unpacked_bytes=11))


def test_an_entry_that_is_too_large_by_itself_does_not_count_towards_the_whole(
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "z", Entry(b"a"), Entry(b"huge", b"x" * 1_000), Entry(b"b"))
    found = inputs(path, ArchiveLimits(unpacked_bytes=100, entry_bytes=999))
    assert [each.name for each in found] == ["a", "huge", "b"]
    with pytest.raises(TooLargeError, match="unpacks to more than"):
        index(path, ArchiveLimits(unpacked_bytes=100, entry_bytes=1_000))


def test_folders_without_end_are_refused_too(tmp_path: Path) -> None:
    folders = [Entry(b"%d/" % number, b"") for number in range(10)]
    with pytest.raises(TooLargeError):
        index(written(tmp_path / "z", Entry(b"a"), *folders), ArchiveLimits(entries=2))


GOOD = archive(Entry(b"a.jpg", b"1" * 50), Entry(b"b.jpg", deflated(b"2" * 50), method=8))


@settings(deadline=None)
@given(length=st.integers(0, len(GOOD) - 1))
def test_an_archive_that_is_cut_short_is_refused(
    length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(GOOD[:length])
    assert refused(path).endswith("pack it again.")


@settings(deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_a_damaged_archive_is_indexed_or_refused_but_never_crashes(
    changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(GOOD)
    for at, value in changes:
        damaged[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    try:
        found = inputs(path)
    except RequestError:
        return
    assert all(each.entry and each.entry.offset >= 0 for each in found)


def test_what_python_reads_is_what_the_index_finds(tmp_path: Path) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as out:
        for number, method in enumerate((0, 8, 12, 14) * 5):
            out.writestr(f"d{number % 3}/{number}.bin", bytes(number * 10), compress_type=method)
    (tmp_path / "z").write_bytes(body.getvalue())
    theirs = [(each.filename, each.file_size) for each in zipfile.ZipFile(body).infolist()]
    assert [(each.name, each.bytes) for each in inputs(tmp_path / "z")] == theirs


@pytest.mark.parametrize("shared_bytes", [1, 4])
def test_entries_that_share_a_few_bytes_are_refused(shared_bytes: int, tmp_path: Path) -> None:
    longer = {"packed_bytes": 4 + shared_bytes}
    entries = (Entry(b"a", says=longer, local=longer), Entry(b"b"))
    assert "overlap" in refused(written(tmp_path / "a.zip", *entries))


def test_a_file_that_is_marked_as_a_folder_of_dos_stays_a_file(tmp_path: Path) -> None:
    entries = (Entry(b"a", attributes=0x10), Entry(b"b", b"", attributes=0x10))
    assert index(written(tmp_path / "a.zip", *entries)).counts == {Kind.FILE: 1, Kind.FOLDER: 1}


@pytest.mark.parametrize("field", ["disk", "directory_disk"])
def test_a_part_of_a_split_archive_is_told_by_either_number(field: str, tmp_path: Path) -> None:
    end: dict[str, Any] = {field: 1}
    assert "split" in refused(written(tmp_path / "a.zip", Entry(b"a"), **end))
