"""Strips PNG: drops chunks that have no say in how the picture looks."""

import struct
import zlib
from collections.abc import Iterator

from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

_SHOWN = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP"}
    | {b"sBIT", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT", b"mDCV", b"cLLI"}
)
_XMP = b"XML:com.adobe.xmp\x00"
_PLAIN = b"\x00\x00\x00\x00"
"""Neither compressed, nor in a named language, nor translated."""

_HEAD_BYTES = 8


def stripped(content: bytes, policy: Policy) -> bytes:
    """Return a PNG file with only the metadata that the policy keeps."""
    exif = xmp = None
    kept = []
    for name, whole in _chunks(content):
        if name == b"eXIf":
            exif = whole[8:-4]
        elif name == b"iTXt" and whole[8:].startswith(_XMP):
            text = whole[8 + len(_XMP) : -4]
            xmp = text[len(_PLAIN) :] if text.startswith(_PLAIN) else None
        elif name in _SHOWN:
            kept.append(whole)
    packet = policy.xmp(xmp)
    extra = (
        _chunk(b"eXIf", policy.exif(exif)),
        _chunk(b"iTXt", _XMP + _PLAIN + packet if packet else b""),
    )
    return b"".join((content[:_HEAD_BYTES], kept[0], *extra, *kept[1:]))


def _chunk(name: bytes, body: bytes) -> bytes:
    if not body:
        return b""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, name = _HEAD_BYTES, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise MalformedError("a chunk is cut off")
        yield name, content[at:end]
        at = end
