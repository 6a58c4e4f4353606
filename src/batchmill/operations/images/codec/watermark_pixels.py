"""Draws watermarks. Only the child imports this module."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyvips

from batchmill.errors.item import EmptyFileError, ItemError, UnsupportedTypeError
from batchmill.model.media import SNIFF_BYTES, sniff
from batchmill.operations.contract import Source, Work
from batchmill.operations.images.codec.color import to_srgb
from batchmill.operations.images.codec.color_values import COLOUR_BANDS, OPAQUE, rgba
from batchmill.operations.images.codec.decode import load
from batchmill.operations.images.codec.geometry import anchor, each_frame, first_frame, upright
from batchmill.operations.picture import Picture

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_TEXT_PX = 200
"""Height at which text is drawn before it is scaled to the picture."""

_TILE_GAP = 0.5
"""Empty space around a tile, as a share of its width and height."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a mark stands, how large and how strong; see the options of `watermark`."""

    position: str
    width_pct: float
    margin_pct: float
    opacity_pct: float
    angle: float


def picture_mark(content: bytes, work: Work) -> pyvips.Image:
    """Return a picture, from the bytes of its file, as RGBA."""
    name = "the watermark's picture"
    media = sniff(content[:SNIFF_BYTES])
    if not content:
        raise EmptyFileError(name)
    if media is None:
        raise UnsupportedTypeError(f"{name} is of no type that is supported here")
    path = work.folder / "watermark"
    path.write_bytes(content)
    try:
        source = Source(path=path, name=name, media=media, bytes=len(content))
        image = first_frame(to_srgb(load(source, work.limits))).copy_memory()
    finally:
        path.unlink()
    image = image if image.bands >= COLOUR_BANDS else image.colourspace("srgb")
    return image if image.hasalpha() else image.addalpha()


def text_mark(text: str, colour: str) -> pyvips.Image:
    """Return a line of text in one colour, as RGBA.

    The built-in font looks the same on every machine; what it can't write is left to the
    fonts of the machine.
    """
    from PIL import ImageFont

    font = ImageFont.load_default(_TEXT_PX)
    builtin = not isinstance(font, ImageFont.ImageFont) and _covers(font, text)
    mask = _by_builtin_font(font, text) if builtin else _by_system_fonts(text)  # type: ignore[arg-type]
    red, green, blue, alpha = rgba(colour)
    if alpha < OPAQUE:
        mask = (mask * (alpha / OPAQUE)).cast("uchar")
    flat = mask.new_from_image([red, green, blue]).copy(interpretation="srgb")
    return flat.bandjoin(mask)


def _covers(font: "FreeTypeFont", text: str) -> bool:
    missing = bytes(font.getmask("\uffff"))
    return all(char == " " or bytes(font.getmask(char)) != missing for char in text)


def _by_builtin_font(font: "FreeTypeFont", text: str) -> pyvips.Image:
    from PIL import Image, ImageDraw

    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    canvas = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(canvas).text((-left, -top), text, fill=OPAQUE, font=font)
    return pyvips.Image.new_from_memory(canvas.tobytes(), *canvas.size, 1, "uchar")


def _by_system_fonts(text: str) -> pyvips.Image:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    try:
        mask = pyvips.Image.text(escaped, font=f"sans {_TEXT_PX}", dpi=72).copy_memory()
    except pyvips.Error as error:
        raise ItemError("no font on this machine can write the watermark's text") from error
    if mask.max() == 0:
        raise ItemError("no font on this machine can write the watermark's text")
    return mask


def mark_over(picture: Picture, mark: pyvips.Image, how: Placing) -> Picture:
    """Return the picture with the mark over each of its frames."""
    picture = upright(picture)
    mark = _prepared(mark, picture.size, how)
    image = picture.image
    image = image if image.bands >= COLOUR_BANDS else image.colourspace("srgb")
    if how.position == "tile":
        cover = _tiled(mark, picture.size)
        return picture.with_image(each_frame(image, lambda frame: _over(frame, cover)))
    margin = round(min(picture.size) * how.margin_pct / 100)
    focus = anchor(how.position)
    left, top = (
        max(0, min(margin + round((whole - own - 2 * margin) * share), whole - own))
        for share, whole, own in zip(focus, picture.size, (mark.width, mark.height), strict=True)
    )

    def put(frame: pyvips.Image) -> pyvips.Image:
        under = frame.crop(left, top, mark.width, mark.height)
        return frame.insert(_over(under, mark), left, top)

    return picture.with_image(each_frame(image.copy_memory(), put))


def _prepared(mark: pyvips.Image, size: tuple[int, int], how: Placing) -> pyvips.Image:
    """Turn, scale and fade the mark for a picture of `size`; it never stands out of it."""
    if how.angle:
        mark = mark.premultiply().rotate(how.angle, background=0).unpremultiply().cast("uchar")
    scale = min(size[0] * how.width_pct / 100 / mark.width, size[1] / mark.height)
    width, height = max(1, round(mark.width * scale)), max(1, round(mark.height * scale))
    mark = mark.premultiply().resize(width / mark.width, vscale=height / mark.height)
    return (mark * (how.opacity_pct / 100)).unpremultiply().cast("uchar").copy_memory()


def _tiled(mark: pyvips.Image, size: tuple[int, int]) -> pyvips.Image:
    width, height = (round(side * (1 + _TILE_GAP)) for side in (mark.width, mark.height))
    tile = mark.embed((width - mark.width) // 2, (height - mark.height) // 2, width, height)
    return tile.replicate(-(-size[0] // width), -(-size[1] // height)).crop(0, 0, *size)


def _over(frame: pyvips.Image, mark: pyvips.Image) -> pyvips.Image:
    blended = frame.composite(mark, "over")
    return blended if frame.hasalpha() else blended[0:COLOUR_BANDS]
