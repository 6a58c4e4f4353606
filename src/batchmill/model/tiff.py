"""The directories of a TIFF file and of the camera formats that are built like one."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

KIND = 262
"""The tag that says what the pixels mean (PhotometricInterpretation)."""

SENSOR_KINDS = frozenset({32803, 34892})
"""Pixels as the sensor gave them: behind its colour filter, or one plane for each colour (DNG)."""

_STARTS = {b"II": "<", b"MM": ">"}
_KINDS = {1: "B", 3: "H", 4: "I", 13: "I"}  # byte, short, long, directory; 2 is text
_TEXT = 2
_SUB_DIRECTORIES = 330
_MOST_DIRECTORIES = 32
_MOST_ENTRIES = 512
_MOST_VALUE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class TiffDirectory:
    """The tags of one directory; those that are neither numbers nor text are left out."""

    numbers: Mapping[int, tuple[int, ...]]
    texts: Mapping[int, bytes]

    def number(self, tag: int) -> int | None:
        """Return the first number of a tag, None where the tag is not there."""
        values = self.numbers.get(tag)
        return values[0] if values else None


def directories(file: BinaryIO) -> Iterator[TiffDirectory]:
    """Yield the directories of a file, each followed by those below it; the position moves.

    What is damaged is left out; a file that is no TIFF has none.
    """
    file.seek(0)
    head = file.read(8)
    order = _STARTS.get(head[:2])
    if order is None or len(head) < 8:  # noqa: PLR2004
        return
    waiting = [struct.unpack(f"{order}I", head[4:])[0]]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        at = waiting.pop(0)
        if at in seen or not at:
            continue
        seen.add(at)
        try:
            found, following = _read(file, order, at)
        except struct.error:
            continue
        waiting[:0] = found.numbers.get(_SUB_DIRECTORIES, ())
        waiting.append(following)
        yield found


def _read(file: BinaryIO, order: str, at: int) -> tuple[TiffDirectory, int]:
    file.seek(at)
    (count,) = struct.unpack(f"{order}H", file.read(2))
    body = file.read(12 * count + 4)
    rows = list(struct.iter_unpack(f"{order}HHI4s", body[: 12 * min(count, _MOST_ENTRIES)]))
    numbers, texts = {}, {}
    for tag, kind, values, inline in rows:
        if kind == _TEXT:
            texts[tag] = _value(file, order, values, inline)
        elif kind in _KINDS:
            form = f"{order}{min(values, _MOST_VALUE_BYTES // 4)}{_KINDS[kind]}"
            value = _value(file, order, struct.calcsize(form), inline)
            numbers[tag] = struct.unpack(form, value)
    (following,) = struct.unpack(f"{order}I", body[12 * count :])
    return TiffDirectory(numbers, texts), following


def _value(file: BinaryIO, order: str, size: int, inline: bytes) -> bytes:
    if size <= len(inline):
        return inline[:size]
    file.seek(struct.unpack(f"{order}I", inline)[0])
    return file.read(min(size, _MOST_VALUE_BYTES))
