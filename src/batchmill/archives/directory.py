"""The directory of a ZIP archive, read in blocks; source of the layout: PKWARE APPNOTE 6.3.10.

Nothing here judges an archive: `zip_index` does. What contradicts itself is a ValueError whose
text says what is wrong with the archive.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, unpack_from
from typing import NamedTuple

from batchmill.storage.disk import PIECE_BYTES

IS_ENCRYPTED, SIZES_FOLLOW = 0x0001, 0x0008
LOCAL_BYTES = 30

_RECORD = Struct("<4s2B5H3I5H2I")
_LOCAL = Struct("<4s5H3I2H")
_END = Struct("<4s4H2IH")
_END64 = Struct("<4sQ2H2I4Q")
_LOCATOR = Struct("<4sIQI")
_FIELD = Struct("<2H")
_RECORD_MARK, _LOCAL_MARK, _END_MARK = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
_END64_MARK, _LOCATOR_MARK = b"PK\x06\x06", b"PK\x06\x07"

_LONGEST_TEXT = 0xFFFF
_LONGEST_RECORD = _RECORD.size + 3 * _LONGEST_TEXT
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_FIELD = 0x0001


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the directory lies; `prepended_bytes` stand before the archive's own first byte."""

    start: int
    bytes: int
    records: int
    prepended_bytes: int


class Record(NamedTuple):
    """What the directory says of one entry; `start` is where the entry's own header begins."""

    host: int
    flags: int
    method: int
    crc32: int
    packed_bytes: int
    unpacked_bytes: int
    attributes: int
    start: int
    raw_name: bytes
    extra: bytes

    @property
    def least_end(self) -> int:
        """Where the entry ends at the earliest, its own extra fields not counted."""
        return self.start + LOCAL_BYTES + len(self.raw_name) + self.packed_bytes


class _End(NamedTuple):
    """An end record, of either size; it lies at `at`."""

    at: int
    disk: int
    directory_disk: int
    records: int
    bytes: int
    offset: int


def find_directory(file: int) -> Directory:
    """Find the directory of an open archive: that of the last end record which leads to one.

    Raises:
        ValueError: there is none.
    """
    ends = [end for narrow in _ends(file) if (end := _zip64_end(file, narrow))]
    if not ends:
        raise ValueError("its end is missing, so it probably did not arrive whole")
    whole = [end for end in ends if not (end.disk or end.directory_disk)]
    if not whole:
        raise ValueError("it is one part of a split archive")
    for end in whole:
        for start in (end.at - end.bytes, end.offset):
            if start >= end.offset and os.pread(file, 4, start) == _RECORD_MARK:
                return Directory(start, end.bytes, end.records, start - end.offset)
    if all(end.bytes for end in whole):
        raise ValueError("its directory is not where its end says")
    return Directory(0, 0, 0, 0)


def read_records(file: int, directory: Directory) -> Iterator[Record]:
    """Yield the records in order, reading a mebibyte at a time.

    Raises:
        ValueError: a record is cut off or is none.
    """
    unread, end = directory.start, directory.start + directory.bytes
    block, at = b"", 0
    while True:
        if len(block) - at < _LONGEST_RECORD and unread < end:
            more = os.pread(file, min(PIECE_BYTES, end - unread), unread)
            if not more:
                raise ValueError("its directory is cut off")
            unread += len(more)
            block, at = block[at:] + more, 0
        if at == len(block):
            return
        record, at = _read_record(block, at, directory.prepended_bytes)
        yield record


