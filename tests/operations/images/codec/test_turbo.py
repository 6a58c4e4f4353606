import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np  # loaded, so that these pictures are decoded at once
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchmill.errors.item import ItemError
from batchmill.model.limits import Limits
from batchmill.model.media import JPEG
from batchmill.operations.contract import Source
from batchmill.operations.images.codec.decode import load
from batchmill.operations.images.codec.turbo import pixels_at_once
from support.pictures import Steps, digests, pil, refused, run, scene
from support.profiles import display_p3

WIDTH, HEIGHT = 1803, 1267
ORIENTATION, MAKER = 0x0112, 0x010F
assert np


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = 6, "Brand"
    return exif


WAYS: dict[str, Callable[[pyvips.Image, Path], None]] = {
    "baseline": lambda image, path: image.jpegsave(path, Q=85),
    "progressive": lambda image, path: image.jpegsave(path, Q=85, interlace=True),
    "grey": lambda image, path: image[0].copy(interpretation="b-w").jpegsave(path),
    "whole colours": lambda image, path: image.jpegsave(path, subsample_mode="off"),
    "half colours": lambda image, path: pil(image).save(path, "JPEG", subsampling=1),
    "red, green, blue": lambda image, path: pil(image).save(path, "JPEG", keep_rgb=True),
    "restarts": lambda image, path: pil(image).save(path, "JPEG", restart_marker_rows=3),
    "metadata": lambda image, path: pil(image).save(
        path, "JPEG", exif=_exif(), icc_profile=display_p3(), dpi=(300, 300)
    ),
}


def _source(path: Path) -> Source:
    return Source(path, path.name, JPEG, path.stat().st_size)


def _pixels(image: pyvips.Image) -> bytes:
    return bytes(image.write_to_memory())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shrink", [1.0, 2.7, 5.3])
def test_pixels_and_metadata_are_those_of_libvips(way: str, shrink: float, tmp_path: Path) -> None:
    WAYS[way](scene(WIDTH, HEIGHT), tmp_path / "in.jpg")
    source = _source(tmp_path / "in.jpg")
    lazy = load(source, Limits(), shrink=shrink)

    at_once = pixels_at_once(lazy, source)

    assert at_once is not lazy
    assert _pixels(at_once) == _pixels(load(source, Limits(), shrink=shrink))
    for name in set(lazy.get_fields()) - {"filename"}:
        assert at_once.get(name) == lazy.get(name), name


@pytest.mark.parametrize("steps", [[], [("resize", {"width": 600})]])
@pytest.mark.parametrize("way", WAYS)
def test_results_are_those_of_a_process_that_has_not_got_the_library(
    way: str, steps: Steps, tmp_path: Path
) -> None:
    WAYS[way](scene(WIDTH, HEIGHT), tmp_path / "in.jpg")
    every: Steps = [*steps, ("convert", {"format": "png", "keep": "all"})]

    report = run(tmp_path / "in.jpg", every)

    assert digests(tmp_path / "in.jpg", report) == [_elsewhere(tmp_path / "in.jpg", every)]


def _elsewhere(path: Path, steps: Steps) -> str:
    script = (
        "import sys; from pathlib import Path; from support.pictures import digests, run\n"
        f"photo = Path({str(path)!r}); report = run(photo, {steps!r})\n"
        "assert 'numpy' not in sys.modules, 'one photo is not worth the loading of numpy'\n"
        "print(*digests(photo, report))"
    )
    path_of_modules = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(path_of_modules)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("size", [(40, 30), (3000, 2800)])
def test_what_is_small_or_too_large_to_be_held_is_left_to_libvips(
    size: tuple[int, int], tmp_path: Path
) -> None:
    pyvips.Image.black(*size, bands=3).copy(interpretation="srgb").jpegsave(tmp_path / "in.jpg")
    source = _source(tmp_path / "in.jpg")
    lazy = load(source, Limits())
    assert pixels_at_once(lazy, source) is lazy


def test_inks_are_left_to_libvips(tmp_path: Path) -> None:
    Image.new("CMYK", (WIDTH, HEIGHT), (0, 90, 10, 0)).save(tmp_path / "in.jpg")
    source = _source(tmp_path / "in.jpg")
    lazy = load(source, Limits())
    assert pixels_at_once(lazy, source) is lazy


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.999, 0.6])
@pytest.mark.parametrize("steps", [[], [("resize", {"width": 600})]])
def test_a_file_that_breaks_off_is_refused(
    way: str, share: float, steps: Steps, tmp_path: Path
) -> None:
    WAYS[way](scene(WIDTH, HEIGHT), tmp_path / "in.jpg")
    content = (tmp_path / "in.jpg").read_bytes()
    (tmp_path / "in.jpg").write_bytes(content[: int(len(content) * share)])
    every: Steps = [*steps, ("convert", {"format": "png"})]
    assert refused(tmp_path / "in.jpg", every) == "unreadable_file"


@pytest.mark.parametrize("way", ["baseline", "progressive"])
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_nothing_is_decoded_that_libvips_refuses(
    way: str, at: float, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "in.jpg"
    WAYS[way](pyvips.Image.gaussnoise(400, 300, mean=120).cast("uchar")[0].bandjoin([90, 60]), path)
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= flip
    path.write_bytes(content)
    try:
        lazy = load(_source(path), Limits())
    except ItemError:
        return  # its header says already that it is damaged
    at_once = pixels_at_once(lazy, _source(path))
    assert at_once is lazy or _pixels(at_once) == _pixels(load(_source(path), Limits()))
