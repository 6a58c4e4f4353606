from pathlib import Path

import pytest
from PIL import Image

from support.pictures import difference, made, pil, run, scene

PNG = ("convert", {"format": "png", "never_larger": False})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    scene(300, 200).pngsave(tmp_path / "in.png")
    return tmp_path / "in.png"


def test_a_part_is_cut_where_it_was_asked_for(picture: Path) -> None:
    box = {"left": 40, "top": 30, "width": 100, "height": 50}
    result = made(picture, [("crop", box), PNG])
    assert difference(result, scene(300, 200).crop(40, 30, 100, 50)) == 0


def test_px_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pil(scene(200, 300).rot270()).save(tmp_path / "in.jpg", quality=98, subsampling=0, exif=exif)
    result = made(
        tmp_path / "in.jpg", [("crop", {"left": 10, "top": 20, "width": 90, "height": 80}), PNG]
    )
    assert difference(result, scene(200, 300).crop(10, 20, 90, 80)) < 3


@pytest.mark.parametrize(
    ("aspect", "size"), [("1:1", (200, 200)), ("3:1", (300, 100)), ("16:9", (300, 169))]
)
def test_an_aspect_gives_the_largest_part_of_that_shape(
    picture: Path, aspect: str, size: tuple[int, int]
) -> None:
    result = made(picture, [("crop", {"aspect": aspect}), PNG])
    assert (result.width, result.height) == size


@pytest.mark.parametrize(
    ("position", "corner"),
    [("top-left", (0, 0)), ("centre", (50, 50)), ("bottom-right", (100, 100)), ("top", (50, 0))],
)
def test_a_part_without_a_corner_lies_where_position_says(
    picture: Path, position: str, corner: tuple[int, int]
) -> None:
    options = {"width": 200, "height": 100, "position": position}
    result = made(picture, [("crop", options), PNG])
    assert difference(result, scene(300, 200).crop(*corner, 200, 100)) == 0


@pytest.mark.parametrize("position", ["attention", "entropy"])
def test_the_interesting_part_is_found(tmp_path: Path, position: str) -> None:
    canvas = Image.new("RGB", (400, 100), (10, 60, 10))
    canvas.paste(pil(scene(60, 60, grain=60)), (330, 20))
    canvas.save(tmp_path / "in.png")
    options = {"aspect": "1:1", "position": position}
    result = made(tmp_path / "in.png", [("crop", options), PNG])
    assert (result.width, result.height) == (100, 100)
    assert result.deviate() > 20


def test_a_part_that_lies_outside_is_an_error_that_says_the_size(picture: Path) -> None:
    report = run(picture, [("crop", {"left": 250, "width": 100})])
    assert report.error
    assert "in.png is 300×200 px" in report.error.message


def test_a_part_larger_than_the_picture_is_the_picture(picture: Path) -> None:
    result = made(picture, [("crop", {"width": 900, "height": 100}), PNG])
    assert (result.width, result.height) == (300, 100)
