"""Moves pixels: scaling, turning, cutting and padding, frame by frame where there are several.

Only the child imports this module.
"""

from collections.abc import Callable
from dataclasses import replace

import pyvips

from batchmill.model.limits import Limits
from batchmill.operations.images.codec.color import eight_bit, to_srgb
from batchmill.operations.images.codec.color_values import COLOUR_BANDS, OPAQUE, rgba
from batchmill.operations.images.codec.decode import shrunk
from batchmill.operations.picture import FIRST_SIDEWAYS, Picture

_SCALABLE = frozenset({"srgb", "b-w", "cmyk", "rgb16", "grey16"})
_ANCHORS = {"left": 0.0, "right": 1.0, "top": 0.0, "bottom": 1.0}
_SEARCHED = frozenset({"attention", "entropy"})


def upright(picture: Picture) -> Picture:
    """Return the picture with its EXIF orientation applied to the pixels."""
    if picture.orientation == 1:
        return picture
    image = picture.image.copy_memory()
    image.set_type(pyvips.GValue.gint_type, "orientation", picture.orientation)
    return replace(picture, image=image.autorot(), orientation=1)


def rescaled(
    picture: Picture,
    size: tuple[int, int],
    limits: Limits,
    *,
    kernel: str = "lanczos3",
    tolerant: bool = False,
) -> Picture:
    """Return the picture upright and with frames of exactly `size` (width, height in px).

    A picture whose pixels were not touched is decoded again, shrinking, and converted to sRGB
    only once it is small.
    """
    width, height = size[::-1] if picture.orientation >= FIRST_SIDEWAYS else size
    shrink = min(picture.image.width / width, picture.image.get_page_height() / height)
    image = eight_bit(shrunk(picture, shrink, limits, tolerant=tolerant))
    if image.interpretation not in _SCALABLE or image.format not in {"uchar", "ushort"}:
        image = to_srgb(image)
    small = to_srgb(scaled(image, width, height, kernel=kernel))
    return upright(picture.with_image(small))


def scaled(
    image: pyvips.Image, width: int, height: int, *, kernel: str = "lanczos3"
) -> pyvips.Image:
    """Return the image with frames of exactly `width` × `height` px."""
    if (image.width, image.get_page_height()) == (width, height):
        return image

    def stretch(frame: pyvips.Image) -> pyvips.Image:
        return frame.resize(width / frame.width, vscale=height / frame.height, kernel=kernel)

    if image.hasalpha():
        return _scaled_with_alpha(image, stretch)
    return each_frame(image, stretch)


def _scaled_with_alpha(
    image: pyvips.Image, stretch: Callable[[pyvips.Image], pyvips.Image]
) -> pyvips.Image:
    """Scale colours weighted by alpha, or just drop an alpha that hides nothing."""
    image = image.copy_memory()
    depth = image.format
    if image[-1].min() == (65535 if depth == "ushort" else OPAQUE):
        return each_frame(image[0 : image.bands - 1], stretch)
    # resizing asks for overlapping tiles, each of which would be weighted again where they overlap
    weighted = image.premultiply().cast(depth).linecache(tile_height=16, access="sequential")
    return each_frame(weighted, stretch).unpremultiply().cast(depth)


