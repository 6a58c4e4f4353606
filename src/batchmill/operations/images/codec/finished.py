"""Reads the size of a finished picture from its own first bytes, which are seen to have an end.

libvips says the same, in 0.1 ms: as long as a picture of 64 px takes to decode.
"""

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from batchmill.model.media import JPEG, PNG, WEBP, MediaType

Size = tuple[int, int]
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"IEND\xaeB`\x82"
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ANIMATED = 0x02
_LOSSLESS_SIGNATURE = 0x2F
_14_BITS = 0x3FFF


def size_of(path: Path, media: MediaType) -> Size | None:
    """Return width and height (px) of a whole still JPEG, PNG or WebP file.

    None for every other type, for animations, and where the file is not plainly what it should be:
    then a decoder has to say.
    """
    if media not in _READERS:
        return None
    with path.open("rb") as file:
        try:
            return _READERS[media](file)
        except struct.error:
            return None


def _png(file: BinaryIO) -> Size | None:
    head = file.read(24)
    if not head.startswith(_PNG_START) or not _ends_with(file, _PNG_END):
        return None
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _webp(file: BinaryIO) -> Size | None:
    riff, behind, kind = struct.unpack("<4sI8s", file.read(16))
    body = file.read(14)
    if riff != b"RIFF" or behind + 8 != file.seek(0, os.SEEK_END):
        return None
    match kind:
        case b"WEBPVP8X" if not body[4] & _ANIMATED:
            return 1 + int.from_bytes(body[8:11], "little"), 1 + int.from_bytes(body[11:], "little")
        case b"WEBPVP8 " if body[7:10] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", body, 10)
            return width & _14_BITS, height & _14_BITS
        case b"WEBPVP8L" if body[4] == _LOSSLESS_SIGNATURE:
            bits = int.from_bytes(body[5:9], "little")
            return 1 + (bits & _14_BITS), 1 + (bits >> 14 & _14_BITS)
    return None


def _jpeg(file: BinaryIO) -> Size | None:
    if file.read(2) != _SOI or not _ends_with(file, _EOI):
        return None
    at = 2
    while True:
        file.seek(at)
        start, marker, length, _depth, height, width = struct.unpack(">BBHBHH", file.read(9))
        if start != 0xFF:  # noqa: PLR2004
            return None
        if marker in _FRAME_HEADERS:
            return width, height
        at += 2 + length


def _ends_with(file: BinaryIO, end: bytes) -> bool:
    file.seek(-len(end), os.SEEK_END)
    return file.read() == end


_READERS: Mapping[MediaType, Callable[[BinaryIO], Size | None]] = {
    JPEG: _jpeg,
    PNG: _png,
    WEBP: _webp,
}
