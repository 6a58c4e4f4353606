"""What kind of file it is, decided by its first bytes and never by its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from batchmill.model.delimited import find_dialect

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
DNG = MediaType("image/x-adobe-dng", Family.IMAGE, "dng")
CR2 = MediaType("image/x-canon-cr2", Family.IMAGE, "cr2")
CR3 = MediaType("image/x-canon-cr3", Family.IMAGE, "cr3")
NEF = MediaType("image/x-nikon-nef", Family.IMAGE, "nef")
ARW = MediaType("image/x-sony-arw", Family.IMAGE, "arw")
RAF = MediaType("image/x-fuji-raf", Family.IMAGE, "raf")
ORF = MediaType("image/x-olympus-orf", Family.IMAGE, "orf")
RW2 = MediaType("image/x-panasonic-rw2", Family.IMAGE, "rw2")
PEF = MediaType("image/x-pentax-pef", Family.IMAGE, "pef")
SRW = MediaType("image/x-samsung-srw", Family.IMAGE, "srw")
OTHER_RAW = MediaType("image/x-dcraw", Family.IMAGE, "raw")
ZIP = MediaType("application/zip", Family.ARCHIVE, "zip")
PDF = MediaType("application/pdf", Family.DOCUMENT, "pdf")
XLSX = MediaType(
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Family.DOCUMENT, "xlsx"
)
XLSM = MediaType("application/vnd.ms-excel.sheet.macroenabled.12", Family.DOCUMENT, "xlsm")
XLSB = MediaType("application/vnd.ms-excel.sheet.binary.macroenabled.12", Family.DOCUMENT, "xlsb")
XLS = MediaType("application/vnd.ms-excel", Family.DOCUMENT, "xls")
ODS = MediaType("application/vnd.oasis.opendocument.spreadsheet", Family.DOCUMENT, "ods")
CSV = MediaType("text/csv", Family.DOCUMENT, "csv")
TSV = MediaType("text/tab-separated-values", Family.DOCUMENT, "tsv")
TEXT = MediaType("text/plain", Family.DOCUMENT, "txt")

CAMERA_RAW = (DNG, CR2, CR3, NEF, ARW, RAF, ORF, RW2, PEF, SRW, OTHER_RAW)
IMAGES = (JPEG, PNG, WEBP, AVIF, HEIC, TIFF, GIF, *CAMERA_RAW)
DOCUMENTS = (PDF, XLSX, XLSM, XLSB, XLS, ODS, CSV, TSV, TEXT)
TYPES: tuple[MediaType, ...] = (*IMAGES, ZIP, *DOCUMENTS)
BY_MIME = {media.mime: media for media in TYPES}

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


_OTHER_NAMES = {"jpeg": JPEG, "jfif": JPEG, "heif": HEIC, "tif": TIFF}
_BY_EXTENSION = {media.extension: media.family for media in TYPES}
_BY_EXTENSION |= {name: media.family for name, media in _OTHER_NAMES.items()}


def claimed_family(name: str) -> Family | None:
    """Return what a file's extension claims it to be; only its content decides what it is."""
    return _BY_EXTENSION.get(name.rpartition(".")[2].lower())


def sniff(head: bytes) -> MediaType | None:
    """Name the type of a file from its first `SNIFF_BYTES`; None when it is none we accept.

    A head cannot tell what a container holds: a workbook in a ZIP is ZIP here, any OLE2 file
    XLS, and most camera RAW TIFF. Where the whole file is at hand, ask `containers.identify`.
    """
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
    """HEIC, AVIF and CR3: the major brand decides, `mif1` looks at the compatible brands."""
    if head[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = {head[at : at + 4] for at in range(16, size, 4)}
    major = head[8:12]
    if major in _AVIF_BRANDS or (major in {b"mif1", b"msf1"} and compatible & _AVIF_BRANDS):
        return AVIF
    if major == b"crx ":
        return CR3
    return HEIC if major in _HEIF_BRANDS else None


def _pdf_after_junk(head: bytes) -> MediaType | None:
    """Readers accept a PDF whose header stands in the first 1,024 bytes."""
    return PDF if _LATE_PDF.search(head, 0, 1024) else None


def _open_document(head: bytes) -> MediaType | None:
    """ODF names its type in the first member, stored as it is."""
    if head[30:38] == b"mimetype" and head[38:].startswith(ODS.mime.encode()):
        return ODS
    return None


_LATE_PDF = re.compile(rb"(?:\A.{0,8}|[\r\n\x00])%PDF-\d\.\d", re.DOTALL)
_BOMS: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_BINARY = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")


def bom_encoding(head: bytes) -> str | None:
    """Return the codec that a byte order mark names, None where there is no mark."""
    return next((codec for mark, codec in _BOMS if head.startswith(mark)), None)


def _text(head: bytes) -> MediaType | None:
    """Text has no control characters; a table of it has rows of equal width."""
    codec = bom_encoding(head)
    if not head or (codec is None and not _BINARY.isdisjoint(head)):
        return None
    text = head.decode(codec or "latin-1", "ignore")
    if len(head) >= SNIFF_BYTES:  # the last line is probably cut
        text = text[: text.rfind("\n") + 1] or text
    dialect = find_dialect(text)
    if dialect is None:
        return TEXT
    return TSV if dialect.delimiter == "\t" else CSV


_MAGIC: tuple[tuple[bytes, MediaType], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
    (b"IIRO", ORF),
    (b"IIRS", ORF),
    (b"MMOR", ORF),
    (b"IIU\x00", RW2),
    (b"FUJIFILMCCD-RAW ", RAF),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"%PDF-", PDF),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", XLS),
)
_CHECKS: tuple[Callable[[bytes], MediaType | None], ...] = (
    _open_document,
    _by_magic,
    _riff,
    _iso_media,
    _pdf_after_junk,
    _text,
)
