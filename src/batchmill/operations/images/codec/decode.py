"""Opens image files: header and limits first, then lazy pixels, shrunk while decoding.

Only the child imports this module. The loader is chosen by the sniffed type, never by libvips
or by a file name.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pyvips

from batchmill.errors.item import (
    EmptyFileError,
    ItemError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from batchmill.model.limits import Limits
from batchmill.model.media import (
    AVIF,
    CAMERA_RAW,
    GIF,
    HEIC,
    JPEG,
    PNG,
    SNIFF_BYTES,
    TIFF,
    WEBP,
    MediaType,
)
from batchmill.operations.contract import Source
from batchmill.operations.images.codec import heif
from batchmill.operations.images.codec.bounds import check_size
from batchmill.operations.images.codec.camera_raw import camera_raw
from batchmill.operations.images.codec.color import to_srgb
from batchmill.operations.images.codec.damage import translated
from batchmill.operations.images.codec.strip.gif import blocks
from batchmill.operations.images.codec.strip.policy import MalformedError
from batchmill.operations.images.codec.turbo import pixels_at_once
from batchmill.operations.picture import Picture

pyvips.block_untrusted_set(True)
pyvips.cache_set_max(0)


def open_picture(source: Source, limits: Limits, *, tolerant: bool = False) -> Picture:
    """Return the picture of an image file: lazy, sRGB or grey, 8 bit, not yet upright.

    The header is read and held against `limits` before any pixel is. Damage in the pixels
    shows only when they are read. `tolerant` accepts damaged pixels.

    Raises:
        EmptyFileError: the file has no bytes.
        UnsupportedTypeError: the content is not a picture of a supported type.
        UnreadableFileError: the header is damaged or contradicts the content.
        TooManyPixelsError: it is over a limit of side, pixels or frames.
    """
    if source.bytes == 0:
        raise EmptyFileError(source.name)
    image = load(source, limits, tolerant=tolerant)
    return Picture(image=to_srgb(image), orientation=_orientation(image), source=source, raw=image)


def is_sound(source: Source, limits: Limits) -> bool:
    """Tell whether every pixel of a file can be read, to know what an unclear error was about."""
    try:
        load(source, limits).avg()
    except (ItemError, pyvips.Error):
        return False
    return True


def left_out(picture: Picture) -> str | None:
    """Say what of an opened file will not be seen, if anything."""
    source = picture.source
    if source is None:
        return None
    if source.media is TIFF and picture.raw.get_n_pages() > 1:
        return f"{source.name} has {picture.raw.get_n_pages()} pages; only the first was used"
    if source.media is PNG and _is_animated_png(source):
        return f"{source.name} is an animated PNG; only its first frame was used"
    return None


def shrunk(picture: Picture, shrink: float, limits: Limits, *, tolerant: bool) -> pyvips.Image:
    """Return an untouched picture's raw pixels, up to `shrink` times smaller where that is free.

    Raises: as `open_picture`.
    """
    source = picture.source
    if source is None or source.media not in _SHRINKING or shrink <= 1:
        return picture.image if picture.raw is None else picture.raw
    image = load(source, limits, shrink=shrink, tolerant=tolerant)
    return image if tolerant or source.media is not JPEG else pixels_at_once(image, source)


def decoded(picture: Picture) -> Picture:
    """Return a picture that is read next as it came, its pixels made at once if that pays."""
    source = picture.source
    if source is None or source.media is not JPEG or picture.image is not picture.raw:
        return picture
    image = pixels_at_once(picture.image, source)
    return picture if image is picture.image else replace(picture, image=image, raw=image)


def load(
    source: Source, limits: Limits, *, shrink: float = 1.0, tolerant: bool = False
) -> pyvips.Image:
    """Return a file's pixels as they are stored: any colour space, not upright.

    With `shrink` above 1 the decoder may give a picture up to `shrink` times smaller, which
    costs it less; formats that can't, and animations, come in full size.

    Raises: as `open_picture`.
    """
    if source.media not in _LOADERS:
        raise UnsupportedTypeError(f"{source.name} is {source.media.mime}, which is no picture")
    loader = _LOADERS[source.media]
    try:
        return loader(source, limits, shrink, tolerant)
    except pyvips.Error as error:
        raise translated(error, source.name, "open", limits) from error


def _checked(image: pyvips.Image, source: Source, limits: Limits) -> None:
    """Refuse what is over the limits; nothing but the header was read so far."""
    width, height = image.width, image.get_page_height()
    frames = image.get_n_pages() if source.media in _ANIMATED else 1
    check_size(source.name, (width, height), limits, frames=frames)


def _orientation(image: pyvips.Image) -> int:
    if not image.get_typeof("orientation"):
        return 1
    value = int(image.get("orientation"))
    return value if value in range(1, 9) else 1


# ---------------------------------------------------------------- one loader per type

_LARGEST_JPEG_SHRINK = 8
_ROOM = 1.3
"""How much larger than wanted a shrunk JPEG must be: nearer to it, its coarse filter shows."""


def _jpeg(source: Source, limits: Limits, shrink: float, tolerant: bool) -> pyvips.Image:
    factor = _LARGEST_JPEG_SHRINK
    while factor > 1 and factor * _ROOM > shrink:
        factor //= 2
    image = pyvips.Image.jpegload(
        source.path, access="sequential", shrink=factor, fail_on=_fail_on(tolerant)
    )
    at_least = ((image.width - 1) * factor + 1, (image.height - 1) * factor + 1)
    check_size(source.name, at_least, limits)
    return image


def _png(source: Source, limits: Limits, _shrink: float, tolerant: bool) -> pyvips.Image:
    image = pyvips.Image.pngload(source.path, access="sequential", fail_on=_fail_on(tolerant))
    _checked(image, source, limits)
    return image


def _is_animated_png(source: Source) -> bool:
    with source.path.open("rb") as file:
        return b"acTL" in file.read(SNIFF_BYTES).partition(b"IDAT")[0]


def _webp(source: Source, limits: Limits, shrink: float, tolerant: bool) -> pyvips.Image:
    options = {"access": "sequential", "fail_on": _fail_on(tolerant)}
    image = pyvips.Image.webpload(source.path, **options)
    _checked(image, source, limits)
    if image.get_n_pages() > 1:
        return pyvips.Image.webpload(source.path, n=-1, **options)
    if shrink > 1:
        return pyvips.Image.webpload(source.path, scale=1 / shrink, **options)
    return image


def _gif(source: Source, limits: Limits, _shrink: float, tolerant: bool) -> pyvips.Image:
    options = {"access": "sequential", "fail_on": _fail_on(tolerant)}
    if not tolerant:
        _check_gif_ends(source)
    image = pyvips.Image.gifload(source.path, **options)
    _checked(image, source, limits)
    if image.get_n_pages() > 1:
        return pyvips.Image.gifload(source.path, n=-1, **options)
    return image


def _check_gif_ends(source: Source) -> None:
    """Refuse a GIF that breaks off, which libvips takes without a word."""
    try:
        for _block in blocks(source.path.read_bytes()):
            pass
    except MalformedError as error:
        raise UnreadableFileError(source.name, str(error)) from error


def _tiff(source: Source, limits: Limits, _shrink: float, tolerant: bool) -> pyvips.Image:
    # "warning" would refuse the private tags that many scanners write
    fail_on = "none" if tolerant else "error"
    image = pyvips.Image.tiffload(source.path, access="sequential", fail_on=fail_on)
    _checked(image, source, limits)
    return image


def _avif(source: Source, limits: Limits, _shrink: float, _tolerant: bool) -> pyvips.Image:
    return heif.avif(source, limits)


def _heic(source: Source, limits: Limits, _shrink: float, _tolerant: bool) -> pyvips.Image:
    return heif.heic(source, limits)


def _camera_raw(source: Source, limits: Limits, shrink: float, _tolerant: bool) -> pyvips.Image:
    return camera_raw(source, limits, shrink)


def _fail_on(tolerant: bool) -> str:
    # "truncated" and "error" would still accept lying headers and flipped bytes
    return "none" if tolerant else "warning"


Loader = Callable[[Source, Limits, float, bool], Any]
_LOADERS: Mapping[MediaType, Loader] = {
    JPEG: _jpeg,
    PNG: _png,
    WEBP: _webp,
    GIF: _gif,
    TIFF: _tiff,
    AVIF: _avif,
    HEIC: _heic,
    **dict.fromkeys(CAMERA_RAW, _camera_raw),
}
_SHRINKING = frozenset({JPEG, WEBP, *CAMERA_RAW})
_ANIMATED = frozenset({GIF, WEBP})
