"""Cuts frames out of a photo, from the view where it is fine enough, else from the file.

Only the child imports this module.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyvips

from batchmill.operations.contract import Source
from batchmill.operations.faces.framing import Frame
from batchmill.operations.faces.photo import Photo
from batchmill.operations.images.codec import geometry
from batchmill.operations.images.codec.color import to_srgb
from batchmill.operations.images.codec.decode import load
from batchmill.operations.picture import FIRST_SIDEWAYS

ENOUGH = 0.95
"""Pixels of the view for each pixel of a crop from which on no finer decode pays."""
MIRRORED_ACROSS = frozenset({2, 3, 6, 7})
MIRRORED_DOWN = frozenset({3, 4, 7, 8})
"""EXIF orientations whose upright x, or y, runs against the stored pixels."""

Pair = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def cut(photo: Photo, frames: Sequence[Frame], shape: tuple[int, int]) -> list[pyvips.Image]:
    """Return one image of `shape` (width, height in px) for each frame, turned upright.

    At most one decode more is needed, and only down to the last line of the last frame. What
    lies outside the photo repeats its edge.

    Raises: as `decode.open_picture`.
    """
    shrink = min(frame.width / shape[0] for frame in frames)
    region = _region(photo, frames, shrink)
    return [_framed(region, frame, shape) for frame in frames]


def cut_view(photo: Photo, frame: Frame, shape: tuple[int, int]) -> pyvips.Image:
    """Return the frame as `cut` does, but never finer than the view has it."""
    return _framed(_Region(photo.view, (0, 0), photo.view_scale), frame, shape)


def to_stored(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    """Return where a box of the upright picture of `size` lies in the pixels as stored."""
    left, top, right, bottom = _mirrored(box, orientation, size)
    if orientation >= FIRST_SIDEWAYS:
        return top, left, bottom, right
    return left, top, right, bottom


def to_upright(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    """Return where a box of the stored pixels lies in the upright picture of `size`."""
    left, top, right, bottom = box
    if orientation >= FIRST_SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
    return _mirrored((left, top, right, bottom), orientation, size)


@dataclass(frozen=True, slots=True)
class _Region:
    """Upright pixels in memory: the part of a photo from `corner` on, `scale` times full size."""

    image: pyvips.Image
    corner: Pair
    scale: Pair


def _region(photo: Photo, frames: Sequence[Frame], shrink: float) -> _Region:
    """Return pixels around all frames that are at most `shrink` times smaller than in full."""
    if min(photo.view_scale) * shrink >= ENOUGH:
        return _Region(photo.view, (0, 0), photo.view_scale)
    if photo.picture.source is None:
        return _Region(photo.picture.image, (0, 0), (1, 1))
    return _decoded(photo, photo.picture.source, _union(frames), shrink)


def _decoded(photo: Photo, source: Source, box: Box, shrink: float) -> _Region:
    """Decode the file down to the last line of `box`, and keep what the box covers."""
    orientation = photo.picture.orientation
    image = load(source, photo.limits, shrink=shrink, tolerant=photo.tolerant)
    factor = round(max(photo.size) / max(image.width, image.height))
    stored = to_stored(box, orientation, photo.size)
    left, top, right, bottom = _on_grid(stored, factor, (image.width, image.height))
    part = to_srgb(image.crop(left, top, right - left, bottom - top).copy_memory())
    kept = (left * factor, top * factor, right * factor, bottom * factor)
    return _Region(
        image=geometry.upright(photo.picture.with_image(part)).image,
        corner=to_upright(kept, orientation, photo.size)[:2],
        scale=(1 / factor, 1 / factor),
    )


def _on_grid(box: Box, factor: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the pixels of an image of `size`, `factor` times smaller, that cover the box."""
    left, top = (
        max(0, min(int(edge // factor), side - 1)) for edge, side in zip(box[:2], size, strict=True)
    )
    right, bottom = (
        max(start + 1, min(math.ceil(edge / factor), side))
        for start, edge, side in zip((left, top), box[2:], size, strict=True)
    )
    return left, top, right, bottom


def _framed(region: _Region, frame: Frame, shape: tuple[int, int]) -> pyvips.Image:
    """Return the frame's pixels, scaled to `shape` and turned so that the frame is upright."""
    (across, down), (corner_x, corner_y) = region.scale, region.corner
    left, right = (round((edge - corner_x) * across) for edge in frame.bounds[::2])
    top, bottom = (round((edge - corner_y) * down) for edge in frame.bounds[1::2])
    size = max(1, right - left), max(1, bottom - top)
    part = _with_edges(region.image, (left, top), size)
    if not frame.angle_deg:
        return geometry.scaled(part, *shape)
    grow = shape[0] / (frame.width * across), shape[1] / (frame.height * down)
    near = geometry.scaled(part, _px(size[0] * grow[0]), _px(size[1] * grow[1]))
    x = ((frame.x - corner_x) * across - left) * grow[0]
    y = ((frame.y - corner_y) * down - top) * grow[1]
    return _turned(near, (x, y), frame.angle_deg, shape)


def _with_edges(
    image: pyvips.Image, corner: tuple[int, int], size: tuple[int, int]
) -> pyvips.Image:
    """Return a part of the image; where it reaches beyond, the edge pixels are repeated."""
    left, top, right, bottom = _on_grid(
        (corner[0], corner[1], corner[0] + size[0], corner[1] + size[1]),
        1,
        (image.width, image.height),
    )
    part = image.crop(left, top, right - left, bottom - top)
    if (part.width, part.height) == size:
        return part
    return part.embed(left - corner[0], top - corner[1], *size, extend="copy")


def _turned(
    image: pyvips.Image, centre: Pair, angle_deg: float, shape: tuple[int, int]
) -> pyvips.Image:
    """Return `shape` pixels around `centre`, after turning the image back by `angle_deg`."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    x, y = centre
    return image.affine(
        [cos, sin, -sin, cos],
        odx=shape[0] / 2 - (cos * x + sin * y),
        ody=shape[1] / 2 - (cos * y - sin * x),
        oarea=[0, 0, *shape],
        interpolate=pyvips.Interpolate.new("bicubic"),
        extend="copy",
    )


def _mirrored(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    left, top, right, bottom = box
    if orientation in MIRRORED_ACROSS:
        left, right = size[0] - right, size[0] - left
    if orientation in MIRRORED_DOWN:
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom


def _union(frames: Sequence[Frame]) -> Box:
    lefts, tops, rights, bottoms = zip(*(frame.bounds for frame in frames), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _px(length: float) -> int:
    return max(1, round(length))
