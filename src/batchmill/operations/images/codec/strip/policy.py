"""What metadata is kept when a file is stripped."""

from dataclasses import dataclass

from batchmill.operations.images.codec.metadata import (
    exif_without_position,
    orientation_exif,
    without_position,
)
from batchmill.operations.picture import Keep


class MalformedError(ValueError):
    """The file's structure is not what its format prescribes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is to be kept, and the orientation (EXIF 1…8) that must not get lost.

    `cut` accepts a JPEG whose end is missing.
    """

    keep: Keep
    orientation: int = 1
    cut: bool = False

    def exif(self, block: bytes | None) -> bytes:
        """Return what is to be written for an EXIF block (from its TIFF header on), or b""."""
        kept = exif_without_position(block) if block is not None and self.keep == "exif" else b""
        return kept or (orientation_exif(self.orientation) if self.orientation > 1 else b"")

    def xmp(self, packet: bytes | None) -> bytes:
        """Return what is to be written for an XMP packet, or b""."""
        return without_position(packet) if packet is not None and self.keep == "xmp" else b""
