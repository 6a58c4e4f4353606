"""Checks the ZIP that a workbook is, part by part, before any parser sees it."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from zipfile import ZipFile, ZipInfo

from batchmill.errors.item import (
    DocumentTooLargeError,
    EncryptedFileError,
    UnreadableFileError,
    UnsafeFileError,
)
from batchmill.operations.documents.findings import Findings

_MOST_PARTS = 10_000
_RATIO = 200
_RATIO_FROM_BYTES = 10_000_000
_CELL_BYTES = 64  # what one cell of the area costs in memory, empty or not, at the most
_BLOCK_BYTES = 2**20
_OVERLAP_BYTES = 64
_CELL_SEARCH_BYTES = 4_096
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<")

_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)")
_ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*?\br=\"(\d{1,7})\"")
_CELL = re.compile(rb"<(?:\w+:)?c\b[^>]*?\br=\"[A-Z]{1,3}(\d{1,7})\"")
_WIDE = re.compile(rb"r=\"([A-Z]{2,3})\d")
_XML_ENDINGS = (".xml", ".rels", ".vml")
_SHEET = re.compile(r"/?xl/worksheets/[^/]+\.xml", re.IGNORECASE)


@dataclass(slots=True)
class _Part:
    """What is seen of one part while it is unpacked."""

    name: str
    tail: bytes = b""
    rows: int = 0
    columns: int = 26
    bytes: int = field(default=0)


def check_package(findings: Findings) -> None:
    """Unpack every part once, keeping nothing, and refuse what no parser should see.

    Raises:
        UnreadableFileError: the archive is damaged.
        EncryptedFileError: a part is encrypted.
        UnsafeFileError: parts overlap, unpack beyond all measure, or declare entities.
        DocumentTooLargeError: a sheet spans more cells than memory holds.
    """
    with _opened(findings) as archive:
        parts = archive.infolist()
        _check_layout(parts, findings)
        room = findings.work.limits.unpacked_bytes
        for part in parts:
            room -= _check_part(archive, part, room, findings)


@contextmanager
def _opened(findings: Findings) -> Iterator[ZipFile]:
    path = findings.work.source.path
    try:
        with ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        reason = "its parts are damaged"
        raise UnreadableFileError(findings.name, reason, detail=str(error)) from error


def _check_layout(parts: list[ZipInfo], findings: Findings) -> None:
    if len(parts) > _MOST_PARTS:
        raise UnsafeFileError(findings.name, f"it has more than {_MOST_PARTS:,} parts")
    if any(part.flag_bits & _ENCRYPTED for part in parts):
        raise EncryptedFileError(findings.name)
    for one, other in pairwise(sorted(parts, key=lambda part: part.header_offset)):
        end = one.header_offset + _LOCAL_HEADER_BYTES + one.compress_size
        if end > other.header_offset:
            raise UnsafeFileError(findings.name, "its parts overlap")


def _check_part(archive: ZipFile, info: ZipInfo, room: int, findings: Findings) -> int:
    """Return how many bytes the part really holds."""
    part = _Part(info.filename)
    most = min(room, max(_RATIO_FROM_BYTES, _RATIO * info.compress_size))
    with archive.open(info) as file:
        while block := file.read(_BLOCK_BYTES):
            part.bytes += len(block)
            if part.bytes > most:
                raise UnsafeFileError(findings.name, "it unpacks to far more than its size allows")
            if info.filename.lower().endswith(_XML_ENDINGS):
                _check_xml(part, block, findings)
    if part.rows * part.columns * _CELL_BYTES > findings.work.limits.memory_bytes:
        cells = findings.work.limits.memory_bytes // _CELL_BYTES
        raise DocumentTooLargeError(findings.name, f"a sheet that spans more than {cells:,} cells")
    return part.bytes


def _check_xml(part: _Part, block: bytes, findings: Findings) -> None:
    if part.bytes == len(block) and block.startswith(_UTF16_MARKS):
        raise UnsafeFileError(findings.name, "a part is not UTF-8, which no spreadsheet writes")
    seen = part.tail + block
    if _DECLARATION.search(seen):
        raise UnsafeFileError(findings.name, "a part declares a DOCTYPE or an ENTITY")
    if _SHEET.fullmatch(part.name):
        rows = [*_ROW.findall(seen), *_CELL.findall(seen, max(0, len(seen) - _CELL_SEARCH_BYTES))]
        part.rows = max(part.rows, *map(int, rows)) if rows else part.rows
        part.columns = max([part.columns, *map(_column, set(_WIDE.findall(seen)))])
    part.tail = seen[-_OVERLAP_BYTES:]


def _column(letters: bytes) -> int:
    """Return the 1-based number of a column: AA is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
