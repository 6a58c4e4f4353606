import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
import pyvips
from PIL import Image, ImageCms
from PIL.GifImagePlugin import GifImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from batchmill.model.limits import Limits
from support.pictures import (
    Steps,
    difference,
    made,
    output,
    outputs,
    pil,
    refused,
    run,
    scene,
    vips,
)
from support.profiles import display_p3

TO_PNG: Steps = [("convert", {"format": "png", "never_larger": False})]
SMALL_PNG: Steps = [("resize", {"width": 100}), ("convert", {"format": "png"})]
SAVERS: dict[str, Callable[[pyvips.Image, Path], None]] = {
    "jpg": lambda image, path: image.jpegsave(path, Q=95, subsample_mode="off"),
    "progressive.jpg": lambda image, path: image.jpegsave(path, Q=95, interlace=True),
    "png": lambda image, path: image.pngsave(path),
    "webp": lambda image, path: image.webpsave(path, Q=95),
    "tiff": lambda image, path: image.tiffsave(path),
    "avif": lambda image, path: image.heifsave(path, compression="av1", Q=90, effort=0),
    "gif": lambda image, path: image.gifsave(path),
    "heic": lambda image, path: pillow_heif.from_pillow(pil(image)).save(path, quality=95),
}


@pytest.mark.parametrize("kind", SAVERS)
def test_every_accepted_type_is_read(tmp_path: Path, kind: str) -> None:
    picture = scene(320, 200)
    path = tmp_path / "in.bin"  # the name must not matter
    SAVERS[kind](picture, path)
    assert difference(made(path, TO_PNG)[0:3], picture) < (9 if kind == "gif" else 5)
    assert difference(made(path, SMALL_PNG)[0:3], picture.resize(100 / 320)) < 5


# ---------------------------------------------------------------- colours


def test_grey_stays_grey(tmp_path: Path) -> None:
    scene(300, 200)[0].copy(interpretation="b-w").pngsave(tmp_path / "in.png")
    result = made(tmp_path / "in.png", SMALL_PNG)
    assert (result.bands, result.interpretation) == (1, "b-w")


