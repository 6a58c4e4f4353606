"""Holds a picture's header against the limits, before anything is decoded."""

from batchmill.errors.item import TooManyPixelsError
from batchmill.model.limits import Limits


def check_size(name: str, size: tuple[int, int], limits: Limits, *, frames: int = 1) -> None:
    """Refuse a picture that is too large to be decoded; `size` is width and height in px.

    Raises:
        TooManyPixelsError: a side, the pixels, or all frames together are over a limit.
    """
    width, height = size
    if max(size) > limits.side_px:
        raise TooManyPixelsError(
            f"{name} is {width:,}×{height:,} px; the longest side allowed is {limits.side_px:,} px"
        )
    if width * height > limits.pixels:
        raise TooManyPixelsError(
            f"{name} has {width * height / 1e6:,.0f} megapixels; "
            f"{limits.pixels / 1e6:,.0f} are allowed"
        )
    if width * height * frames > limits.frames_pixels:
        raise TooManyPixelsError(
            f"{name} has {frames:,} frames of {width:,}×{height:,} px; "
            f"together {limits.frames_pixels / 1e6:,.0f} megapixels are allowed"
        )
