"""Strips AVIF: blanks the items that hold EXIF and XMP, where they lie.

Nothing moves, so that every other offset stays right and no byte is gained.
"""

import struct
from collections.abc import Iterator, Mapping

from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

_EMPTY_EXIF = b"\x00\x00\x00\x00MM\x00*\x00\x00\x00\x08" + bytes(6)
"""An EXIF item without a single tag: offset of the TIFF header, header, empty directory."""

_BLANKS = {b"Exif": _EMPTY_EXIF, b"mime": b""}
"""Types of items that hold metadata, and what is written over them."""

_WIDE = 1
_SHORT_IDS = 2
"""Version of `infe` with item ids of 16 bits; the next one has 32."""

_LONG_IDS = 2
"""Version of `iloc` with item ids of 32 bits."""


def stripped(content: bytes, policy: Policy) -> bytes | None:
    """Return an AVIF file without EXIF and XMP; None where that is not all, or not possible."""
    if policy.keep in {"exif", "xmp"}:
        return None
    boxes = dict(_boxes(content, 0, len(content)))
    if b"uuid" in boxes:
        return None
    start, end = _found(boxes, b"meta")
    inner = dict(_boxes(content, start + 4, end))
    kinds = _kinds(content, _found(inner, b"iinf"))
    places = _places(content, _found(inner, b"iloc"))
    result = bytearray(content)
    for item in kinds.keys() & places.keys():
        if kinds[item] in _BLANKS and not _blanked(result, places[item], _BLANKS[kinds[item]]):
            return None
    return bytes(result)


def _found(boxes: Mapping[bytes, tuple[int, int]], name: bytes) -> tuple[int, int]:
    if name not in boxes:
        raise MalformedError(f"no box {name!r}")
    return boxes[name]


def _blanked(content: bytearray, extents: list[tuple[int, int]], blank: bytes) -> bool:
    """Write over an item; False if it does not lie in the file."""
    for at, size in extents:
        if at + size > len(content):
            raise MalformedError("an item lies behind the end")
        content[at : at + size] = blank[:size].ljust(size, b"\x00")
    return bool(extents)


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield type and (start, end) of the body of every box between two offsets."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, at)
        body = at + 8
        if size == _WIDE:
            (size,) = struct.unpack_from(">Q", content, body)
            body += 8
        stop = end if size == 0 else at + size
        if not body <= stop <= end:
            raise MalformedError("a box is cut off")
        yield kind, (body, stop)
        at = stop


def _kinds(content: bytes, iinf: tuple[int, int]) -> dict[int, bytes]:
    """Return the type of every item (ISO 14496-12, 8.11.6; infe of version 2 and 3)."""
    start, end = iinf
    wide = content[start] > 0
    kinds = {}
    for kind, (body, _) in _boxes(content, start + (8 if wide else 6), end):
        version = content[body]
        if kind == b"infe" and version in {_SHORT_IDS, _SHORT_IDS + 1}:
            form = ">HH4s" if version == _SHORT_IDS else ">IH4s"
            item, _protection, name = struct.unpack_from(form, content, body + 4)
            kinds[item] = name
    return kinds


def _places(content: bytes, iloc: tuple[int, int]) -> Mapping[int, list[tuple[int, int]]]:
    """Return (offset, bytes) of every item's extents; none if it lies elsewhere (8.11.3)."""
    at, _ = iloc
    version = content[at]
    sizes = struct.unpack_from(">BB", content, at + 4)
    offset_size, length_size = sizes[0] >> 4, sizes[0] & 15
    base_size, index_size = sizes[1] >> 4, sizes[1] & 15 if version else 0
    reader = _Reader(content, at + 6)
    places: dict[int, list[tuple[int, int]]] = {}
    for _ in range(reader.number(4 if version == _LONG_IDS else 2)):
        item = reader.number(4 if version == _LONG_IDS else 2)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        base = reader.number(base_size)
        extents = []
        for _ in range(reader.number(2)):
            reader.number(index_size)
            extents.append((base + reader.number(offset_size), reader.number(length_size)))
        places[item] = extents if method == 0 else []
    return places


class _Reader:
    """Reads big-endian numbers one after the other."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self._at = at

    def number(self, size: int) -> int:
        """Return the next number of `size` bytes; 0 of none."""
        end = self._at + size
        if end > len(self._content):
            raise MalformedError("a table is cut off")
        value = int.from_bytes(self._content[self._at : end], "big")
        self._at = end
        return value