def each_frame(image: pyvips.Image, change: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """Return the image with every frame changed by itself, so that none bleeds into the next."""
    if image.height == image.get_page_height():
        return change(image)
    frames = [change(frame) for frame in image.pagesplit()]
    return frames[0].pagejoin(frames[1:])


def first_frame(image: pyvips.Image) -> pyvips.Image:
    """Return the first frame of an animation, as a still picture."""
    image = image.crop(0, 0, image.width, image.get_page_height()).copy()
    for name in ("page-height", "n-pages", "delay", "loop"):
        if image.get_typeof(name):
            image.remove(name)
    return image


def turned(picture: Picture, degrees: int, flip: str) -> Picture:
    """Return the picture turned clockwise by a multiple of 90°, then mirrored."""

    def turn(frame: pyvips.Image) -> pyvips.Image:
        frame = frame.rot(f"d{degrees}") if degrees else frame
        frame = frame.fliphor() if flip in {"horizontal", "both"} else frame
        return frame.flipver() if flip in {"vertical", "both"} else frame

    picture = upright(picture)
    return picture.with_image(each_frame(picture.image.copy_memory(), turn))


def trimmed(picture: Picture, *, threshold: int) -> Picture:
    """Return the picture without the border that has the colour of its top left pixel."""
    picture = upright(picture)
    image = picture.image.copy_memory()
    boxes = []
    for frame in image.pagesplit():
        colour = frame.getpoint(0, 0)[: 1 if frame.bands < COLOUR_BANDS else 3]
        boxes.append(frame.find_trim(threshold=threshold, background=colour))
    boxes = [box for box in boxes if box[2] and box[3]]
    if not boxes:
        return replace(picture, image=image)
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right = max(box[0] + box[2] for box in boxes)
    bottom = max(box[1] + box[3] for box in boxes)
    return extract(replace(picture, image=image), (left, top), (right - left, bottom - top))


def extract(picture: Picture, corner: tuple[int, int], size: tuple[int, int]) -> Picture:
    """Return the part of an upright picture that starts at `corner` (left, top in px)."""
    picture = upright(picture)
    if size == picture.size:
        return picture
    part = each_frame(picture.image, lambda frame: frame.crop(*corner, *size))
    return picture.with_image(part)


def cut(picture: Picture, size: tuple[int, int], position: str) -> Picture:
    """Return a part of `size`: at a side or corner, the centre, or where it is interesting."""
    if position not in _SEARCHED:
        return cut_around(picture, size, anchor(position))
    picture = upright(picture)
    picture = replace(picture, image=picture.image.copy_memory())
    first = picture.image.crop(0, 0, *picture.size)
    found = first.smartcrop(*size, interesting=position)
    return extract(picture, (-found.xoffset, -found.yoffset), size)


def cut_around(picture: Picture, size: tuple[int, int], focus: tuple[float, float]) -> Picture:
    """Return the part of `size` whose centre is as near as can be to `focus` (shares, 0…1).

    A focus of 0 or 1 is that border.
    """
    left, top = (
        min(max(round(share * whole - part / 2), 0), whole - part)
        for share, whole, part in zip(focus, picture.size, size, strict=True)
    )
    return extract(picture, (left, top), size)


def padded(picture: Picture, size: tuple[int, int], position: str, colour: str) -> Picture:
    """Return the picture on a canvas of `size`, filled with `colour`."""
    picture = upright(picture)
    image, paint = _paintable(picture.image, colour)
    focus = anchor(position)
    left, top = (
        round((canvas - own) * share)
        for share, canvas, own in zip(focus, size, picture.size, strict=True)
    )

    def pad(frame: pyvips.Image) -> pyvips.Image:
        return frame.embed(left, top, *size, extend="background", background=paint)

    return picture.with_image(each_frame(image, pad))


def _paintable(image: pyvips.Image, colour: str) -> tuple[pyvips.Image, list[int]]:
    """Give the image the bands that the colour needs; return both."""
    *rgb, alpha = rgba(colour)
    if image.bands < COLOUR_BANDS and len(set(rgb)) > 1:
        image = image.colourspace("srgb")
    if alpha < OPAQUE and not image.hasalpha():
        image = image.addalpha()
    paint = rgb if image.bands >= COLOUR_BANDS else rgb[:1]
    return image, [*paint, alpha] if image.hasalpha() else paint


def sharpened(picture: Picture, radius: float) -> Picture:
    """Return the picture sharpened by an unsharp mask on lightness, `radius` in px."""
    picture = upright(picture)
    sharp = each_frame(picture.image, lambda frame: frame.sharpen(sigma=radius))
    return picture.with_image(sharp)


def anchor(position: str) -> tuple[float, float]:
    """Return shares (0…1, from the left and the top) of a position such as `top-left`."""
    words = position.split("-")
    across = next((_ANCHORS[word] for word in words if word in {"left", "right"}), 0.5)
    down = next((_ANCHORS[word] for word in words if word in {"top", "bottom"}), 0.5)
    return across, down
