"""Strips JPEG: drops application segments, comments and what follows the end."""

import struct
from collections.abc import Iterator

from batchmill.operations.images.codec.metadata import EXIF_PREFIX
from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

_SOI, _EOI, _SOS, _APP1, _APP2, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xEE, 0xFE
_APP0, _APP15 = 0xE0, 0xEF
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\x00"
_LONGEST_SEGMENT = 65_533


def stripped(content: bytes, policy: Policy) -> bytes:
    """Return a JPEG file with only the metadata that the policy keeps."""
    exif = xmp = None
    kept = []
    for marker, whole in _parts(content, cut=policy.cut):
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


def _parts(content: bytes, *, cut: bool) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of every part after SOI, scans with their data, up to EOI.

    The last scan of a file that was `cut` off may end with the file.
    """
    at = 2
    while not (cut and at == len(content)):
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
        end = _scan_end(content, end, cut=cut) if marker == _SOS else end
        yield marker, content[at:end]
        at = end


def _scan_end(content: bytes, at: int, *, cut: bool) -> int:
    """Return where the entropy-coded data that starts at `at` ends: at a marker of its own."""
    while True:
        at = content.find(b"\xff", at)
        if cut and (at < 0 or at + 1 == len(content)):
            return len(content)
        if at < 0:
            raise MalformedError("the last scan does not end")
        if content[at + 1] and not 0xD0 <= content[at + 1] <= 0xD7:  # noqa: PLR2004 - stuffed, RSTn
            return at
        at += 2
