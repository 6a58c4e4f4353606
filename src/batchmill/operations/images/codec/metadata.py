"""What a kept EXIF or XMP block may say: all but where a picture was taken."""

import re
import struct
from typing import TYPE_CHECKING, Any

from batchmill.operations.picture import Keep, Packets

if TYPE_CHECKING:
    import pyvips

EXIF_PREFIX = b"Exif\x00\x00"
_GPS_FIELDS = "exif-ifd3-"
_THUMBNAIL = ("jpeg-thumbnail-data", "exif-ifd1-")
_ORIENTATION_TAG = 0x0112
_LONGEST_EXIF_BYTES = 65_000
_GPS_TAG = 0x8825
_UNREADABLE = (
    *(ArithmeticError, AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError),
    struct.error,
)
"""What Pillow raises at values that a tag can't have: it does not check their types."""
_XMP_GPS = re.compile(
    rb"""\s[\w-]+:GPS\w+\s*=\s*("[^"]*"|'[^']*')|<([\w-]+:GPS\w+)\b[^>]*?(/>|>.*?</\2\s*>)""",
    re.DOTALL,
)


def cleaned(image: "pyvips.Image", keep: Keep) -> "pyvips.Image":
    """Return the image with metadata that may be written when `keep` is asked for.

    The position goes unless all is kept; the embedded thumbnail always goes: it may show what
    was cut away.
    """
    if keep in {"none", "icc"}:
        return image
    unwanted = _THUMBNAIL if keep == "all" else (_GPS_FIELDS, *_THUMBNAIL)
    image = image.copy()
    for name in image.get_fields():
        if name.startswith(unwanted):
            image.remove(name)
    if keep == "xmp" and image.get_typeof("xmp-data"):
        _set(image, "xmp-data", without_position(image.get("xmp-data")))
    return image


def with_packets(image: "pyvips.Image", packets: Packets, *, iptc: bool) -> "pyvips.Image":
    """Return the image with these packets in place of its own; `iptc` says whether both fit."""
    image = image.copy()
    _set(image, "xmp-data", packets.xmp)
    image.remove("iptc-data")
    if iptc:
        _set(image, "iptc-data", packets.iptc)
    return image


def with_exif(image: "pyvips.Image", exif: bytes) -> "pyvips.Image":
    """Return the image with an EXIF block, parsed as libvips wants it to be able to write it.

    A block that no JPEG could hold is left out.
    """
    import pyvips

    if len(exif) > _LONGEST_EXIF_BYTES:
        return image
    carrier = pyvips.Image.jpegload_buffer(_smallest_jpeg(exif))
    for name in carrier.get_fields():
        if name.startswith("exif-"):
            image.set_type(carrier.get_typeof(name), name, carrier.get(name))
    return image


def exif_without_position(exif: bytes) -> bytes:
    """Return an EXIF block (from its TIFF header on) without GPS and thumbnail.

    What can't be read, or not be written again as it was, is dropped whole.
    """
    from PIL import Image

    parsed = Image.Exif()
    try:
        parsed.load(exif)
        if _GPS_TAG in parsed:
            del parsed[_GPS_TAG]
        return parsed.tobytes(8).removeprefix(EXIF_PREFIX)
    except _UNREADABLE:
        return b""


def orientation_exif(orientation: int) -> bytes:
    """Return an EXIF block (from its TIFF header on) that says only how to turn the picture."""
    from PIL import Image

    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = orientation
    return exif.tobytes(8).removeprefix(EXIF_PREFIX)


def without_position(xmp: bytes) -> bytes:
    """Return an XMP packet without its GPS properties."""
    return _XMP_GPS.sub(b"", xmp)


def _smallest_jpeg(exif: bytes) -> bytes:
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.new("L", (1, 1)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def _set(image: Any, name: str, value: bytes) -> None:  # noqa: ANN401 - a pyvips image
    import pyvips

    image.set_type(pyvips.GValue.blob_type, name, value)
