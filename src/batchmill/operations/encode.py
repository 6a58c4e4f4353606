"""Writes pictures into the job's folder, measures what was written, and reports it.

Only the child imports this module.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from batchmill.errors import OperationFailedError, TooManyPixelsError
from batchmill.model.item import Output, SkipReason
from batchmill.model.media import AVIF, GIF, JPEG, PNG, TIFF, WEBP, MediaType
from batchmill.operations.base import Source
from batchmill.operations.colours import COLOUR_BANDS, rgba
from batchmill.operations.files import row
from batchmill.operations.geometry import upright
from batchmill.operations.picture import Encoding, Format, Picture

MEDIA: Mapping[Format, MediaType] = {
    "jpeg": JPEG,
    "png": PNG,
    "webp": WEBP,
    "avif": AVIF,
    "tiff": TIFF,
    "gif": GIF,
}
_FORMATS: Mapping[MediaType, Format] = {media: name for name, media in MEDIA.items()}
_ANIMATED = frozenset({"webp", "gif"})
_LONGEST_PX: Mapping[Format, int] = {"webp": 16_383, "avif": 16_384, "jpeg": 65_500, "gif": 65_535}


@dataclass(frozen=True, slots=True)
class Written:
    """One output in the job's folder, and why it is the source if it is."""

    output: Output
    skipped: SkipReason | None = None


def write(picture: Picture, source: Source, stem: Path) -> Written:
    """Encode a picture next to `stem` (a path without extension) and measure the result.

    Raises:
        TooManyPixelsError: the format can't hold so large a picture.
        OperationFailedError: what was written is not what was meant.
    """
    encoding = picture.encoding
    picture = upright(picture)
    format_ = _format(encoding, source)
    image = _fitted(picture.image, format_, encoding, source)
    path = stem.with_name(f"{stem.name}.{MEDIA[format_].extension}")
    save(image, path, format_, encoding)
    return Written(measured(path, MEDIA[format_], image, source))


def _format(encoding: Encoding, source: Source) -> Format:
    if encoding.format is None or encoding.format == "auto":
        return _FORMATS.get(source.media, "jpeg")
    return encoding.format


def _fitted(
    image: pyvips.Image, format_: Format, encoding: Encoding, source: Source
) -> pyvips.Image:
    """Return pixels that the format can hold: frames, alpha, side."""
    if image.height > image.get_page_height() and not (encoding.animated and format_ in _ANIMATED):
        image = image.crop(0, 0, image.width, image.get_page_height())
    longest = max(image.width, image.get_page_height())
    if longest > _LONGEST_PX.get(format_, longest):
        raise TooManyPixelsError(
            f"{source.name} is {longest:,} px long; {format_} holds at most "
            f"{_LONGEST_PX[format_]:,} px: resize it first or choose another format"
        )
    if format_ == "jpeg" and image.hasalpha():
        image = _flattened(image, encoding.background)
    return image


def _flattened(image: pyvips.Image, background: str) -> pyvips.Image:
    red, green, blue, _ = rgba(background)
    if image.bands >= COLOUR_BANDS:
        return image.flatten(background=[red, green, blue])
    if red == green == blue:
        return image.flatten(background=[red])
    return image.colourspace("srgb").flatten(background=[red, green, blue])


def save(image: pyvips.Image, path: Path, format_: Format, encoding: Encoding) -> None:
    """Encode `image` into `path`. The pixels are read here, so errors of decoding show here."""
    _SAVERS[format_](image, path, encoding)


def measured(path: Path, media: MediaType, image: pyvips.Image, source: Source) -> Output:
    """Reopen a written picture by its header and return its row.

    Raises:
        OperationFailedError: it is empty, or has not the size that was meant.
    """
    written = _HEADERS[media](path)
    size = (written.width, written.get_page_height())
    if size != (image.width, image.get_page_height()):
        raise OperationFailedError(source.name, "encode", detail=f"{path.name} came out as {size}")
    frames = written.get_n_pages() if media in {WEBP, GIF} else 1
    return row(path, media.mime, size=size, frames=frames if frames > 1 else None)


# ---------------------------------------------------------------- one saver per format


def _jpeg(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    image.jpegsave(
        path,
        Q=encoding.quality or 80,
        interlace=encoding.progressive,
        optimize_coding=True,
        subsample_mode=_chroma(encoding),
        trellis_quant=encoding.optimise,
        overshoot_deringing=encoding.optimise,
        optimize_scans=encoding.optimise and encoding.progressive,
        quant_table=3 if encoding.optimise else 0,
        keep="none",
    )


def _webp(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    image.webpsave(
        path,
        Q=encoding.quality or 80,
        lossless=encoding.lossless,
        effort=min(4 if encoding.effort is None else encoding.effort, 6),
        keep="none",
    )


def _avif(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    image.heifsave(
        path,
        compression="av1",
        Q=encoding.quality or 50,
        lossless=encoding.lossless,
        effort=4 if encoding.effort is None else encoding.effort,
        subsample_mode=_chroma(encoding),
        bitdepth=8,
        keep="none",
    )


def _png(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    effort = 6 if encoding.effort is None else encoding.effort
    if encoding.quality is None:
        image.pngsave(path, compression=effort, keep="none")
    else:
        image.pngsave(
            path,
            compression=9,
            palette=True,
            Q=encoding.quality,
            effort=max(1, effort),
            keep="none",
        )


def _tiff(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    if encoding.quality is not None and not encoding.lossless and not image.hasalpha():
        image.tiffsave(path, compression="jpeg", Q=encoding.quality, keep="none")
    else:
        image.tiffsave(path, compression="deflate", predictor="horizontal", keep="none")


def _gif(image: pyvips.Image, path: Path, encoding: Encoding) -> None:
    effort = 7 if encoding.effort is None else max(1, encoding.effort)
    image.gifsave(path, effort=effort, keep="none")


def _chroma(encoding: Encoding) -> str:
    return {"auto": "auto", "420": "on", "444": "off"}[encoding.chroma]


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
