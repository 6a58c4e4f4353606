"""What kind of file it is, where the answer lies inside: ZIP (OOXML, ODF), OLE2, TIFF (RAW)."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from batchmill.model.media import (
    ARW,
    CR2,
    DNG,
    NEF,
    OTHER_RAW,
    PEF,
    SNIFF_BYTES,
    SRW,
    TIFF,
    XLS,
    XLSB,
    XLSM,
    XLSX,
    ZIP,
    MediaType,
    sniff,
)
from batchmill.model.tiff import KIND, SENSOR_KINDS, directories

CONTAINERS = (ZIP, XLS, TIFF)
"""What `sniff` calls files that only a look inside tells from others."""

_TAIL_BYTES = 66_000  # the end record and its longest comment
_DIRECTORY_BYTES = 4_000_000  # far above the largest workbook's; archives beyond are archives
_OFFICE_START = re.compile(rb"\[Content_Types\]\.xml|_rels/|docProps/|xl/|word/|ppt/|customXml/")


def identify(file: BinaryIO) -> MediaType | None:
    """Name the type of a whole file, reading its head and, in a container, its directory.

    Unlike `sniff` it tells camera RAW from TIFF and workbooks from archives, and refuses other
    office files: an XLSX must never be unpacked as a ZIP of many items, nor a DOCX. The
    position moves.
    """
    file.seek(0)
    head = file.read(SNIFF_BYTES)
    media = sniff(head)
    if media is ZIP:
        return _zip_type(file, head)
    if media is TIFF:
        return _tiff_type(file, head)
    return _ole_type(file, head) if media is XLS else media


_MAKER, _DNG_VERSION = 271, 50706
_MAKERS = {b"NIKON": NEF, b"SONY": ARW, b"PENTAX": PEF, b"RICOH": PEF, b"SAMSUNG": SRW}


def _tiff_type(file: BinaryIO, head: bytes) -> MediaType:
    """Tell camera RAW, which says so or holds pixels as the sensor gave them, from pictures."""
    if head[8:10] == b"CR":
        return CR2
    found = list(directories(file))
    if any(_DNG_VERSION in each.numbers for each in found[:1]):
        return DNG
    if not any(each.number(KIND) in SENSOR_KINDS for each in found):
        return TIFF
    maker = found[0].texts.get(_MAKER, b"").upper()
    return next((raw for name, raw in _MAKERS.items() if maker.startswith(name)), OTHER_RAW)


def _zip_type(file: BinaryIO, head: bytes) -> MediaType | None:
    """Tell an archive from a workbook; other packages (DOCX, ODT, EPUB) are neither."""
    if head[30:].startswith(b"mimetypeapplication/"):
        return None
    if head.startswith(b"PK\x03\x04") and not _OFFICE_START.match(head, 30):
        return ZIP
    directory = _directory(file)
    if b"[Content_Types].xml" not in directory:
        return ZIP
    if b"xl/workbook.bin" in directory:
        return XLSB
    if b"xl/workbook.xml" not in directory:
        return None
    return XLSM if b"xl/vbaProject.bin" in directory else XLSX


def _directory(file: BinaryIO) -> bytes:
    """Return the bytes of a ZIP's central directory, or none when it is missing or huge."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        return b""
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    if length > _DIRECTORY_BYTES:
        return b""
    file.seek(int.from_bytes(tail[end + 16 : end + 20], "little"))
    return file.read(length)


_END_OF_CHAIN = 0xFFFFFFFA  # this and above are marks, not sectors
_DIRECTORY_SECTORS = 256


def _ole_type(file: BinaryIO, head: bytes) -> MediaType | None:
    """Look for the stream that names a workbook; an encrypted OOXML file has its own."""
    names = set(_stream_names(file, head))
    if names & {"Workbook", "Book"}:
        return XLS
    return XLSX if "EncryptedPackage" in names else None


def _stream_names(file: BinaryIO, head: bytes) -> Iterator[str]:
    """Yield the names in an OLE2 directory ([MS-CFB] 2.2 and 2.6)."""
    shift = int.from_bytes(head[30:32], "little")
    size = 1 << shift if shift in {9, 12} else 512
    for sector in islice(_chain(file, head, size), _DIRECTORY_SECTORS):
        block = _sector(file, sector, size)
        for at in range(0, len(block), 128):
            length = int.from_bytes(block[at + 64 : at + 66], "little")
            yield block[at : at + max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")


def _chain(file: BinaryIO, head: bytes, size: int) -> Iterator[int]:
    """Yield the sectors of the directory; the table of the first 109 parts is in the header."""
    sector = int.from_bytes(head[48:52], "little")
    while sector < _END_OF_CHAIN:
        yield sector
        part, index = divmod(sector, size // 4)
        at = 76 + 4 * part
        if part >= 109:  # noqa: PLR2004
            return
        table = _sector(file, int.from_bytes(head[at : at + 4], "little"), size)
        sector = int.from_bytes(table[4 * index : 4 * index + 4] or b"\xff" * 4, "little")


def _sector(file: BinaryIO, number: int, size: int) -> bytes:
    file.seek((number + 1) * size)
    return file.read(size)
