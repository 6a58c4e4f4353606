"""Turns a picture into a finished file: chooses format and quality, writes, measures.

Only the child imports this module.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyvips

from batchmill.errors.item import MaxBytesError, OperationFailedError, TooManyPixelsError
from batchmill.model.item import Output, SkipReason
from batchmill.operations.contract import Source
from batchmill.operations.files import row
from batchmill.operations.images.codec.color_values import COLOUR_BANDS, rgba
from batchmill.operations.images.codec.decode import decoded
from batchmill.operations.images.codec.geometry import first_frame, upright
from batchmill.operations.images.codec.png import few_colours
from batchmill.operations.images.codec.savers import (
    DEFAULT_QUALITY,
    FORMATS,
    LONGEST_PX,
    MEDIA,
    header,
    save,
)
from batchmill.operations.images.codec.strip.file import stripped
from batchmill.operations.images.codec.strip.policy import MalformedError, Policy
from batchmill.operations.picture import Encoding, Format, Picture

_ANIMATED: frozenset[Format] = frozenset({"webp", "gif"})


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """One output in the job's folder, and why it is the source if it is.

    `warning` tells of one that is larger than its source because of its format.
    """

    output: Output
    skipped: SkipReason | None = None
    warning: str | None = None


def write(picture: Picture, source: Source, stem: Path) -> EncodedFile:
    """Encode a picture as `stem` (a path without extension) and measure the result.

    Raises:
        TooManyPixelsError: the format can't hold so large a picture.
        MaxBytesError: no quality makes it as small as asked.
        OperationFailedError: what was written is not what was meant.
    """
    encoding = picture.encoding
    image = upright(decoded(picture)).image
    if encoding.format == "auto":
        image = image.copy_memory()
    formats = _formats(image, encoding, source)
    best = _smallest(
        [_try(image, source, stem, replace(encoding, format=it)) for it in formats], stem
    )
    kept = _never_larger(picture, source, best, stem)
    if kept is not None:
        return kept
    wanted = not encoding.never_larger or best.media_type == source.media.mime
    warning = _growth(source, best) if best.bytes > source.bytes and not wanted else None
    return EncodedFile(best, warning=warning)


def _try(
    image: pyvips.Image, source: Source, stem: Path, encoding: Encoding
) -> Output | MaxBytesError:
    try:
        return _encoded(image, source, stem, encoding)
    except MaxBytesError as error:
        return error


def _smallest(tried: list[Output | MaxBytesError], stem: Path) -> Output:
    """Return the smallest output and remove the others."""
    written = sorted((each for each in tried if isinstance(each, Output)), key=lambda it: it.bytes)
    if not written:
        raise next(each for each in tried if isinstance(each, MaxBytesError))
    for other in written[1:]:
        stem.with_name(other.name).unlink()
    return written[0]


def _formats(image: pyvips.Image, encoding: Encoding, source: Source) -> tuple[Format, ...]:
    """Return the formats to try; the smallest result wins."""
    if encoding.format is None:
        return (FORMATS.get(source.media, "jpeg"),)
    if encoding.format != "auto":
        return (encoding.format,)
    if encoding.animated and image.height > image.get_page_height():
        return ("webp",)
    fitting = max(image.width, image.get_page_height()) <= LONGEST_PX["webp"]
    lossy: tuple[Format, ...] = ("webp",) if fitting else ()
    if not image.hasalpha() and not encoding.lossless:
        lossy = (*lossy, "jpeg")
    graphic = encoding.lossless or not lossy or few_colours(image)
    return (*lossy, "png") if graphic else lossy


def _encoded(image: pyvips.Image, source: Source, stem: Path, encoding: Encoding) -> Output:
    format_: Format = encoding.format  # type: ignore[assignment]
    image = _fitted(image, format_, encoding, source)
    path = stem.with_name(f"{stem.name}.{MEDIA[format_].extension}")
    if encoding.max_bytes is None:
        save(image, path, format_, encoding)
    else:
        _save_within(image, path, encoding, source)
    return _measured(path, format_, image, source)


def _fitted(
    image: pyvips.Image, format_: Format, encoding: Encoding, source: Source
) -> pyvips.Image:
    """Return pixels that the format can hold: frames, side, alpha."""
    if image.height > image.get_page_height() and not (encoding.animated and format_ in _ANIMATED):
        image = first_frame(image)
    longest = max(image.width, image.get_page_height())
    if longest > LONGEST_PX.get(format_, longest):
        raise TooManyPixelsError(
            f"{source.name} would be {longest:,} px long; {format_} holds at most "
            f"{LONGEST_PX[format_]:,} px: resize it or choose another format"
        )
    if format_ == "jpeg" and image.hasalpha():
        image = _flattened(image, encoding.background)
    return image


def _flattened(image: pyvips.Image, background: str) -> pyvips.Image:
    *colour, _ = rgba(background)
    if image.bands < COLOUR_BANDS and len(set(colour)) > 1:
        image = image.colourspace("srgb")
    return image.flatten(background=colour[: image.bands - 1])


def _measured(path: Path, format_: Format, image: pyvips.Image, source: Source) -> Output:
    width, height, frames = header(path, MEDIA[format_])
    if (width, height) != (image.width, image.get_page_height()):
        detail = f"{path.name} came out as {width}×{height}"
        raise OperationFailedError(source.name, "encode", detail=detail)
    frames_or_none = frames if frames > 1 else None
    return row(path, MEDIA[format_].mime, size=(width, height), frames=frames_or_none)


# ---------------------------------------------------------------- max_bytes


def _save_within(image: pyvips.Image, path: Path, encoding: Encoding, source: Source) -> None:
    """Write the best quality whose file is not over `max_bytes`: halve the range until found."""
    wanted = encoding.max_bytes or 0
    format_: Format = encoding.format  # type: ignore[assignment]
    image = image.copy_memory()
    best = path.with_suffix(".best")
    smallest = 0
    for attempt in _qualities(encoding, path, wanted):
        save(image, path, format_, attempt)
        size = path.stat().st_size
        smallest = min(smallest or size, size)
        if size <= wanted:
            path.replace(best)
    if not best.exists():
        path.unlink()
        raise MaxBytesError(
            f"{source.name} can't be written as {format_} in {wanted:,} bytes; "
            f"the smallest is {smallest:,} bytes"
        )
    best.replace(path)


def _qualities(encoding: Encoding, path: Path, wanted: int) -> Iterator[Encoding]:
    """Yield encodings to try; a try that fits is gone from `path` when the next is asked for."""
    yield encoding
    format_: Format = encoding.format  # type: ignore[assignment]
    if not path.exists() or format_ == "gif":
        return
    start = encoding.quality or DEFAULT_QUALITY.get(format_, 101)
    low, high = 1, start - 1
    while low <= high:
        middle = (low + high) // 2
        yield replace(encoding, quality=middle)
        if path.exists():
            high = middle - 1
        else:
            low = middle + 1


# ---------------------------------------------------------------- never larger


def _never_larger(
    picture: Picture, source: Source, encoded: Output, stem: Path
) -> EncodedFile | None:
    """Deliver the source instead, less its metadata, if encoding it again made it no smaller.

    Where bytes are to be saved (`optimise`), also in place of another format.
    """
    alike = encoded.media_type == source.media.mime or picture.encoding.optimise
    same = picture.source is not None and alike
    if not (picture.encoding.never_larger and same and _shows_alike(picture, encoded)):
        return None
    if picture.encoding.packets is not None:
        return None  # the source does not have them
    if encoded.bytes < source.bytes // 2:
        return None  # metadata alone can hardly be that much: spare reading the source
    try:
        policy = Policy(picture.encoding.keep, picture.orientation)
        content = stripped(source.path.read_bytes(), source.media, policy)
    except MalformedError:
        return None
    if content is None or len(content) > encoded.bytes:
        return None
    path = stem.with_name(encoded.name)
    if encoded.media_type != source.media.mime:
        path.unlink()
        path = path.with_name(f"{stem.name}.{source.media.extension}")
    path.write_bytes(content)
    header(path, source.media)
    output = row(path, source.media.mime, size=picture.size, frames=encoded.frames)
    return EncodedFile(output, SkipReason.LARGER_THAN_SOURCE)


def _growth(source: Source, encoded: Output) -> str:
    return (
        f"{encoded.name} is larger than {source.name}: {encoded.bytes:,} bytes, not"
        f" {source.bytes:,}; `compress` keeps the smaller one"
    )


def _shows_alike(picture: Picture, encoded: Output) -> bool:
    """Tell whether the source can stand for the result: a screen's colours, as many frames."""
    cmyk = picture.raw is not None and picture.raw.interpretation == "cmyk"
    frames = picture.image.height // picture.image.get_page_height()
    return not cmyk and (frames == 1 or encoded.frames is not None)
