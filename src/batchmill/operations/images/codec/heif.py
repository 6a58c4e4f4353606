"""Decodes HEIC and AVIF by other hands than libvips. Only the child imports this module.

HEIC by pillow-heif, since pyvips comes without HEVC. AVIF by Pillow: its dav1d needs a third of
the CPU time of the aom that pyvips comes with.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyvips
from PIL import AvifImagePlugin, Image

from batchmill.model.limits import Limits
from batchmill.operations.contract import Source
from batchmill.operations.images.codec.bounds import check_size
from batchmill.operations.images.codec.color_values import COLOUR_BANDS
from batchmill.operations.images.codec.damage import translated
from batchmill.operations.images.codec.metadata import with_exif

Image.MAX_IMAGE_PIXELS = None  # our own limits are checked first, and say which they are
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one child per core

_ORIENTATION_TAG = 0x0112
_FIELDS = {"icc_profile": "icc-profile-data", "xmp": "xmp-data"}


def avif(source: Source, limits: Limits) -> pyvips.Image:
    """Return the pixels of an AVIF file (of its primary picture), still to be turned upright.

    Raises:
        UnreadableFileError: it is damaged.
        TooManyPixelsError: it is over a limit.
    """
    with _damage(source, limits), Image.open(source.path, formats=("AVIF",)) as opened:
        check_size(source.name, opened.size, limits)
        opened.load()
        image = _with_metadata(_pixels(opened), opened.info).copy()
        orientation = opened.getexif().get(_ORIENTATION_TAG, 1)
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image


def heic(source: Source, limits: Limits) -> pyvips.Image:
    """Return the pixels of a HEIC file (of its primary picture), upright.

    Raises: as `avif`.
    """
    import pillow_heif

    with _damage(source, limits):
        opened = pillow_heif.open_heif(source.path, convert_hdr_to_8bit=True)
        check_size(source.name, opened.size, limits)
        image = _with_metadata(_pixels(opened.to_pillow()), opened.info)
    if image.get_typeof("orientation"):
        # the file's own boxes turned it; what EXIF says beside them has no say
        image = image.copy()
        image.remove("orientation")
    return image


@contextmanager
def _damage(source: Source, limits: Limits) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, SyntaxError, EOFError, RuntimeError) as error:
        raise translated(error, source.name, "open", limits) from error


def _pixels(image: Image.Image) -> pyvips.Image:
    if image.mode not in {"L", "LA", "RGB", "RGBA"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    bands = len(image.getbands())
    made = pyvips.Image.new_from_memory(image.tobytes(), *image.size, bands, "uchar")
    return made.copy(interpretation="b-w" if bands < COLOUR_BANDS else "srgb")


def _with_metadata(image: pyvips.Image, info: Mapping[Any, Any]) -> pyvips.Image:
    for name, field in _FIELDS.items():
        if block := info.get(name):
            image.set_type(pyvips.GValue.blob_type, field, bytes(block))
    return with_exif(image, info["exif"]) if info.get("exif") else image
