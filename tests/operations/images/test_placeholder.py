from base64 import b64decode
from pathlib import Path

import pytest
from PIL import Image

from batchmill.operations.images.codec.thumbhash import thumbhash
from support.pictures import Steps, difference, made, run, scene


def _pixels(width: int, height: int, *, alpha: bool = False) -> bytes:
    return bytes(
        value
        for y in range(height)
        for x in range(width)
        for value in (
            x * 255 // width,
            y * 255 // height,
            x * y % 256,
            x * y * 7 % 256 if alpha else 255,
        )
    )


@pytest.mark.parametrize(
    ("width", "height", "alpha", "expected"),
    [
        (32, 24, False, "3AgOHZpgdodwiIiGiGeIh/OkD/iH"),
        (24, 32, False, "3PgNHRpgdnCIaIhoiId3iPSjD/d4"),
        (100, 60, True, "4AeGG4wHcHdwd3iQkAn4d1EEgXlgFwc="),
        (20, 90, True, "HwiGEQwHgYB4aIiwsBv5dwARdnhnVzc="),
        (7, 3, True, "WRyCAoIR8Jfjg0/w4w/PCnF3sIiHiHc="),
    ],
)
def test_hashes_are_those_of_the_reference_implementation(
    width: int, height: int, alpha: bool, expected: str
) -> None:
    # expected: rgbaToThumbHash of the npm package thumbhash 0.1.1 over the same pixels
    found = thumbhash(width, height, _pixels(width, height, alpha=alpha))
    assert found == b64decode(expected)


def test_more_than_the_format_defines_is_refused() -> None:
    with pytest.raises(ValueError, match="101×1"):
        thumbhash(101, 1, bytes(404))


def test_a_placeholder_is_data_and_the_picture_goes_on(tmp_path: Path) -> None:
    scene(600, 400).jpegsave(tmp_path / "in.jpg", Q=95)
    steps: Steps = [("placeholder", {}), ("resize", {"width": 60}), ("convert", {"format": "png"})]
    report = run(tmp_path / "in.jpg", steps)
    (found,) = report.data["placeholders"]
    assert (found["width"], found["height"]) == (600, 400)
    assert 15 < len(b64decode(found["thumbhash"])) < 40
    result = made(tmp_path / "in.jpg", steps)
    assert difference(result, scene(600, 400).resize(0.1)) < 3


def test_the_colour_is_the_mean(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (255, 128, 0)).save(tmp_path / "in.png")
    report = run(tmp_path / "in.png", [("placeholder", {})])
    assert report.data["placeholders"][0]["colour"] == "#ff8000"


def test_a_picture_lying_on_its_side_is_described_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("L", (50, 40), 9).save(tmp_path / "in.jpg", exif=exif)
    report = run(tmp_path / "in.jpg", [("placeholder", {})])
    assert report.data["placeholders"][0]["width"] == 40
    assert report.data["placeholders"][0]["colour"] == "#090909"
