"""The bytes of a ZIP archive that is never written down, known from names, sizes and checksums.

Entries are stored, not packed, so every offset is a sum: the archive has a length, an ETag and
ranges before any file is read. Planning takes 12 bytes of memory an entry, a plan one. Source of
the format: PKWARE APPNOTE 6.3.10.
"""

import builtins
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from operator import attrgetter
from struct import Struct
from typing import NamedTuple

from batchmill.model.filenames import label

FIRST = -1
"""The position before every row."""

_LOCAL = Struct("<4s5H3I2H")
_RECORD = Struct("<4s6H3I5H2I")
_END = Struct("<4s4H2IH")
_END64 = Struct("<4sQ2H2I4Q")
_LOCATOR = Struct("<4sIQI")
_SIZES_FIELD = Struct("<2H2Q")
_WIDE_FIELD = Struct("<2H3Q")
_ZIP64_FIELD = 1
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_NEEDED, _NEEDED_64, _BY_UNIX = 20, 45, 3 << 8
_IS_UTF8 = 0x0800
_REGULAR_FILE = 0o100644 << 16
_FIRST_YEAR = 1980
_BUCKETS = 256

_NUMBERED = re.compile(r" \(#\d+\)(\.\w{1,16})?$")
_SUFFIX = re.compile(r"\.\w{1,16}$")


class ArchiveRow(NamedTuple):
    """One file of an archive: `bytes` long under `key` in the storage.

    `position` rises from row to row, or stays the same for the files of one item.
    """

    position: int
    name: str
    key: str
    bytes: int
    crc32: int


class Checkpoint(NamedTuple):
    """Where the rows behind position `after` begin: their number, entries and records."""

    after: int
    number: int
    offset: int
    record_offset: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A planned archive: entries, directory, end. Record offsets count from the directory.

    `wide` archives, of 4 GiB and more, have zip64 fields in every record of the directory, so
    that a record's length does not depend on where its entry lies.
    """

    files: int
    body_bytes: int
    directory_bytes: int
    etag: str
    wide: bool
    checkpoints: tuple[Checkpoint, ...]
    _dos_time: int
    _numbered: bytes

    @property
    def bytes(self) -> int:
        """The length of the whole archive."""
        return self.body_bytes + self.directory_bytes + len(self.end())

    def at_offset(self, offset: int) -> Checkpoint:
        """Return the last checkpoint whose entries begin at or before `offset`."""
        return self._before(offset, "offset")

    def at_record(self, record_offset: int) -> Checkpoint:
        """Return the last checkpoint whose records begin at or before `record_offset`."""
        return self._before(record_offset, "record_offset")

    def header(self, row: ArchiveRow, number: int) -> builtins.bytes:
        """Return what stands before the bytes of the file with this number."""
        name = self._name(row, number)
        size, extra, needed = row.bytes, b"", _NEEDED
        if size >= _FULL_32:
            extra = _SIZES_FIELD.pack(_ZIP64_FIELD, 16, size, size)
            size, needed = _FULL_32, _NEEDED_64
        time = (self._dos_time & _FULL_16, self._dos_time >> 16)
        sizes = (row.crc32, size, size, len(name), len(extra))
        return _LOCAL.pack(b"PK\3\4", needed, _IS_UTF8, 0, *time, *sizes) + name + extra

    def record(self, row: ArchiveRow, number: int, offset: int) -> builtins.bytes:
        """Return the directory's record of the file whose entry begins at `offset`."""
        name = self._name(row, number)
        size, extra, needed = row.bytes, b"", _NEEDED
        if self.wide:
            extra = _WIDE_FIELD.pack(_ZIP64_FIELD, 24, size, size, offset)
            size, offset, needed = _FULL_32, _FULL_32, _NEEDED_64
        time = (self._dos_time & _FULL_16, self._dos_time >> 16)
        head = (_BY_UNIX | needed, needed, _IS_UTF8, 0, *time)
        sizes = (row.crc32, size, size, len(name), len(extra), 0, 0, 0)
        return _RECORD.pack(b"PK\1\2", *head, *sizes, _REGULAR_FILE, offset) + name + extra

    def entry_bytes(self, row: ArchiveRow, number: int) -> int:
        """Return how long header and bytes of a file are together."""
        return _entry_bytes(row, len(self._name(row, number)))

    def end(self) -> builtins.bytes:
        """Return what stands behind the directory."""
        directory, body = self.directory_bytes, self.body_bytes
        end = b""
        if self.files >= _FULL_16 or self.wide or directory >= _FULL_32:
            versions = (_BY_UNIX | _NEEDED_64, _NEEDED_64)
            sizes = (self.files, self.files, directory, body)
            end += _END64.pack(b"PK\6\6", _END64.size - 12, *versions, 0, 0, *sizes)
            end += _LOCATOR.pack(b"PK\6\7", 0, body + directory, 1)
        files = min(self.files, _FULL_16)
        places = (min(directory, _FULL_32), min(body, _FULL_32))
        return end + _END.pack(b"PK\5\6", 0, 0, files, files, *places, 0)

    def _name(self, row: ArchiveRow, number: int) -> builtins.bytes:
        name = label(row.name)
        return (_with_number(name, number) if self._numbered[number] else name).encode()

    def _before(self, offset: int, what: str) -> Checkpoint:
        return self.checkpoints[bisect_right(self.checkpoints, offset, key=attrgetter(what)) - 1]


