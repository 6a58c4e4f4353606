"""Which files of a folder are measured, and of what kind each is."""

from pathlib import Path

import pyvips


def stills(folder: Path) -> list[Path]:
    """Return the pictures that do not move: peers would take their first frame alone."""
    return [path for path in sorted(folder.iterdir()) if _still(path)]


def _still(path: Path) -> bool:
    """Tell whether libvips, which is sharp's library too, reads a file as one picture."""
    try:
        image = pyvips.Image.new_from_file(str(path))
    except pyvips.Error:
        return False
    loader = image.get("vips-loader")
    animated = loader in {"gifload", "webpload"} and image.get_n_pages() > 1
    return loader != "csvload" and not animated  # libvips takes a table for a picture of numbers


def kind(file: str) -> str:
    """Say what is in a file: its format, and what makes much of a difference to decoding it."""
    image = pyvips.Image.new_from_file(file)
    loader = str(image.get("vips-loader")).removesuffix("load")
    if loader == "jpeg":
        return "JPEG with profile" if image.get_typeof("icc-profile-data") else "JPEG"
    if loader == "png":
        return "PNG with alpha" if image.hasalpha() else "PNG"
    return {"heif": "AVIF", "webp": "WebP", "tiff": "TIFF", "gif": "GIF"}[loader]
