"""How like two pictures are: structural similarity of luma to a picture decoded by Pillow."""

from functools import cache
from io import BytesIO
from pathlib import Path

import pillow_heif
import pyvips
from PIL import Image, ImageCms, ImageOps


def ssim(source: str, made: Path) -> float:
    """Return the mean SSIM of `made` to its source scaled to the same size (0…1).

    Wang et al. 2004, gaussian of 1.5 px; transparency shows white.
    """
    with Image.open(made) as image:
        picture = _on_white(image.convert("RGB"), image.convert("RGBA").getchannel("A"))
    one, other = (_luma(each) for each in (picture, _reference(source, picture.size)))

    def mean(image: pyvips.Image) -> pyvips.Image:
        return image.gaussblur(1.5, precision="float")

    mean1, mean2 = mean(one), mean(other)
    spread = mean(one * one) - mean1 * mean1 + mean(other * other) - mean2 * mean2
    together = mean(one * other) - mean1 * mean2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (mean1 * mean2 * 2 + c1) * (together * 2 + c2)
    return float((top / ((mean1 * mean1 + mean2 * mean2 + c1) * (spread + c2))).avg())


@cache
def _reference(source: str, size: tuple[int, int]) -> Image.Image:
    """Return what it should look like: decoded whole, upright, sRGB, on white, Lanczos."""
    pillow_heif.register_heif_opener()
    with Image.open(source) as image:
        turned = image.format == "HEIF"
        upright = image.copy() if turned else ImageOps.exif_transpose(image)
        profile = image.info.get("icc_profile")
    colours = upright.convert("RGB")
    if profile:
        srgb = ImageCms.createProfile("sRGB")
        shown = ImageCms.profileToProfile(colours, BytesIO(profile), srgb, outputMode="RGB")
        assert shown is not None  # only what is changed in place is not returned
        colours = shown
    white = _on_white(colours, upright.convert("RGBA").getchannel("A"))
    return white.resize(size, Image.Resampling.LANCZOS)


def _on_white(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", colours.size, "white")
    white.paste(colours, mask=alpha)
    return white


def _luma(image: Image.Image) -> pyvips.Image:
    grey = pyvips.Image.new_from_memory(image.convert("L").tobytes(), *image.size, 1, "uchar")
    return grey.cast("float")
