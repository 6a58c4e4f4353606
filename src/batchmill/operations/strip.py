"""Takes metadata out of a file without decoding its pixels.

What a viewer needs to show the picture rightly stays: colour profile, orientation, animation.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from batchmill.model.media import GIF, JPEG, PNG, WEBP, MediaType
from batchmill.operations.metadata import (
    EXIF_PREFIX,
    exif_without_position,
    orientation_exif,
    without_position,
)
from batchmill.operations.picture import Keep


class MalformedError(ValueError):
    """The file's structure is not what its format prescribes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is to be kept, and the orientation (EXIF 1…8) that must not get lost."""

    keep: Keep
    orientation: int = 1

    def exif(self, block: bytes | None) -> bytes:
        """Return what is to be written for an EXIF block (from its TIFF header on), or b""."""
        if block is not None and self.keep == "exif":
            return exif_without_position(block)
        return orientation_exif(self.orientation) if self.orientation > 1 else b""

    def xmp(self, packet: bytes | None) -> bytes:
        """Return what is to be written for an XMP packet, or b""."""
        return without_position(packet) if packet is not None and self.keep == "xmp" else b""


def stripped(content: bytes, media: MediaType, policy: Policy) -> bytes | None:
    """Return a file's bytes with only the metadata that the policy keeps.

    None for a format that can't be stripped without encoding again. Idempotent.

    Raises:
        MalformedError: the structure is damaged.
    """
    if policy.keep == "all":
        return content
    if media not in _STRIPPERS:
        return None
    try:
        return _STRIPPERS[media](content, policy)
    except (struct.error, IndexError) as error:
        raise MalformedError(f"damaged {media.mime}") from error


# ---------------------------------------------------------------- JPEG

_SOI, _EOI, _SOS, _APP1, _APP2, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xEE, 0xFE
_APP0, _APP15 = 0xE0, 0xEF
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\x00"
_LONGEST_SEGMENT = 65_533


def _jpeg(content: bytes, policy: Policy) -> bytes:
    exif = xmp = None
    kept = []
    for marker, whole in _jpeg_parts(content):
        body = whole[4:]
        if marker == _APP1 and body.startswith(EXIF_PREFIX):
            exif = body[len(EXIF_PREFIX) :] if exif is None else exif
        elif marker == _APP1 and body.startswith(_XMP_HEAD):
            xmp = body[len(_XMP_HEAD) :] if xmp is None else xmp
        elif _shown(marker, body):
            kept.append(whole)
    return b"".join(
        (
            bytes((0xFF, _SOI)),
            _segment(_APP1, EXIF_PREFIX, policy.exif(exif)),
            _segment(_APP1, _XMP_HEAD, policy.xmp(xmp)),
            *kept,
        )
    )


def _shown(marker: int, body: bytes) -> bool:
    """Tell whether a part has a say in how the picture looks."""
    if marker == _APP0:
        return body.startswith(b"JFIF\x00")
    if marker == _APP2:
        return body.startswith(b"ICC_PROFILE\x00")
    return marker == _APP14 or not (_APP0 <= marker <= _APP15 or marker == _COM)


def _segment(marker: int, head: bytes, body: bytes) -> bytes:
    if not body or len(head) + len(body) > _LONGEST_SEGMENT:
        return b""
    return struct.pack(">BBH", 0xFF, marker, len(head) + len(body) + 2) + head + body


