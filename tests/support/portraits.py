"""Drawn people, whose eyes, chin and crown are where the test put them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyvips

Colour = tuple[int, int, int]

BACKGROUND: Colour = (120, 140, 160)
CLOTHES: Colour = (60, 70, 110)
NECK: Colour = (180, 130, 105)
HAIR: Colour = (60, 40, 30)
EAR: Colour = (205, 150, 120)
SKIN: Colour = (224, 172, 140)
BROW: Colour = (60, 40, 30)
EYE: Colour = (235, 235, 235)
PUPIL: Colour = (40, 28, 24)
NOSTRIL: Colour = (110, 65, 55)
LIPS: Colour = (170, 80, 80)


@dataclass(frozen=True)
class Head:
    """A head seen from the front; `radius` is about half of its height, chin to crown."""

    x: float
    y: float
    radius: float

    @property
    def eyes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The pupils, left and right as the viewer sees them."""
        y = self.y - 0.06 * self.radius
        return (self.x - 0.28 * self.radius, y), (self.x + 0.28 * self.radius, y)

    @property
    def chin_y(self) -> float:
        return self.y + 0.98 * self.radius

    @property
    def crown_y(self) -> float:
        return self.y - 1.2 * self.radius


SHAPES: Sequence[tuple[float, float, float, float, Colour]] = (
    (0, 1.9, 1.5, 0.9, CLOTHES),
    (0, 0.9, 0.35, 0.5, NECK),
    (0, -0.15, 0.85, 1.05, HAIR),
    (-0.72, 0.05, 0.1, 0.2, EAR),
    (0.72, 0.05, 0.1, 0.2, EAR),
    (0, 0.05, 0.7, 0.93, SKIN),
)
"""x, y, half width, half height in radii, and the colour of each ellipse."""
FEATURES: Sequence[tuple[float, float, float, float, Colour]] = (
    *((side * 0.28, -0.24, 0.19, 0.04, BROW) for side in (-1, 1)),
    *((side * 0.28, -0.06, 0.14, 0.065, EYE) for side in (-1, 1)),
    *((side * 0.28, -0.06, 0.065, 0.065, PUPIL) for side in (-1, 1)),
    *((side * 0.28, -0.115, 0.15, 0.025, BROW) for side in (-1, 1)),
    *((side * 0.07, 0.33, 0.035, 0.025, NOSTRIL) for side in (-1, 1)),
    (0, 0.55, 0.25, 0.07, LIPS),
)
SHADES: Sequence[tuple[float, float, float, float, float]] = (
    *((side * 0.27, -0.08, 0.25, 0.17, -45) for side in (-1, 1)),
    *((side * 0.35, 0.25, 0.2, 0.2, 18) for side in (-1, 1)),
    *((side * 0.62, 0.3, 0.2, 0.6, -35) for side in (-1, 1)),
    (0, 0.72, 0.3, 0.06, -30),
    (0, 0.1, 0.08, 0.35, 22),
    (0, 0.38, 0.16, 0.05, -45),
)
"""The same, with how much lighter or darker the middle of a soft spot is."""


def photo(width: int, height: int, *heads: Head, seed: int = 3) -> pyvips.Image:
    """Return a picture with people, sharp and noisy as a camera makes it."""
    image = (pyvips.Image.black(width, height, bands=3) + list(BACKGROUND)).cast("uchar")
    for head in heads:
        reach = 3 * head.radius
        left, top = max(0, int(head.x - reach)), max(0, int(head.y - reach))
        right, bottom = min(width, int(head.x + reach)), min(height, int(head.y + reach))
        part = image.crop(left, top, right - left, bottom - top)
        image = image.insert(_with(part, Head(head.x - left, head.y - top, head.radius)), left, top)
    noise = pyvips.Image.gaussnoise(width, height, sigma=4, mean=0, seed=seed)
    return (image + noise).cast("uchar").copy(interpretation="srgb").copy_memory()


def turned(image: pyvips.Image, degrees: float) -> pyvips.Image:
    """Return the picture turned clockwise about its middle, in a frame of the same size."""
    whole = image.similarity(angle=degrees, background=list(BACKGROUND), interpolate=_bicubic())
    left, top = (whole.width - image.width) // 2, (whole.height - image.height) // 2
    return whole.crop(left, top, image.width, image.height).copy_memory()


def _with(image: pyvips.Image, head: Head) -> pyvips.Image:
    image = _painted(image, SHAPES, head)
    for x, y, across, down, amount in SHADES:
        away = _away(image, head, (x, y), (across, down))
        image = image + (away * -1).exp() * amount
    return _painted(image, FEATURES, head).cast("uchar").gaussblur(1.2).copy_memory()


def _painted(
    image: pyvips.Image, shapes: Sequence[tuple[float, float, float, float, Colour]], head: Head
) -> pyvips.Image:
    for x, y, across, down, colour in shapes:
        away = _away(image, head, (x, y), (across, down))
        edge = ((1.02 - away) * 12 * 255).cast("uchar")
        image = edge.ifthenelse(image * 0 + list(colour), image, blend=True)
    return image


def _away(
    image: pyvips.Image, head: Head, at: tuple[float, float], size: tuple[float, float]
) -> pyvips.Image:
    """Return the squared distance of every pixel from an ellipse's centre; 1 on its edge."""
    place = pyvips.Image.xyz(image.width, image.height)
    across = (place[0] - head.x - at[0] * head.radius) / (size[0] * head.radius)
    down = (place[1] - head.y - at[1] * head.radius) / (size[1] * head.radius)
    return across * across + down * down


def _bicubic() -> pyvips.Interpolate:
    return pyvips.Interpolate.new("bicubic")
