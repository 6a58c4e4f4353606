"""Strips WebP: drops the EXIF and XMP chunks and what is unknown."""

import struct
from collections.abc import Iterator

from batchmill.operations.images.codec.metadata import EXIF_PREFIX
from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

_SHOWN = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
_HAS_EXIF, _HAS_XMP = 0x08, 0x04


def stripped(content: bytes, policy: Policy) -> bytes:
    """Return a WebP file with only the metadata that the policy keeps."""
    chunks = list(_chunks(content))
    bodies = dict(chunks)
    exif = policy.exif(bodies.get(b"EXIF", b"").removeprefix(EXIF_PREFIX) or None)
    xmp = policy.xmp(bodies.get(b"XMP "))
    kept = [_riff(name, body) for name, body in chunks if name in _SHOWN]
    if extended := bodies.get(b"VP8X"):
        flags = extended[0] & ~(_HAS_EXIF | _HAS_XMP)
        flags |= (_HAS_EXIF if exif else 0) | (_HAS_XMP if xmp else 0)
        kept.insert(0, _riff(b"VP8X", bytes((flags,)) + extended[1:]))
        kept += [_riff(name, body) for name, body in ((b"EXIF", exif), (b"XMP ", xmp)) if body]
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\x00" * (len(body) % 2)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    (size,) = struct.unpack_from("<I", content, 4)
    at, end = 12, min(size + 8, len(content))
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", content, at)
        if at + 8 + length > len(content):
            raise MalformedError("a chunk is cut off")
        yield name, content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
