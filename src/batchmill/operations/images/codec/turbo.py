"""Decodes JPEG by libjpeg-turbo at once, where that is faster. Only the child imports this module.

The pixels are bit for bit those of libvips, which has an older library of the same family and
hands over row by row. Nothing is accepted here that libvips would refuse: what is not plainly
sound is left to it, and so is what is too large to be held whole.
"""

import sys
from collections.abc import Mapping
from itertools import count
from typing import Any

import pyvips

from batchmill.operations.contract import Source

_LEAST_PIXELS, _MOST_PIXELS = 100_000, 8_000_000
_MOST_BYTES = 32_000_000
_PAYS_AFTER = 100
_KINDS: Mapping[tuple[str, int], str] = {("srgb", 3): "RGB", ("b-w", 1): "GRAY"}


_opened = count(1)


def pixels_at_once(image: pyvips.Image, source: Source) -> pyvips.Image:
    """Return what a JPEG's lazy image holds, with its metadata, decoded already if that pays.

    `image` is returned as it is where it doesn't pay, and where the file is damaged: then its
    loader finds that out, and says what it is.
    """
    kind = _KINDS.get((image.interpretation, image.bands))
    width, height = image.width, image.height
    if kind is None or not _LEAST_PIXELS <= width * height <= _MOST_PIXELS:
        return image
    library = _library() if source.bytes <= _MOST_BYTES else None
    if library is None:
        return image
    try:
        rows = library.decode_jpeg(
            source.path.read_bytes(), kind, min_height=height, min_width=width, strict=True
        )
    except ValueError:
        return image
    down, across = rows.shape[:2]
    if not (0 <= down - height <= 1 and 0 <= across - width <= 1):
        return image
    whole = pyvips.Image.new_from_memory(rows, across, down, image.bands, "uchar")
    # metadata of the one, pixels of the other: what is covered is never read. A last row or column
    # that is not whole when shrunk stands out, which libvips cuts away too.
    return image.insert(whole, 0, 0)


def _library() -> Any:  # noqa: ANN401 - a module
    """Return simplejpeg, or None until it pays: it needs numpy, which takes 250 ms to load."""
    if "numpy" not in sys.modules and next(_opened) < _PAYS_AFTER:
        return None
    import simplejpeg

    return simplejpeg
