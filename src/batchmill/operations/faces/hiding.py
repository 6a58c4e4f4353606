"""Makes faces in a picture unrecognisable.

Only the child imports this module.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import pyvips

from batchmill.operations.faces.face import Face
from batchmill.operations.images.codec.color_values import COLOUR_BANDS, OPAQUE, rgba

LEAST_BLOCK_PX = 4
"""A block is never smaller, or a small face would keep its features."""
HALF_PX = 0.5


@dataclass(frozen=True, slots=True)
class Veil:
    """What covers a face.

    `padding` is a share of the face's width and height, on every side. Blurred and pixelated
    faces keep nothing but `blocks` × `blocks` mean colours, so neither can be undone.
    """

    method: Literal["blur", "pixelate", "fill"]
    shape: Literal["ellipse", "box"]
    padding: float
    blocks: int
    colour: str


def hidden(image: pyvips.Image, faces: Iterable[Face], veil: Veil) -> pyvips.Image:
    """Return an upright frame, which lies in memory, with every face under a veil."""
    veiled = image
    for face in faces:
        box = _padded(face, veil.padding).box_in((image.width, image.height))
        part = veiled.crop(*box).copy_memory()
        cover = _mask(part, veil.shape).ifthenelse(_cover(part, veil), part)
        veiled = veiled.insert(cover.copy_memory(), box[0], box[1])
    return veiled


def _padded(face: Face, padding: float) -> Face:
    return replace(
        face,
        left=face.left - face.width * padding,
        top=face.top - face.height * padding,
        width=face.width * (1 + 2 * padding),
        height=face.height * (1 + 2 * padding),
    )


def _cover(part: pyvips.Image, veil: Veil) -> pyvips.Image:
    """Return what replaces the part: as many bands, and nothing of it but mean colours."""
    if veil.method == "fill":
        return _painted(part, veil.colour)
    across, down = (
        max(1, min(veil.blocks, side // LEAST_BLOCK_PX)) for side in (part.width, part.height)
    )
    means = part.resize(across / part.width, vscale=down / part.height, kernel="linear")
    kernel = "nearest" if veil.method == "pixelate" else "cubic"
    return means.resize(part.width / across, vscale=part.height / down, kernel=kernel)


def _painted(part: pyvips.Image, colour: str) -> pyvips.Image:
    red, green, blue, _ = rgba(colour)
    grey = round(0.299 * red + 0.587 * green + 0.114 * blue)  # ITU-R BT.601
    bands = [red, green, blue] if part.bands >= COLOUR_BANDS else [grey]
    return part.new_from_image([*bands, OPAQUE] if part.hasalpha() else bands)


def _mask(part: pyvips.Image, shape: str) -> pyvips.Image:
    """Return 255 where the veil lies and 0 elsewhere."""
    if shape == "box":
        return part.new_from_image(OPAQUE)[0]
    at = pyvips.Image.xyz(part.width, part.height)
    across = (at[0] + HALF_PX) / part.width * 2 - 1
    down = (at[1] + HALF_PX) / part.height * 2 - 1
    return across * across + down * down <= 1
