"""One saver per format: writes finished pixels into a file. Only the child imports this module."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image, WebPImagePlugin

from batchmill.model.media import AVIF, GIF, JPEG, PNG, TIFF, WEBP, MediaType
from batchmill.operations.images.codec.color_values import COLOUR_BANDS
from batchmill.operations.images.codec.finished import size_of
from batchmill.operations.images.codec.metadata import cleaned, with_packets
from batchmill.operations.images.codec.png import save_smallest
from batchmill.operations.picture import Encoding, Format

MEDIA: Mapping[Format, MediaType] = {
    "jpeg": JPEG,
    "png": PNG,
    "webp": WEBP,
    "avif": AVIF,
    "tiff": TIFF,
    "gif": GIF,
}
FORMATS: Mapping[MediaType, Format] = {media: name for name, media in MEDIA.items()}
LONGEST_PX: Mapping[Format, int] = {"webp": 16_383, "avif": 16_384, "jpeg": 65_500, "gif": 65_535}
DEFAULT_QUALITY: Mapping[Format, int] = {"jpeg": 80, "webp": 80, "avif": 50}
"""Formats that are not named here stay lossless (gif: a palette) unless a quality is given."""

_BEST_WEBP_EFFORT = 6
_WEBP = WebPImagePlugin.WebPImageFile.format
"""Named through its module, which is loaded with this one: a format that Pillow does not know yet
makes it load all that it has, 60 ms in every child. What it loads in any case, it loads here."""
Image.preinit()
_MOST_PIXELS_IN_A_REGION = 256 * 256


def save(image: pyvips.Image, path: Path, format_: Format, encoding: Encoding) -> None:
    """Encode `image` into `path`; its pixels are read here, so damage in the source shows here."""
    image = cleaned(image, encoding.keep)
    if encoding.packets is not None:
        image = with_packets(image, encoding.packets, iptc=format_ == "jpeg")
    _SAVERS[format_](image, path, encoding)


def header(path: Path, media: MediaType) -> tuple[int, int, int]:
    """Return width, height (px, of one frame) and frames of a written file, by its header."""
    if size := size_of(path, media):
        return *size, 1
    written = _HEADERS[media](path)
    frames = written.get_n_pages() if media in {WEBP, GIF} else 1
    return written.width, written.get_page_height(), frames


def _jpeg(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    image.jpegsave(
        path,
        Q=encoding.quality or DEFAULT_QUALITY["jpeg"],
        interlace=encoding.progressive,
        optimize_coding=True,
        subsample_mode=_chroma(encoding),
        trellis_quant=encoding.optimise,
        overshoot_deringing=encoding.optimise,
        optimize_scans=encoding.optimise and encoding.progressive,
        quant_table=3 if encoding.optimise else 0,
        **_kept(image, encoding),
    )


def _webp(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    effort = min(4 if encoding.effort is None else encoding.effort, _BEST_WEBP_EFFORT)
    quality = encoding.quality or DEFAULT_QUALITY["webp"]
    animated = image.height > image.get_page_height()
    bare = encoding.keep == "none" and encoding.packets is None
    if bare and not encoding.lossless and not animated:
        _webp_by_pillow(image, path, quality, effort)
        return
    image.webpsave(
        path,
        Q=quality,
        lossless=encoding.lossless,
        effort=effort,
        **_kept(image, encoding),
    )


def _webp_by_pillow(image: pyvips.Image, path: Path, quality: int, effort: int) -> None:
    """Write the bytes that libvips would: Pillow's build of libwebp takes 5 to 8 % less CPU."""
    if image.bands < COLOUR_BANDS:
        image = image.colourspace("srgb")
    mode = "RGBA" if image.hasalpha() else "RGB"
    size = (image.width, image.height)
    pixels = Image.frombuffer(mode, size, _all_pixels(image, *size), "raw", mode, 0, 1)
    pixels.save(path, _WEBP, quality=quality, method=effort)


def _all_pixels(image: pyvips.Image, width: int, height: int) -> bytes:
    """Return every pixel, row by row.

    libvips hands each row of a picture to a thread, which for a small one takes longer than the
    row. In a region this thread makes them all, but some more than once in a large picture.
    """
    pixels: bytes
    if width * height > _MOST_PIXELS_IN_A_REGION:
        pixels = image.write_to_memory()
    else:
        pixels = pyvips.Region.new(image).fetch(0, 0, width, height)
    return pixels


def _avif(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    image.heifsave(
        path,
        compression="av1",
        Q=encoding.quality or DEFAULT_QUALITY["avif"],
        lossless=encoding.lossless,
        effort=4 if encoding.effort is None else encoding.effort,
        subsample_mode=_chroma(encoding),
        bitdepth=8,
        **_kept(image, encoding),
    )


def _png(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    kept = _kept(image, encoding)
    effort = 6 if encoding.effort is None else encoding.effort
    if encoding.quality is not None and not encoding.lossless:
        image.pngsave(
            path, compression=9, palette=True, Q=encoding.quality, effort=max(1, effort), **kept
        )
    elif encoding.optimise:
        save_smallest(image, path, kept)
    else:
        image.pngsave(path, compression=effort, **kept)


def _tiff(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    kept = _kept(image, encoding)
    if encoding.quality is not None and not encoding.lossless and not image.hasalpha():
        image.tiffsave(path, compression="jpeg", Q=encoding.quality, **kept)
    else:
        image.tiffsave(path, compression="deflate", predictor="horizontal", **kept)


def _gif(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    effort = 7 if encoding.effort is None else max(1, encoding.effort)
    image.gifsave(path, effort=effort, **_kept(image, encoding))


def _chroma(encoding: Encoding) -> str:
    return {"auto": "auto", "420": "on", "444": "off"}[encoding.chroma]


def _kept(image: pyvips.Image, encoding: Encoding) -> dict[str, Any]:
    """Return the savers' metadata options; a kept profile is sRGB's, as the colours are."""
    keep = f"{encoding.keep}:xmp:iptc" if encoding.packets else encoding.keep
    if encoding.keep in {"icc", "all"} and image.bands >= COLOUR_BANDS:
        return {"keep": keep, "profile": "srgb"}
    return {"keep": keep}


_SAVERS: Mapping[Format, Callable[[pyvips.Image, Path, Encoding], None]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "avif": _avif,
    "tiff": _tiff,
    "gif": _gif,
}
_HEADERS: Mapping[MediaType, Callable[[Path], Any]] = {
    JPEG: pyvips.Image.jpegload,
    PNG: pyvips.Image.pngload,
    WEBP: pyvips.Image.webpload,
    AVIF: pyvips.Image.heifload,
    TIFF: pyvips.Image.tiffload,
    GIF: pyvips.Image.gifload,
}
