"""Every real photo of a corpus through our presets, held against Pillow.

Runs where BATCHMILL_CORPORA names a folder with `photos/`; the folder is no part of the project.
"""

import os
from functools import cache
from io import BytesIO
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat

from batchmill.model.media import SNIFF_BYTES, Family, sniff
from batchmill.operations import presets
from support import parts
from support.pictures import outputs, run

ROOT = os.environ.get("BATCHMILL_CORPORA")
FOLDER = Path(ROOT) / "photos" if ROOT else None


def _is_picture(path: Path) -> bool:
    media = sniff(path.read_bytes()[:SNIFF_BYTES])
    return media is not None and media.family is Family.IMAGE


PHOTOS = sorted(filter(_is_picture, FOLDER.iterdir())) if FOLDER and FOLDER.is_dir() else []
pytestmark = [
    pytest.mark.long,
    parts.corpus(PHOTOS),
]
EACH = pytest.mark.parametrize("photo", PHOTOS or [Path("none")], ids=lambda path: path.name)


@cache
def _reference(path: Path) -> Image.Image:
    """Return what a person should see, by Pillow alone: upright, sRGB, on white."""
    pillow_heif.register_heif_opener()
    with Image.open(path) as image:
        image.load()
        heif = image.format in {"HEIF", "AVIF"}
        upright = image if heif else ImageOps.exif_transpose(image)
        profile = image.info.get("icc_profile")
    layered = upright.convert("RGBA")
    colours = upright.convert("RGB") if upright.mode != "RGB" else upright
    if profile:
        colours = _in_srgb(colours, profile)
    white = Image.new("RGB", colours.size, "white")
    white.paste(colours, mask=layered.getchannel("A"))
    return white


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(image, BytesIO(profile), srgb, outputMode="RGB")
    assert shown is not None  # only what is changed in place is not returned
    return shown


def _seen(path: Path) -> Image.Image:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        profile = image.info.get("icc_profile")
    layered = upright.convert("RGBA")
    colours = layered.convert("RGB")
    if profile:
        colours = _in_srgb(colours, profile)
    white = Image.new("RGB", layered.size, "white")
    white.paste(colours, mask=layered.getchannel("A"))
    return white


def _distance(one: Image.Image, other: Image.Image) -> float:
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def _through(path: Path, tmp_path: Path, preset: str) -> Path:
    link = tmp_path / path.name
    link.symlink_to(path)
    steps = [(step.use, step.options) for step in presets.get(preset).steps]
    report = run(link, steps)
    assert report.error is None, report.error
    (row,) = report.outputs
    (result,) = outputs(link, report)
    with Image.open(result) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        assert (image.size[::-1] if turned else image.size) == (row.width, row.height)
    return result


@EACH
def test_web_fits_the_box_and_looks_like_the_photo(photo: Path, tmp_path: Path) -> None:
    seen, reference = _seen(_through(photo, tmp_path, "web")), _reference(photo)
    expected = reference.copy()
    expected.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
    assert max(seen.size) <= 1024
    assert all(abs(a - b) <= 1 for a, b in zip(seen.size, expected.size, strict=True))
    assert _distance(seen, reference.resize(seen.size, Image.Resampling.LANCZOS)) < 6


@EACH
def test_compress_keeps_the_size_and_never_grows(photo: Path, tmp_path: Path) -> None:
    result = _through(photo, tmp_path, "compress")
    assert _seen(result).size == _reference(photo).size
    assert _distance(_seen(result), _reference(photo)) < 6
    same = result.suffix[1:] == photo.suffix[1:].lower()
    if same:
        assert result.stat().st_size <= photo.stat().st_size


@EACH
def test_a_thumbnail_is_a_square_out_of_the_photo(photo: Path, tmp_path: Path) -> None:
    seen, reference = _seen(_through(photo, tmp_path, "thumbnail")), _reference(photo)
    side = min(256, *reference.size)
    assert seen.size == (side, side)
    scale = side / min(reference.size)
    size = tuple(max(side, round(length * scale)) for length in reference.size)
    small = reference.resize(size, Image.Resampling.LANCZOS)  # type: ignore[arg-type]
    offsets = (
        (left, top) for left in range(size[0] - side + 1) for top in range(size[1] - side + 1)
    )
    assert (
        min(
            _distance(seen, small.crop((left, top, left + side, top + side)))
            for left, top in offsets
        )
        < 8
    )
