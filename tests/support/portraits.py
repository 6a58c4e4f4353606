"""Drawn people, whose eyes, chin and crown are where the test put them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

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
_REACH = 3.2
"""So many times its size away from its middle, a soft spot changes nothing that is seen."""


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
    image = _painted(image.cast("float"), SHAPES, head)
    for x, y, across, down, amount in SHADES:
        spot = _Spot(head, (x, y), (across, down))
        image = spot.changed(image, _lighter(amount))
    return _painted(image, FEATURES, head).cast("uchar").gaussblur(1.2).copy_memory()


def _lighter(amount: float) -> Callable[[pyvips.Image, pyvips.Image], pyvips.Image]:
    return lambda part, away: part + (away * -1).exp() * amount


def _painted(
    image: pyvips.Image, shapes: Sequence[tuple[float, float, float, float, Colour]], head: Head
) -> pyvips.Image:
    for x, y, across, down, colour in shapes:
        spot = _Spot(head, (x, y), (across, down))
        image = spot.changed(image, partial(_filled, colour=colour))
    return image


def _filled(part: pyvips.Image, away: pyvips.Image, colour: Colour) -> pyvips.Image:
    edge = ((1.02 - away) * 12 * 255).cast("uchar")
    return edge.ifthenelse(part * 0 + list(colour), part, blend=True)


@dataclass(frozen=True)
class _Spot:
    """An ellipse on a head: its centre and half its size, in radii of the head."""

    head: Head
    at: tuple[float, float]
    size: tuple[float, float]

    def changed(
        self, image: pyvips.Image, change: Callable[[pyvips.Image, pyvips.Image], pyvips.Image]
    ) -> pyvips.Image:
        """Change the picture where the spot is to be seen, and only there, which saves time.

        `change` gets that part and the squared distance of each pixel from the centre, which is
        1 on the ellipse's edge.
        """
        head, reach = self.head, _REACH * self.head.radius
        x, y = head.x + self.at[0] * head.radius, head.y + self.at[1] * head.radius
        left, top = max(0, int(x - self.size[0] * reach)), max(0, int(y - self.size[1] * reach))
        right = min(image.width, int(x + self.size[0] * reach) + 1)
        bottom = min(image.height, int(y + self.size[1] * reach) + 1)
        if right <= left or bottom <= top:
            return image
        place = pyvips.Image.xyz(right - left, bottom - top)
        across = (place[0] + (left - x)) / (self.size[0] * head.radius)
        down = (place[1] + (top - y)) / (self.size[1] * head.radius)
        part = image.crop(left, top, right - left, bottom - top)
        return image.insert(change(part, across * across + down * down), left, top)


def _bicubic() -> pyvips.Interpolate:
    return pyvips.Interpolate.new("bicubic")
