"""Writes a PNG as small as it gets without changing a pixel. Only the child imports this."""

from pathlib import Path
from typing import Any

import pyvips

_PALETTE = 256
_SAMPLES = 65_536
_FILTERS = ("none", "all")


def save_smallest(image: pyvips.Image, path: Path, kept: dict[str, Any]) -> None:
    """Write `image` with each row filter, and with a palette if that loses nothing; keep the best.

    `kept` are the saver's metadata options.
    """
    image = image.copy_memory()
    tries = [path.with_suffix(f".try{number}") for number in range(len(_FILTERS) + 1)]
    for target, row_filter in zip(tries, _FILTERS, strict=False):
        image.pngsave(target, compression=9, filter=row_filter, **kept)
    if few_colours(image):
        image.pngsave(tries[-1], compression=9, palette=True, Q=100, effort=10, **kept)
        if not _same(image, tries[-1]):
            tries[-1].unlink()
    written = sorted(
        (each for each in tries if each.exists()), key=lambda each: each.stat().st_size
    )
    written[0].replace(path)
    for each in written[1:]:
        each.unlink()


def few_colours(image: pyvips.Image) -> bool:
    """Tell whether a sample of the picture has no more colours than a palette holds."""
    step = max(1, round((image.width * image.height / _SAMPLES) ** 0.5))
    sample = image.subsample(step, step).write_to_memory()
    bands = image.bands
    seen: set[bytes] = set()
    for at in range(0, len(sample), bands):
        seen.add(bytes(sample[at : at + bands]))
        if len(seen) > _PALETTE:
            return False
    return True


def _same(image: pyvips.Image, path: Path) -> bool:
    again = pyvips.Image.pngload(path)
    if again.bands != image.bands:
        again = again.colourspace(image.interpretation)
        again = again.addalpha() if image.hasalpha() and not again.hasalpha() else again
    return bool(again.bands == image.bands and (again - image).abs().max() == 0)
