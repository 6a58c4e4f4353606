"""Finds the files of a ZIP archive: the directory is read, and each entry's header, no content.

    survey: counts, sizes, overlaps ──► refuses the archive as a whole
       └──► pages: one `Input` a file; what is wrong with one entry makes that one fail later

The directory is the truth and names in it are labels. Memory stays at 16 bytes an entry.
"""

import os
import stat
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path

from batchmill.archives.directory import (
    IS_ENCRYPTED,
    Directory,
    Record,
    data_start,
    extra_field,
    find_directory,
    read_records,
)
from batchmill.errors.amounts import size
from batchmill.errors.request import EmptyArchiveError, TooLargeError, UnreadableArchiveError
from batchmill.model.filenames import label
from batchmill.model.item import ArchiveEntry, Input
from batchmill.storage import disk

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14

ENCRYPTED = -1
"""Stands for the method of an encrypted entry, whose attempt then fails with that reason."""

DISAGREES = -2
"""Stands for the method of an entry whose own header contradicts the directory."""

_AES = 99
_UNICODE_PATH_FIELD = 0x7075
_UNICODE_PATH_HEAD_BYTES = 5
_UNIX_HOSTS = frozenset({3, 19})
_DOS_FOLDER = 0x10
_JUNK = frozenset({b".ds_store", b"thumbs.db", b"desktop.ini"})
_RECORDS_PER_FILE = 4
"""How many records are read for each allowed file, so that folders and junk are bounded too."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold; defaults are those of the anonymous tier.

    Entries of more than `entry_bytes` are never unpacked, and so no part of `unpacked_bytes`.
    """

    entries: int = 20_000
    unpacked_bytes: int = 20_000_000_000
    entry_bytes: int = 200_000_000


class Kind(StrEnum):
    """What an entry is. Only files are used; the others are counted and left out."""

    FILE = "file"
    FOLDER = "folder"
    JUNK = "junk"
    SPECIAL = "special"


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """An archive that may be unpacked: how many entries of each kind, and where they are."""

    path: Path
    counts: Mapping[Kind, int]
    unpacked_bytes: int
    _directory: Directory

    def at(self, path: Path) -> "ArchiveIndex":
        """Return the same index for the same archive under another name."""
        return replace(self, path=path)

    def pages(self, key: str, *, rows: int = 1_000) -> Iterator[list[Input]]:
        """Yield the files in the directory's order; `key` is where the archive is stored."""
        with opened(self.path) as file:
            records = read_records(file, self._directory)
            files = (record for record in records if _kind(record) is Kind.FILE)
            while page := [_input(file, record, key) for record in islice(files, rows)]:
                yield page


def index_archive(path: Path, *, name: str, limits: ArchiveLimits) -> ArchiveIndex:
    """Survey the archive at `path`, which people know as `name`.

    Raises:
        UnreadableArchiveError: it is damaged, split, or its entries share bytes.
        TooLargeError: it holds more files or bytes than `limits` allow.
        EmptyArchiveError: it holds no usable file.
    """
    with opened(path) as file:
        try:
            directory = find_directory(file)
            survey = _survey(file, directory, name, limits)
        except ValueError as error:
            raise UnreadableArchiveError(name, str(error)) from error
    if not survey.counts[Kind.FILE]:
        raise EmptyArchiveError(name, left_out=survey.counts.total())
    return ArchiveIndex(path, survey.counts, survey.unpacked_bytes, directory)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open an archive to read from it by offsets."""
    file = disk.open_regular(path)
    try:
        yield file
    finally:
        os.close(file)


def _survey(file: int, directory: Directory, name: str, limits: ArchiveLimits) -> "_Survey":
    survey = _Survey(name, limits, directory.start)
    for record in read_records(file, directory):
        survey.add(record)
    if len(survey.starts) % 2**16 != directory.records % 2**16:
        raise ValueError("its directory has another number of entries than its end says")
    survey.check_overlaps()
    return survey


class _Survey:
    """Adds up an archive entry by entry and stops as soon as it is over a limit."""

    def __init__(self, name: str, limits: ArchiveLimits, directory_start: int) -> None:
        self.counts: Counter[Kind] = Counter()
        self.unpacked_bytes = 0
        self.starts = array("Q")
        self._ends = array("Q")
        self._name = name
        self._limits = limits
        self._directory_start = directory_start

    def add(self, record: Record) -> None:
        if record.least_end > self._directory_start:
            raise ValueError("its entries reach into its directory")
        kind = _kind(record)
        self.counts[kind] += 1
        self.starts.append(record.start)
        self._ends.append(record.least_end)
        if kind is Kind.FILE and record.unpacked_bytes <= self._limits.entry_bytes:
            self.unpacked_bytes += record.unpacked_bytes
        most = self._limits.entries
        if self.counts[Kind.FILE] > most or len(self.starts) > most * _RECORDS_PER_FILE:
            raise TooLargeError(f"{self._name} has more than {most:,} entries; split it.")
        if self.unpacked_bytes > self._limits.unpacked_bytes:
            limit = size(self._limits.unpacked_bytes)
            raise TooLargeError(f"{self._name} unpacks to more than {limit}; split it.")

    def check_overlaps(self) -> None:
        """Check that no byte belongs to two entries: the trick of archives made to explode."""
        after = sorted(self.starts)[1:]
        if any(end > start for start, end in zip(after, sorted(self._ends), strict=False)):
            raise ValueError("its entries overlap, as in archives made to do harm")


_KINDS_OF_UNIX = {0: Kind.FILE, stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER}


def _kind(record: Record) -> Kind:
    name = record.raw_name
    last = name.rpartition(b"/")[2].lower()
    if not last or (record.attributes & _DOS_FOLDER and not record.unpacked_bytes):
        return Kind.FOLDER
    if last in _JUNK or last.startswith(b"._") or name.startswith(b"__MACOSX/"):
        return Kind.JUNK
    if record.host in _UNIX_HOSTS:
        return _KINDS_OF_UNIX.get(stat.S_IFMT(record.attributes >> 16), Kind.SPECIAL)
    return Kind.FILE


def _input(file: int, record: Record, key: str) -> Input:
    start = data_start(file, record)
    method = record.method
    if record.flags & IS_ENCRYPTED or method == _AES:
        method = ENCRYPTED
    elif start is None or (method == STORED and record.packed_bytes != record.unpacked_bytes):
        method = DISAGREES
    entry = ArchiveEntry(start or record.start, record.packed_bytes, method, record.crc32)
    return Input(key, label(_name(record)), record.unpacked_bytes, entry=entry)


def _name(record: Record) -> str:
    """Decode a name: the Unicode field is believed, then UTF-8 is tried, then DOS's own."""
    raw = record.raw_name
    field = extra_field(record.extra, _UNICODE_PATH_FIELD) if record.extra else None
    if field and int.from_bytes(field[1:_UNICODE_PATH_HEAD_BYTES], "little") == zlib.crc32(raw):
        raw = field[_UNICODE_PATH_HEAD_BYTES:]
    # Without the flag it should be CP437, but macOS and many others write UTF-8 there as well;
    # CP437 text with an accent is hardly ever valid UTF-8.
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp437")