def _jpeg_parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of every part after SOI, scans with their data, up to EOI."""
    at = 2
    while True:
        if content[at] != 0xFF:  # noqa: PLR2004
            raise MalformedError("no marker where one must be")
        marker = content[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
            continue
        if marker == _EOI:
            yield marker, content[at : at + 2]
            return
        (length,) = struct.unpack_from(">H", content, at + 2)
        end = at + 2 + length
        end = _scan_end(content, end) if marker == _SOS else end
        yield marker, content[at:end]
        at = end


def _scan_end(content: bytes, at: int) -> int:
    """Return where the entropy-coded data that starts at `at` ends: at a marker of its own."""
    while True:
        at = content.find(b"\xff", at)
        if at < 0:
            raise MalformedError("the last scan does not end")
        if content[at + 1] and not 0xD0 <= content[at + 1] <= 0xD7:  # noqa: PLR2004 - stuffed, RSTn
            return at
        at += 2


# ---------------------------------------------------------------- PNG

_PNG_SHOWN = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP"}
    | {b"sBIT", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT", b"mDCV", b"cLLI"}
)
_PNG_XMP = b"XML:com.adobe.xmp\x00"
_PNG_PLAIN = b"\x00\x00\x00\x00"
"""Neither compressed, nor in a named language, nor translated."""

_PNG_HEAD_BYTES = 8


def _png(content: bytes, policy: Policy) -> bytes:
    exif = xmp = None
    kept = []
    for name, whole in _png_chunks(content):
        if name == b"eXIf":
            exif = whole[8:-4]
        elif name == b"iTXt" and whole[8:].startswith(_PNG_XMP):
            text = whole[8 + len(_PNG_XMP) : -4]
            xmp = text[len(_PNG_PLAIN) :] if text.startswith(_PNG_PLAIN) else None
        elif name in _PNG_SHOWN:
            kept.append(whole)
    packet = policy.xmp(xmp)
    extra = (
        _chunk(b"eXIf", policy.exif(exif)),
        _chunk(b"iTXt", _PNG_XMP + _PNG_PLAIN + packet if packet else b""),
    )
    return b"".join((content[:_PNG_HEAD_BYTES], kept[0], *extra, *kept[1:]))


def _chunk(name: bytes, body: bytes) -> bytes:
    if not body:
        return b""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, name = _PNG_HEAD_BYTES, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise MalformedError("a chunk is cut off")
        yield name, content[at:end]
        at = end


# ---------------------------------------------------------------- WebP

_WEBP_SHOWN = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
_HAS_EXIF, _HAS_XMP = 0x08, 0x04


def _webp(content: bytes, policy: Policy) -> bytes:
    chunks = list(_webp_chunks(content))
    bodies = dict(chunks)
    exif = policy.exif(bodies.get(b"EXIF", b"").removeprefix(EXIF_PREFIX) or None)
    xmp = policy.xmp(bodies.get(b"XMP "))
    kept = [_riff(name, body) for name, body in chunks if name in _WEBP_SHOWN]
    if extended := bodies.get(b"VP8X"):
        flags = extended[0] & ~(_HAS_EXIF | _HAS_XMP)
        flags |= (_HAS_EXIF if exif else 0) | (_HAS_XMP if xmp else 0)
        kept.insert(0, _riff(b"VP8X", bytes((flags,)) + extended[1:]))
        kept += [_riff(name, body) for name, body in ((b"EXIF", exif), (b"XMP ", xmp)) if body]
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\x00" * (len(body) % 2)


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    (size,) = struct.unpack_from("<I", content, 4)
    at, end = 12, min(size + 8, len(content))
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", content, at)
        if at + 8 + length > len(content):
            raise MalformedError("a chunk is cut off")
        yield name, content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


# ---------------------------------------------------------------- GIF

_GIF_END, _GIF_EXTENSION, _GIF_IMAGE = 0x3B, 0x21, 0x2C
_GIF_COMMENT, _GIF_APPLICATION = 0xFE, 0xFF
_GIF_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def _gif(content: bytes, _policy: Policy) -> bytes:
    kept = []
    for label, whole in gif_blocks(content):
        looping = whole[3:14] in _GIF_LOOPS
        if label == _GIF_COMMENT or (label == _GIF_APPLICATION and not looping):
            continue
        kept.append(whole)
    return b"".join(kept)


def gif_blocks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the extension label (0 for others) and bytes of every block, the trailer included.

    Raises:
        MalformedError: the file ends before its trailer.
    """
    try:
        at = 13 + _gif_table(content[10])
        yield 0, content[:at]
        while content[at] != _GIF_END:
            start, label = at, 0
            if content[at] == _GIF_EXTENSION:
                label = content[at + 1]
                at = _gif_data(content, at + 2)
            elif content[at] == _GIF_IMAGE:
                at = _gif_data(content, at + 11 + _gif_table(content[at + 9]))
            else:
                raise MalformedError("an unknown block")
            yield label, content[start:at]
        yield 0, content[at : at + 1]
    except IndexError as error:
        raise MalformedError("it ends before its trailer") from error


def _gif_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_data(content: bytes, at: int) -> int:
    """Return where the sub-blocks that start at `at` end."""
    while size := content[at]:
        at += size + 1
    return at + 1


_STRIPPERS: Mapping[MediaType, Callable[[bytes, Policy], bytes]] = {
    JPEG: _jpeg,
    PNG: _png,
    WEBP: _webp,
    GIF: _gif,
}