def test_sixteen_bits_become_eight_of_the_same_brightness(tmp_path: Path) -> None:
    picture = scene(300, 200)
    deep = (picture.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16")
    deep.pngsave(tmp_path / "in.png")
    assert pyvips.Image.new_from_file(str(tmp_path / "in.png")).format == "ushort"
    result = made(tmp_path / "in.png", TO_PNG)
    assert result.format == "uchar"
    assert difference(result, picture) < 1


def test_sixteen_bits_with_alpha_scale_rightly(tmp_path: Path) -> None:
    picture = scene(300, 200).bandjoin(128)
    deep = (picture.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16")
    deep.pngsave(tmp_path / "in.png")
    result = made(tmp_path / "in.png", SMALL_PNG)
    assert result.bands == 4
    assert abs(result[3].avg() - 128) < 1
    assert difference(result[0:3], picture[0:3].resize(1 / 3)) < 3


@pytest.mark.parametrize(("bands", "kind", "becomes"), [(3, "rgb16", "srgb"), (1, "grey16", "b-w")])
def test_sixteen_bits_are_at_most_two_levels_off_when_scaled(
    bands: int, kind: str, becomes: str, tmp_path: Path
) -> None:
    noise = [pyvips.Image.gaussnoise(600, 400, mean=32_768, sigma=20_000) for _ in range(bands)]
    deep = noise[0].bandjoin(noise[1:]).cast("ushort").copy(interpretation=kind)
    deep.pngsave(tmp_path / "in.png")

    result = made(tmp_path / "in.png", SMALL_PNG)

    scale = result.width / deep.width
    exact = deep.resize(scale, vscale=result.height / deep.height).colourspace(becomes)
    assert result.format == "uchar"
    assert (result.cast("float") - exact.cast("float")).abs().max() <= 2


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = pil(scene(300, 200)).quantize(64)
    image.save(tmp_path / "in.png")
    assert difference(made(tmp_path / "in.png", TO_PNG), vips(image.convert("RGB"))) == 0


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    image = pil(scene(64, 64)).convert("1")
    image.save(tmp_path / "in.tiff")
    assert difference(made(tmp_path / "in.tiff", TO_PNG), vips(image.convert("L"))) == 0


def test_cmyk_becomes_srgb(tmp_path: Path) -> None:
    inks = {"cyan": (255, 0, 0, 0), "black": (0, 0, 0, 255), "white": (0, 0, 0, 0)}
    colours = {}
    for name, ink in inks.items():
        Image.new("CMYK", (64, 64), ink).save(tmp_path / f"{name}.jpg", quality=95)
        result = made(tmp_path / f"{name}.jpg", SMALL_PNG)
        assert (result.bands, result.interpretation) == (3, "srgb")
        colours[name] = result(32, 32)
    assert min(colours["white"]) > 245
    assert max(colours["black"]) < 60
    red, green, blue = colours["cyan"]
    assert red < 90 < green < blue


@pytest.mark.parametrize("options", [[], [("resize", {"width": 100})]])
def test_a_foreign_profile_is_converted_to_srgb(tmp_path: Path, options: Steps) -> None:
    image = Image.new("RGB", (300, 200), (0, 200, 0))
    profile = display_p3()
    image.save(tmp_path / "in.png", icc_profile=profile)
    shown = ImageCms.profileToProfile(
        image, BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert shown is not None
    expected = shown.getpixel((0, 0))
    assert isinstance(expected, tuple)
    assert expected != (0, 200, 0)
    result = made(tmp_path / "in.png", [*options, *TO_PNG])
    assert all(abs(a - b) <= 2 for a, b in zip(result(50, 50), expected, strict=True))
    assert not result.get_typeof("icc-profile-data")


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    image = pil(scene(64, 64))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "in.png", icc_profile=profile)
    assert difference(made(tmp_path / "in.png", TO_PNG), vips(image)) == 0


def test_a_broken_profile_is_ignored(tmp_path: Path) -> None:
    image = pil(scene(64, 64))
    image.save(tmp_path / "in.png", icc_profile=b"\x00" * 200)
    assert difference(made(tmp_path / "in.png", TO_PNG), vips(image)) == 0


def test_colours_do_not_bleed_out_of_transparency(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (300, 200), (255, 0, 0, 255))
    picture.paste((0, 255, 0, 0), (150, 0, 300, 200))
    picture.save(tmp_path / "in.png")
    result = made(tmp_path / "in.png", [("resize", {"width": 101}), *TO_PNG])
    visible = result.extract_area(0, 0, 51, result.height)
    assert visible[1].max() <= 2
    assert abs(result[3].avg() - 127) < 3


def test_alpha_that_hides_nothing_is_dropped_by_a_resize(tmp_path: Path) -> None:
    picture = scene(300, 200)
    picture.bandjoin(255).pngsave(tmp_path / "in.png")
    result = made(tmp_path / "in.png", SMALL_PNG)
    assert result.bands == 3
    assert difference(result, picture.resize(1 / 3)) < 2


# ---------------------------------------------------------------- limits


def _png_header(width: int, height: int) -> bytes:
    """Return a valid one-colour PNG that unpacks to `width` × `height` px but is tiny."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    rows = zlib.compressobj(9)
    line = b"\x00" * (width // 8 + 2)
    packed = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_bomb_of_one_colour_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(50_000, 50_000))
    assert path.stat().st_size < 1_000_000
    report = run(path, SMALL_PNG)
    assert report.error
    assert report.error.code == "too_many_pixels"
    assert "50,000×50,000" in report.error.message
    assert "encode" not in report.step_ms


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(side_px=299), "299 px"),
        (Limits(pixels=59_999), "megapixels"),
    ],
)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff", "avif", "heic", "gif"])
def test_limits_hold_for_every_type(tmp_path: Path, kind: str, limits: Limits, words: str) -> None:
    path = tmp_path / f"in.{kind}"
    SAVERS[kind](scene(300, 200), path)
    report = run(path, TO_PNG, limits=limits)
    assert report.error
    assert report.error.code == "too_many_pixels"
    assert words in report.error.message


def _animation(path: Path, frames: int = 6) -> list[Image.Image]:
    images = [pil(scene(80, 60, seed=seed)).rotate(seed * 30) for seed in range(frames)]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=120, loop=0, lossless=True
    )
    return images


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_frames_count_against_the_limit(tmp_path: Path, kind: str) -> None:
    _animation(tmp_path / f"in.{kind}")
    limits = Limits(frames_pixels=80 * 60 * 5)
    assert refused(tmp_path / f"in.{kind}", TO_PNG, limits=limits) == "too_many_pixels"


# ---------------------------------------------------------------- animations


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("target", ["gif", "webp"])
def test_frames_and_their_time_are_kept(tmp_path: Path, kind: str, target: str) -> None:
    images = _animation(tmp_path / f"in.{kind}")
    steps: Steps = [("resize", {"width": 40}), ("convert", {"format": target})]
    with Image.open(output(tmp_path / f"in.{kind}", steps)) as result:
        assert result.size == (40, 30)
        assert isinstance(result, GifImageFile | WebPImageFile)
        assert result.n_frames == len(images)
        result.seek(3)
        result.load()
        assert result.info["duration"] == 120
        expected = images[3].resize((40, 30), Image.Resampling.LANCZOS)
        assert difference(vips(result.convert("RGB")), vips(expected)) < 12


def test_frames_do_not_bleed_into_each_other(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white", "black")]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], lossless=True)
    steps: Steps = [("resize", {"width": 20}), ("convert", {"format": "webp", "lossless": True})]
    with Image.open(output(tmp_path / "in.webp", steps)) as result:
        for number, colour in enumerate((0, 255, 0)):
            result.seek(number)
            assert result.convert("L").getextrema() == (colour, colour)


@pytest.mark.parametrize("options", [{"format": "jpeg"}, {"format": "webp", "animated": False}])
def test_the_first_frame_is_taken_where_a_still_is_asked_for(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    images = _animation(tmp_path / "in.webp")
    result = output(tmp_path / "in.webp", [("convert", options)])
    with Image.open(result) as still:
        assert getattr(still, "n_frames", 1) == 1
        assert still.size == (80, 60)
        assert difference(vips(still.convert("RGB")), vips(images[0])) < 12


@pytest.mark.parametrize("kind", ["tiff", "png"])
def test_pages_and_frames_that_are_not_used_are_told(tmp_path: Path, kind: str) -> None:
    frames = [pil(scene(40, 30, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / f"in.{kind}", save_all=True, append_images=frames[1:])
    report = run(tmp_path / f"in.{kind}", SMALL_PNG)
    assert "only" in report.warnings[0]
    assert "first" in report.warnings[0]


def test_a_single_page_is_no_reason_to_warn(tmp_path: Path) -> None:
    pil(scene(40, 30)).save(tmp_path / "in.tiff")
    assert run(tmp_path / "in.tiff", SMALL_PNG).warnings == ()


def test_exif_that_is_too_long_for_a_jpeg_does_not_matter(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x9286] = b"x" * 70_000
    exif[0x0112] = 6
    pil(scene(40, 30)).save(tmp_path / "in.avif", exif=exif, speed=10)
    steps: Steps = [("convert", {"format": "jpeg", "keep": "exif"})]
    result = made(tmp_path / "in.avif", steps)
    assert (result.width, result.height) == (30, 40)


# ---------------------------------------------------------------- damage


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(b"")
    assert refused(tmp_path / "in.jpg", TO_PNG) == "empty_file"


@pytest.mark.parametrize("name", ["in.jpg", "in.png"])
def test_text_that_is_called_a_picture_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html><body>404 not found</body></html>" * 50)
    assert refused(tmp_path / name, TO_PNG) == "unsupported_type"


def test_a_document_that_is_called_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(b"%PDF-1.7\n" + b"0" * 500)
    assert refused(tmp_path / "in.jpg", TO_PNG) == "unsupported_type"


@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize("share", [0.98, 0.5, 0.1])
@pytest.mark.parametrize("steps", [TO_PNG, SMALL_PNG])
def test_a_file_that_breaks_off_is_refused(
    tmp_path: Path, kind: str, share: float, steps: Steps
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut.jpg"
    SAVERS[kind](scene(320, 200), whole)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    report = run(cut, steps)
    assert report.error
    assert report.error.code == "unreadable_file"
    assert not report.error.retryable
    assert str(tmp_path) not in report.error.message


def test_a_tiff_that_lacks_its_last_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tiff"
    pil(scene(320, 200)).save(path)  # by Pillow: the directory stands before the pixels
    content = path.read_bytes()
    with Image.open(path) as image:
        assert isinstance(image, TiffImageFile)
        last = image.tag_v2[273][-1]
    assert int.from_bytes(content[4:8], "little") < last
    path.write_bytes(content[: last + 10])
    assert refused(path, TO_PNG) == "unreadable_file"


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_animation_that_breaks_off_is_refused(tmp_path: Path, share: float) -> None:
    _animation(tmp_path / "in.gif")
    content = (tmp_path / "in.gif").read_bytes()
    (tmp_path / "in.gif").write_bytes(content[: int(len(content) * share)])
    for steps in (TO_PNG, [("convert", {"format": "webp"})]):
        assert refused(tmp_path / "in.gif", steps) == "unreadable_file"


def test_a_jpeg_whose_header_lies_about_its_height_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    scene(320, 200).jpegsave(path)
    content = path.read_bytes()
    at = content.index(b"\xff\xc0") + 5
    path.write_bytes(content[:at] + struct.pack(">H", 900) + content[at + 2 :])
    assert refused(path, TO_PNG) == "unreadable_file"


def test_a_png_whose_pixels_were_flipped_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    scene(320, 200).pngsave(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert refused(path, TO_PNG) == "unreadable_file"


@pytest.mark.parametrize("steps", [TO_PNG, SMALL_PNG, [("compress", {}), ("placeholder", {})]])
def test_damage_of_which_libvips_says_nothing_is_damage_too(tmp_path: Path, steps: Steps) -> None:
    path = tmp_path / "in.png"
    pil(scene(90, 60)).quantize(200).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PLTE") + 10] ^= 1
    path.write_bytes(content)
    assert refused(path, steps) == "unreadable_file"


def test_tolerant_keeps_what_can_be_read_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    picture = scene(640, 400)
    picture.jpegsave(path, Q=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = run(path, TO_PNG, tolerant=True)
    assert report.error is None
    (result,) = report.outputs
    assert (result.width, result.height) == (640, 400)
    assert "in.jpg cannot be read" in report.warnings[0]
    kept = pyvips.Image.new_from_file(str(*outputs(path, report)))
    top = (0, 0, 640, 100)
    assert difference(kept.crop(*top), picture.crop(*top)) < 5


def test_tolerant_says_nothing_about_a_sound_file(tmp_path: Path) -> None:
    scene(64, 48).jpegsave(tmp_path / "in.jpg")
    assert run(tmp_path / "in.jpg", TO_PNG, tolerant=True).warnings == ()
