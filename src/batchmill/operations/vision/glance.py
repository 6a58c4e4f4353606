"""glance: note what can be seen without knowing what a picture shows: colours, light, shape."""

import colorsys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.images.codec.color_values import COLOUR_BANDS

if TYPE_CHECKING:
    from batchmill.operations.picture import Picture

_SIDE_PX = 64
_HUES = (
    (15, "red"),
    (40, "orange"),
    (68, "yellow"),
    (165, "green"),
    (195, "turquoise"),
    (260, "blue"),
    (290, "violet"),
    (340, "pink"),
    (360, "red"),
)
"""Up to which angle of the colour circle a name holds, in degrees."""
_DARK, _LIGHT, _PALE = 0.18, 0.85, 0.16
_BROWN_BELOW = 0.62
_MOST_COLOURS = 3
_LEAST_SHARE = 0.12
_WIDE, _SQUARE = 2.0, 1.1


class GlanceOptions(Options):
    """`glance` has no options."""


def run(work: Work, _: GlanceOptions) -> Work:
    """Add `glance` to the data: names of the main colours, brightness and shape."""
    if not work.pictures:
        return work
    seen, found = _looked_at(work.pictures[0])
    return replace(work, pictures=(seen, *work.pictures[1:])).with_data(glance=found)


def _looked_at(picture: "Picture") -> tuple["Picture", dict[str, Any]]:
    """Return the picture, readable again, and what was seen."""
    from batchmill.operations.images.codec.geometry import first_frame, scaled, upright

    seen = replace(picture, image=picture.image.copy_memory())
    width, height = seen.size
    image = upright(replace(seen, image=first_frame(seen.image))).image
    scale = min(1.0, _SIDE_PX / max(width, height))
    small = scaled(image, max(1, round(width * scale)), max(1, round(height * scale)))
    small = small.flatten(background=[255]) if small.hasalpha() else small
    small = small if small.bands >= COLOUR_BANDS else small.colourspace("srgb")
    samples = bytes(small.write_to_memory())
    pixels = list(zip(*(samples[band::COLOUR_BANDS] for band in range(COLOUR_BANDS)), strict=True))
    found = {
        "colours": _main_colours(Counter(_named(*pixel) for pixel in pixels)),
        "brightness": _brightness(sum(samples) / len(samples) / 255),
        "shape": _shape(width / height),
    }
    return seen, found


def _named(red: int, green: int, blue: int) -> str:
    """Return the everyday name of a colour; its bounds are by eye."""
    hue, light, vivid = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
    if light < _DARK:
        return "black"
    if light > _LIGHT or vivid < _PALE:
        return "white" if light > _LIGHT else "grey"
    name = next(name for most, name in _HUES if hue * 360 <= most)
    return "brown" if name == "orange" and light * 2 < _BROWN_BELOW else name


def _main_colours(counted: Counter[str]) -> list[str]:
    total = counted.total()
    common = counted.most_common(_MOST_COLOURS)
    return [name for name, count in common if count >= _LEAST_SHARE * total] or [common[0][0]]


def _brightness(mean: float) -> str:
    if mean < 1 / 3:
        return "dark"
    return "bright" if mean > 2 / 3 else "evenly lit"


def _shape(aspect: float) -> str:
    if aspect >= _WIDE:
        return "panorama"
    if aspect > _SQUARE:
        return "landscape"
    return "portrait" if aspect < 1 / _SQUARE else "square"


OPERATION = Transform(
    name="glance",
    summary="Note a picture's main colours, brightness and shape, without any model.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=GlanceOptions,
    run=run,
)