def data_start(file: int, record: Record) -> int | None:
    """Return where the bytes of an entry begin; None when its own header contradicts its record."""
    head = os.pread(file, LOCAL_BYTES + len(record.raw_name), record.start)
    if len(head) < LOCAL_BYTES + len(record.raw_name):
        return None
    mark, _, flags, method, _, _, crc32, packed, unpacked, name_bytes, extra_bytes = (
        _LOCAL.unpack_from(head)
    )
    agrees = (
        mark == _LOCAL_MARK
        and method == record.method
        and name_bytes == len(record.raw_name)
        and head[LOCAL_BYTES:] == record.raw_name
        and not (flags ^ record.flags) & IS_ENCRYPTED
        and (flags & SIZES_FOLLOW or crc32 == record.crc32)
        and (flags & SIZES_FOLLOW or packed in {record.packed_bytes, _FULL_32})
        and (flags & SIZES_FOLLOW or unpacked in {record.unpacked_bytes, _FULL_32})
    )
    return record.start + LOCAL_BYTES + name_bytes + extra_bytes if agrees else None


def extra_field(extra: bytes, wanted: int) -> bytes | None:
    """Return the content of an extra field by its number."""
    at = 0
    while at + _FIELD.size <= len(extra):
        number, size = _FIELD.unpack_from(extra, at)
        at += _FIELD.size
        if number == wanted:
            return extra[at : at + size]
        at += size
    return None


def _ends(file: int) -> Iterator[_End]:
    """Yield what may be the end record, the last one first; bytes behind it are let pass."""
    size = os.fstat(file).st_size
    tail_start = max(0, size - _END.size - _LONGEST_TEXT)
    tail = os.pread(file, size - tail_start, tail_start)
    at = tail.rfind(_END_MARK)
    while at >= 0:
        if at + _END.size <= len(tail):
            _, disk, directory_disk, _, *place, comment = _END.unpack_from(tail, at)
            if at + _END.size + comment <= len(tail):
                yield _End(tail_start + at, disk, directory_disk, *place)
        at = tail.rfind(_END_MARK, 0, at)


def _zip64_end(file: int, end: _End) -> _End | None:
    """Return the zip64 end record when `end` has a field too small for its value; None: damaged."""
    if end.records != _FULL_16 and _FULL_32 not in {end.bytes, end.offset}:
        return end
    locator = os.pread(file, _LOCATOR.size, max(0, end.at - _LOCATOR.size))
    if not locator.startswith(_LOCATOR_MARK):
        return end
    _, _, said, _ = _LOCATOR.unpack(locator)
    for at in (end.at - _LOCATOR.size - _END64.size, said):
        found = os.pread(file, _END64.size, at) if 0 <= at < end.at else b""
        if found.startswith(_END64_MARK) and len(found) == _END64.size:
            _, _, _, _, disk, directory_disk, _, *place = _END64.unpack(found)
            return _End(at, disk, directory_disk, *place)
    return None


def _read_record(block: bytes, at: int, prepended_bytes: int) -> tuple[Record, int]:
    if len(block) - at < _RECORD.size:
        raise ValueError("its directory is cut off")
    (mark, _, host, _, flags, method, _, _, crc32, packed, unpacked, name_bytes, extra_bytes,
     comment_bytes, _, _, attributes, start) = _RECORD.unpack_from(block, at)  # fmt: skip
    name_at = at + _RECORD.size
    extra_at = name_at + name_bytes
    end = extra_at + extra_bytes + comment_bytes
    if mark != _RECORD_MARK or end > len(block):
        raise ValueError("its directory is damaged")
    extra = block[extra_at : extra_at + extra_bytes]
    if _FULL_32 in (unpacked, packed, start):
        unpacked, packed, start = _zip64_values(extra, unpacked, packed, start)
    start += prepended_bytes
    name = block[name_at:extra_at]
    record = Record(host, flags, method, crc32, packed, unpacked, attributes, start, name, extra)
    return record, end


def _zip64_values(extra: bytes, *values: int) -> list[int]:
    """Replace each full value by the next one of the zip64 field, as the format has it."""
    field = extra_field(extra, _ZIP64_FIELD) or b""
    wide = iter(unpack_from(f"<{len(field) // 8}Q", field))
    try:
        return [next(wide) if value == _FULL_32 else value for value in values]
    except StopIteration:
        raise ValueError("its directory is damaged") from None
