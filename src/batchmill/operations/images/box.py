"""The arithmetic of fitting a picture into a box; no pixels here."""

from dataclasses import dataclass
from typing import Literal

Fit = Literal["inside", "cover", "contain", "fill", "outside"]


@dataclass(frozen=True, slots=True)
class Placed:
    """How a picture meets its box: scaled to `scaled`, then cut or padded to `final` (px)."""

    scaled: tuple[int, int]
    final: tuple[int, int]


def place(
    size: tuple[int, int],
    box: tuple[int | None, int | None],
    *,
    fit: Fit,
    enlarge: bool,
) -> Placed:
    """Return what a picture of `size` becomes in `box`; a side that is None is free.

    Sizes are width and height in px, upright. Without `enlarge` nothing is scaled above its
    own size. `inside` never exceeds the box and `outside` never falls short of it (unless that
    would enlarge); both keep the aspect within 1 px.
    """
    across = _ratio(box[0], size[0])
    down = _ratio(box[1], size[1])
    across, down = across or down or 1.0, down or across or 1.0
    if fit == "fill":
        if not enlarge:
            across, down = min(across, 1.0), min(down, 1.0)
        stretched = (_px(size[0] * across), _px(size[1] * down))
        return Placed(stretched, stretched)
    scale = max(across, down) if fit in {"cover", "outside"} else min(across, down)
    scale = scale if enlarge else min(scale, 1.0)
    scaled = (_px(size[0] * scale), _px(size[1] * scale))
    return Placed(scaled, _final(scaled, box, fit))


def _final(
    scaled: tuple[int, int], box: tuple[int | None, int | None], fit: Fit
) -> tuple[int, int]:
    width, height = (side or own for side, own in zip(box, scaled, strict=True))
    if fit == "cover":
        return min(scaled[0], width), min(scaled[1], height)
    if fit == "contain":
        return max(scaled[0], width), max(scaled[1], height)
    return scaled


def _ratio(wanted: int | None, own: int) -> float | None:
    return None if wanted is None else wanted / own


def _px(length: float) -> int:
    return max(1, int(length + 0.5))
