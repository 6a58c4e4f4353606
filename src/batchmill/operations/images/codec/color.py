"""Brings every colour space and depth to 8-bit sRGB or grey."""

import pyvips

from batchmill.operations.images.codec.color_values import COLOUR_BANDS
from batchmill.operations.images.codec.icc import is_srgb

_PROFILE = "icc-profile-data"
_DEEP = frozenset({"rgb16", "grey16", "lab", "labs", "labq", "lch", "xyz", "scrgb", "hsv", "rgb"})
_GREY = frozenset({"b-w", "grey16"})
_MOST_BANDS = 4


def to_srgb(image: pyvips.Image) -> pyvips.Image:
    """Return the image as uchar sRGB (3 or 4 bands) or grey (1 or 2 bands).

    The embedded profile is obeyed, and dropped when it is obeyed; CMYK without a profile is
    taken as SWOP-like coated paper.
    """
    grey = image.interpretation in _GREY
    if image.interpretation == "cmyk" or _has_foreign_profile(image):
        image = _converted(image)
    if image.interpretation in _DEEP or image.interpretation not in {"srgb", "b-w", "multiband"}:
        image = image.colourspace("b-w" if grey else "srgb")
    if image.format != "uchar":
        image = image.cast("uchar")
    if grey and image.bands >= COLOUR_BANDS:
        image = _one_band(image)
    if image.bands > _MOST_BANDS:
        image = image[0:3]
    return image


def eight_bit(image: pyvips.Image) -> pyvips.Image:
    """Drop the low bits of a picture whose numbers are sRGB or grey already.

    Scaling half as many bytes takes half as long; no result is more than 2 of 255 off. What has a
    profile of its own keeps its depth until that is obeyed.
    """
    kinds = {"rgb16": "srgb", "grey16": "b-w"}
    if image.interpretation not in kinds or image.format != "ushort" or _has_foreign_profile(image):
        return image
    return image.msb().copy(interpretation=kinds[image.interpretation])


def _has_foreign_profile(image: pyvips.Image) -> bool:
    return bool(image.get_typeof(_PROFILE)) and not is_srgb(image.get(_PROFILE))


def _converted(image: pyvips.Image) -> pyvips.Image:
    fallback = "cmyk" if image.interpretation == "cmyk" else "srgb"
    try:
        return image.icc_transform("srgb", embedded=True, input_profile=fallback, depth=8)
    except pyvips.Error:
        # the profile is broken or made for another kind of picture: go by the numbers alone
        image = image.copy()
        image.remove(_PROFILE)
        return image.colourspace("srgb")


def _one_band(image: pyvips.Image) -> pyvips.Image:
    """Keep one of red, green and blue, which are equal in a grey picture, and alpha."""
    grey = image[0].copy(interpretation="b-w")
    return grey.bandjoin(image[3]) if image.hasalpha() else grey
