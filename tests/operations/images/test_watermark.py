from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image

from batchmill.errors.request import InvalidOptionError
from batchmill.operations import registry
from support.pictures import Steps, difference, made, output, run, scene

PNG = ("convert", {"format": "png", "never_larger": False})


def _uri(image: Image.Image, kind: str = "PNG") -> str:
    out = BytesIO()
    image.save(out, kind)
    return f"data:image/{kind.lower()};base64,{b64encode(out.getvalue()).decode()}"


RED = _uri(Image.new("RGB", (40, 20), (255, 0, 0)))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (400, 300), (0, 0, 100)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def _box(image: pyvips.Image) -> tuple[int, int, int, int]:
    """Return left, top, width and height of what is not the ground colour."""
    left, top, width, height = image.find_trim(threshold=20, background=[0, 0, 100])
    return left, top, width, height


@pytest.mark.parametrize(
    ("position", "corner"),
    [
        ("top-left", (6, 6)),
        ("bottom-right", (294, 244)),
        ("centre", (150, 125)),
        ("left", (6, 125)),
    ],
)
def test_a_picture_stands_where_it_is_wanted(
    picture: Path, position: str, corner: tuple[int, int]
) -> None:
    options = {"image": RED, "position": position, "width_pct": 25, "opacity_pct": 100}
    result = made(picture, [("watermark", options), PNG])
    assert _box(result) == (*corner, 100, 50)
    assert result(corner[0] + 50, corner[1] + 25) == [255, 0, 0]


def test_opacity_mixes_the_colours(picture: Path) -> None:
    options = {"image": RED, "position": "centre", "opacity_pct": 50}
    red, green, blue = made(picture, [("watermark", options), PNG])(200, 150)
    assert abs(red - 128) <= 2
    assert green == 0
    assert abs(blue - 50) <= 2


def test_a_text_is_as_wide_as_asked_and_in_its_colour(picture: Path) -> None:
    options = {"text": "© Müller", "width_pct": 50, "opacity_pct": 100, "colour": "#00ff00"}
    result = made(picture, [("watermark", options), PNG])
    _, _, width, height = _box(result)
    assert 190 <= width <= 200
    assert 20 <= height <= 60
    assert result[1].max() == 255
    assert result[0].max() < 10


def test_tiles_cover_the_whole_picture(picture: Path) -> None:
    options = {"text": "sample", "position": "tile", "width_pct": 20, "angle": -30}
    result = made(picture, [("watermark", options), PNG])
    left, top, width, height = _box(result)
    assert left < 80
    assert top < 80
    assert width > 250
    assert height > 180


def test_a_mark_is_put_over_every_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (100, 80), (0, 0, 100 + number)) for number in range(3)]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], lossless=True)
    options = {"image": RED, "position": "centre", "opacity_pct": 100}
    steps: Steps = [("watermark", options), ("convert", {"lossless": True})]
    with Image.open(output(tmp_path / "in.webp", steps)) as image:
        for number in range(3):
            image.seek(number)
            assert image.convert("RGB").getpixel((50, 40)) == (255, 0, 0)


def test_transparency_around_the_mark_stays(tmp_path: Path) -> None:
    Image.new("RGBA", (100, 80), (0, 0, 0, 0)).save(tmp_path / "in.png")
    options = {"image": RED, "position": "centre", "opacity_pct": 100}
    result = made(tmp_path / "in.png", [("watermark", options), PNG])
    assert result(2, 2)[3] == 0
    assert result(50, 40) == [255, 0, 0, 255]


def test_a_mark_never_stands_out_of_a_narrow_picture(tmp_path: Path) -> None:
    scene(300, 12).pngsave(tmp_path / "in.png")
    options = {"image": RED, "width_pct": 100, "margin_pct": 50}
    result = made(tmp_path / "in.png", [("watermark", options), PNG])
    assert (result.width, result.height) == (300, 12)
    assert difference(result, scene(300, 12)) > 1


def test_a_damaged_mark_is_said_to_be_the_mark(picture: Path) -> None:
    uri = f"data:image/png;base64,{b64encode(b'not a picture').decode()}"
    report = run(picture, [("watermark", {"image": uri})])
    assert report.error
    assert "the watermark's picture" in report.error.message


@pytest.mark.parametrize("options", [{}, {"text": "a", "image": RED}, {"text": "two\nlines"}])
def test_exactly_one_mark_of_one_line_is_needed(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError):
        registry.options("watermark", options)
