from collections.abc import Callable
from pathlib import Path

import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchmill.model.media import GIF, JPEG, PNG, WEBP, MediaType
from batchmill.operations.images.codec.finished import size_of
from support.pictures import Steps, made, output, pil, refused, scene
from support.profiles import display_p3

WAYS: dict[str, tuple[MediaType, Callable[[pyvips.Image, Path], None]]] = {
    "jpeg": (JPEG, lambda image, path: image.jpegsave(path)),
    "progressive jpeg": (JPEG, lambda image, path: image.jpegsave(path, interlace=True)),
    "jpeg with metadata": (
        JPEG,
        lambda image, path: pil(image).save(
            path, "JPEG", icc_profile=display_p3(), exif=b"Exif\x00\x00" + b"\xff\xc0" * 9_000
        ),
    ),
    "png": (PNG, lambda image, path: image.pngsave(path)),
    "png with a palette": (PNG, lambda image, path: image.pngsave(path, palette=True)),
    "webp": (WEBP, lambda image, path: image.webpsave(path)),
    "webp with alpha": (WEBP, lambda image, path: image.bandjoin(90).webpsave(path)),
    "webp with a profile": (
        WEBP,
        lambda image, path: pil(image).save(path, "WEBP", icc_profile=display_p3()),
    ),
    "lossless webp": (WEBP, lambda image, path: image.webpsave(path, lossless=True)),
}


@pytest.mark.parametrize("way", WAYS)
@given(width=st.integers(1, 700), height=st.integers(1, 700))
@settings(max_examples=25, deadline=None)
def test_the_size_of_a_whole_file_is_read(
    way: str, width: int, height: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    media, save = WAYS[way]
    path = tmp_path_factory.mktemp("sizes") / "out"
    save(pyvips.Image.black(width, height, bands=3).copy(interpretation="srgb"), path)
    assert size_of(path, media) == (width, height)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("left", [0, 1, 5, 11, 20, 29, -40, -2, -1])
def test_a_file_that_breaks_off_has_no_size(way: str, left: int, tmp_path: Path) -> None:
    media, save = WAYS[way]
    save(scene(90, 60), tmp_path / "out")
    content = (tmp_path / "out").read_bytes()
    (tmp_path / "out").write_bytes(content[:left])
    assert size_of(tmp_path / "out", media) is None


@pytest.mark.parametrize("media", [JPEG, PNG, WEBP])
def test_a_file_of_another_type_has_no_size(media: MediaType, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"II*\x00" + bytes(900))
    assert size_of(tmp_path / "out", media) is None


@pytest.mark.parametrize(("media", "name"), [(WEBP, "WEBP"), (GIF, "GIF")])
def test_animations_are_left_to_a_decoder(media: MediaType, name: str, tmp_path: Path) -> None:
    frames = [pil(scene(40, 30, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "out", name, save_all=True, append_images=frames[1:])
    assert size_of(tmp_path / "out", media) is None


# ---------------------------------------------------------------- small pictures


@pytest.mark.parametrize("px", [1, 100, 256, 600])
def test_small_and_large_pictures_are_written_from_the_same_pixels(px: int, tmp_path: Path) -> None:
    scene(900, 900).pngsave(tmp_path / "in.png")
    size = {"width": px, "height": px}
    png: Steps = [("resize", size), ("convert", {"format": "png"})]
    webp: Steps = [("resize", size), ("convert", {"format": "webp"})]
    pixels = pil(made(tmp_path / "in.png", png))

    pixels.save(tmp_path / "expected.webp", quality=80, method=4)

    written = output(tmp_path / "in.png", webp).read_bytes()
    assert written == (tmp_path / "expected.webp").read_bytes()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("share", [0.98, 0.5])
def test_a_small_file_that_breaks_off_is_refused(kind: str, share: float, tmp_path: Path) -> None:
    pil(scene(64, 48)).save(tmp_path / "in", kind)
    content = (tmp_path / "in").read_bytes()
    (tmp_path / "in").write_bytes(content[: int(len(content) * share)])
    assert refused(tmp_path / "in", [("convert", {"format": "webp"})]) == "unreadable_file"


def test_a_small_png_whose_pixels_were_flipped_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "in.png")
    content = bytearray((tmp_path / "in.png").read_bytes())
    content[content.index(b"IDAT") + 12] ^= 0x10
    (tmp_path / "in.png").write_bytes(content)
    assert refused(tmp_path / "in.png", [("convert", {"format": "webp"})]) == "unreadable_file"
