"""Strips TIFF: takes tags out of its directories and blanks what they pointed to.

Nothing moves, so that every other offset stays right and no byte is gained.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

_CLASSIC = 42
_ENTRY_BYTES = 12
_INLINE_BYTES = 4
_MAX_DIRECTORIES = 1000
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_EXIF_DIRECTORY, _GPS_DIRECTORY = 34665, 34853
_DIRECTORIES = frozenset({_EXIF_DIRECTORY, _GPS_DIRECTORY})
_SHOWN = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281}
    | {282, 283, 284, 286, 287, 290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322}
    | {323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 343, 344, 345, 346}
    | {347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675, 37439}
)
"""Tags of TIFF 6 and its technical notes that have a say in how the picture looks."""

_TOLD = frozenset({270, 271, 272, 305, 306, 315, 33432, _EXIF_DIRECTORY})
"""Tags that EXIF shares with TIFF: description, maker, model, software, date, artist, rights."""


def stripped(content: bytes, policy: Policy) -> bytes | None:
    """Return a TIFF file with only the metadata that the policy keeps; None for BigTIFF, XMP."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        raise MalformedError("not a TIFF")
    magic, offset = struct.unpack_from(f"{order}HI", content, 2)
    if magic != _CLASSIC or policy.keep == "xmp":
        return None
    file = _File(bytearray(content), order)
    kept = _SHOWN | _TOLD if policy.keep == "exif" else _SHOWN
    for _ in range(_MAX_DIRECTORIES):
        if not offset:
            return bytes(file.content)
        offset = file.strip_directory(offset, kept)
    raise MalformedError("its directories do not end")


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    raw: bytes
    value_at: int
    value_bytes: int


@dataclass(frozen=True, slots=True)
class _File:
    content: bytearray
    order: str

    def strip_directory(self, offset: int, kept: frozenset[int]) -> int:
        """Rewrite the directory at `offset` with `kept` tags only; return the next one's offset."""
        entries = list(self._entries(offset))
        end = offset + 2 + _ENTRY_BYTES * len(entries)
        (following,) = struct.unpack_from(f"{self.order}I", self.content, end)
        for entry in entries:
            if entry.tag not in kept:
                self._blank(entry)
        left = [entry.raw for entry in entries if entry.tag in kept]
        body = struct.pack(f"{self.order}H", len(left)) + b"".join(left)
        body += struct.pack(f"{self.order}I", following)
        self.content[offset : end + 4] = body.ljust(end + 4 - offset, b"\x00")
        return int(following)

    def _entries(self, offset: int) -> Iterator[_Entry]:
        (count,) = struct.unpack_from(f"{self.order}H", self.content, offset)
        for number in range(count):
            at = offset + 2 + _ENTRY_BYTES * number
            tag, kind, values = struct.unpack_from(f"{self.order}HHI", self.content, at)
            size = _SIZES.get(kind, 1) * values
            inline = size <= _INLINE_BYTES
            (pointer,) = struct.unpack_from(f"{self.order}I", self.content, at + 8)
            raw = bytes(self.content[at : at + _ENTRY_BYTES])
            yield _Entry(tag, raw, at + 8 if inline else pointer, size)

    def _blank(self, entry: _Entry) -> None:
        if entry.tag in _DIRECTORIES:
            (offset,) = struct.unpack_from(f"{self.order}I", entry.raw, 8)
            self.strip_directory(offset, frozenset())
            return
        end = entry.value_at + entry.value_bytes
        if end > len(self.content):
            raise MalformedError("a tag points behind the end")
        self.content[entry.value_at : end] = bytes(entry.value_bytes)