class Planner:
    """Adds up an archive page by page."""

    def __init__(self) -> None:
        self._pages: list[tuple[int, int, int, int]] = []
        self._names = _Names()
        self._body_bytes = 0
        self._names_bytes = 0
        self._tag = blake2b(digest_size=16)

    def add(self, after: int, rows: Sequence[ArchiveRow]) -> None:
        """Add the rows that come directly behind position `after`."""
        self._pages.append((after, self._names.count, self._body_bytes, self._names_bytes))
        for row in rows:
            name = label(row.name)
            name_bytes = len(name.encode())
            self._names.add(name)
            self._names_bytes += name_bytes
            self._body_bytes += _entry_bytes(row, name_bytes)
            self._tag.update(f"{name}\0{row.bytes}\0{row.crc32}\0".encode())

    def layout(self, modified_at: datetime) -> Layout:
        """Return the plan; every file in it is dated `modified_at`."""
        numbered = self._names.numbered()
        files = len(numbered)
        added_bytes = _added_bytes(numbered, 0, files)
        wide = self._body_bytes + added_bytes >= _FULL_32
        record_bytes = _RECORD.size + (_WIDE_FIELD.size if wide else 0)
        dos_time = _dos_time(modified_at)
        return Layout(
            files=files,
            body_bytes=self._body_bytes + added_bytes,
            directory_bytes=record_bytes * files + self._names_bytes + added_bytes,
            etag=f"{self._tag.hexdigest()}-{dos_time:x}",
            wide=wide,
            checkpoints=tuple(self._checkpoints(numbered, record_bytes)),
            _dos_time=dos_time,
            _numbered=bytes(numbered),
        )

    def _checkpoints(self, numbered: bytearray, record_bytes: int) -> Iterator[Checkpoint]:
        added_bytes = counted = 0
        for after, number, body_bytes, names_bytes in self._pages or [(FIRST, 0, 0, 0)]:
            added_bytes += _added_bytes(numbered, counted, number)
            counted = number
            records_bytes = record_bytes * number + names_bytes
            yield Checkpoint(after, number, body_bytes + added_bytes, records_bytes + added_bytes)


class _Names:
    """Finds names that occur again, whatever their case, from 12 bytes a name."""

    def __init__(self) -> None:
        self.count = 0
        self._digests = [array("Q") for _ in range(_BUCKETS)]
        self._numbers = [array("I") for _ in range(_BUCKETS)]
        self._look_numbered = array("I")

    def add(self, name: str) -> None:
        digest = blake2b(name.casefold().encode(), digest_size=8).digest()
        self._digests[digest[0]].append(int.from_bytes(digest))
        self._numbers[digest[0]].append(self.count)
        if "(#" in name and _NUMBERED.search(name):
            self._look_numbered.append(self.count)
        self.count += 1

    def numbered(self) -> bytearray:
        """Return a 1 for each name that gets a number: all but the first of their kind.

        A name that looks numbered already gets one as well, so that it meets none of ours.
        """
        flags = bytearray(self.count)
        for number in self._look_numbered:
            flags[number] = 1
        for digests, numbers in zip(self._digests, self._numbers, strict=True):
            seen: set[int] = set()
            for digest, number in zip(digests, numbers, strict=True):
                if digest in seen:
                    flags[number] = 1
                seen.add(digest)
        return flags


def _entry_bytes(row: ArchiveRow, name_bytes: int) -> int:
    extra_bytes = _SIZES_FIELD.size if row.bytes >= _FULL_32 else 0
    return _LOCAL.size + name_bytes + extra_bytes + row.bytes


def _number(number: int) -> str:
    return f" (#{number + 1})"


def _with_number(name: str, number: int) -> str:
    suffix = _SUFFIX.search(name)
    at = suffix.start() if suffix else len(name)
    return name[:at] + _number(number) + name[at:]


def _added_bytes(numbered: bytearray, start: int, stop: int) -> int:
    """Return how many bytes the numbers add to the names from `start` to before `stop`."""
    total, at = 0, numbered.find(1, start, stop)
    while at >= 0:
        total += len(_number(at))
        at = numbered.find(1, at + 1, stop)
    return total


def _dos_time(at: datetime) -> int:
    """Return date and time as ZIP keeps them: UTC here, in steps of two seconds, from 1980."""
    utc = max(at.astimezone(UTC), datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC))
    date = (utc.year - _FIRST_YEAR) << 9 | utc.month << 5 | utc.day
    return date << 16 | utc.hour << 11 | utc.minute << 5 | utc.second // 2
