"""What kind of file it is, decided by its first bytes and never by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

SNIFF_BYTES = 4096
"""How many leading bytes `sniff` wants; fewer is fine for a shorter file."""


class Family(StrEnum):
    """Groups of media types that operations accept together."""

    IMAGE = "image"
    DOCUMENT = "document"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class MediaType:
    """One accepted type: its MIME name, its family and the extension we give it (no dot)."""

    mime: str
    family: Family
    extension: str


JPEG = MediaType("image/jpeg", Family.IMAGE, "jpg")
PNG = MediaType("image/png", Family.IMAGE, "png")
WEBP = MediaType("image/webp", Family.IMAGE, "webp")
AVIF = MediaType("image/avif", Family.IMAGE, "avif")
HEIC = MediaType("image/heic", Family.IMAGE, "heic")
TIFF = MediaType("image/tiff", Family.IMAGE, "tiff")
GIF = MediaType("image/gif", Family.IMAGE, "gif")
ZIP = MediaType("application/zip", Family.ARCHIVE, "zip")
PDF = MediaType("application/pdf", Family.DOCUMENT, "pdf")

TYPES: tuple[MediaType, ...] = (JPEG, PNG, WEBP, AVIF, HEIC, TIFF, GIF, ZIP, PDF)
BY_MIME = {media.mime: media for media in TYPES}

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


def sniff(head: bytes) -> MediaType | None:
    """Name the type of a file from its first `SNIFF_BYTES`; None when it is none we accept."""
    for check in _CHECKS:
        media = check(head)
        if media is not None:
            return media
    return None


def _by_magic(head: bytes) -> MediaType | None:
    return next((media for magic, media in _MAGIC if head.startswith(magic)), None)


def _riff(head: bytes) -> MediaType | None:
    return WEBP if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _iso_media(head: bytes) -> MediaType | None:
    """HEIC and AVIF: the major brand decides, `mif1` looks at the compatible brands."""
    if head[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = {head[at : at + 4] for at in range(16, size, 4)}
    major = head[8:12]
    if major in _AVIF_BRANDS or (major in {b"mif1", b"msf1"} and compatible & _AVIF_BRANDS):
        return AVIF
    return HEIC if major in _HEIF_BRANDS else None


_MAGIC: tuple[tuple[bytes, MediaType], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"%PDF-", PDF),
)
_CHECKS: tuple[Callable[[bytes], MediaType | None], ...] = (_by_magic, _riff, _iso_media)
