"""A picture whose pixels are made when they are first read. Only the child imports this module.

libvips takes lazy pixels from a loader only. So it is handed a TIFF of which nothing but the
header exists until somebody reads behind it.
"""

import os
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pyvips

_BANDS = 3
_SHORT, _LONG = 3, 4
_ENTRY_BYTES = 12


def on_demand(size: tuple[int, int], make: Callable[[], memoryview]) -> pyvips.Image:
    """Return an sRGB picture of `size` (width, height in px) that `make` fills, called once.

    `make` gives rows from top to bottom, red, green and blue for each pixel; what it raises
    reaches the reader of the pixels as a file that breaks off.
    """
    width, height = size
    file = _Late(_header(width, height), make, width * height * _BANDS)
    source = pyvips.SourceCustom()
    source.on_read(file.read)
    source.on_seek(file.seek)
    return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")


@dataclass(slots=True)
class _Late:
    header: bytes
    make: Callable[[], memoryview]
    pixel_bytes: int
    pixels: memoryview | None = None
    at: int = 0

    def read(self, most: int) -> bytes | memoryview | None:
        behind = self.at - len(self.header)
        piece = self._pixels()[behind : behind + most] if behind >= 0 else self.header[self.at :]
        piece = piece[:most]
        self.at += len(piece)
        return piece or None

    def seek(self, offset: int, whence: int) -> int:
        end = len(self.header) + self.pixel_bytes
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: end}
        self.at = starts[whence] + offset
        return self.at

    def _pixels(self) -> memoryview:
        if self.pixels is None:
            try:
                self.pixels = self.make()
            except Exception:  # none can pass through libvips, which takes the end for damage
                traceback.print_exc()
                self.pixels = memoryview(b"")
        return self.pixels


def _header(width: int, height: int) -> bytes:
    """Return all of an uncompressed 8-bit RGB TIFF that stands before its one strip (TIFF 6)."""
    depths = struct.pack("<3H", 8, 8, 8)
    entries = [
        (256, _LONG, 1, width),
        (257, _LONG, 1, height),
        (258, _SHORT, _BANDS, 0),  # where the depths stand, set below
        (259, _SHORT, 1, 1),  # not compressed
        (262, _SHORT, 1, 2),  # RGB
        (273, _LONG, 1, 0),  # where the pixels stand, set below
        (277, _SHORT, 1, _BANDS),
        (278, _LONG, 1, height),
        (279, _LONG, 1, width * height * _BANDS),
    ]
    depths_at = 8 + 2 + _ENTRY_BYTES * len(entries) + 4
    places = {258: depths_at, 273: depths_at + len(depths)}
    body = b"".join(
        struct.pack("<HHII", tag, kind, count, places.get(tag, value))
        for tag, kind, count, value in entries
    )
    return b"II*\x00" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + depths
