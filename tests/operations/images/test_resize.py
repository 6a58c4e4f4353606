from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchmill.operations.images.box import Fit, place
from support.pictures import Steps, difference, made, pil, scene
from support.ring import examples

sides = st.integers(1, 5000)


@given(size=st.tuples(sides, sides), box=st.tuples(sides, sides), enlarge=st.booleans())
def test_inside_never_exceeds_the_box_and_keeps_the_aspect(
    size: tuple[int, int], box: tuple[int, int], enlarge: bool
) -> None:
    width, height = place(size, box, fit="inside", enlarge=enlarge).final
    assert width <= box[0]
    assert height <= box[1]
    scale = min(box[0] / size[0], box[1] / size[1])
    scale = scale if enlarge else min(scale, 1)
    assert abs(width - size[0] * scale) <= 1
    assert abs(height - size[1] * scale) <= 1


@given(size=st.tuples(sides, sides), box=st.tuples(sides, sides), fit=st.sampled_from(
    ["inside", "cover", "outside", "fill"]))  # fmt: skip
def test_nothing_is_enlarged_unless_asked(
    size: tuple[int, int], box: tuple[int, int], fit: Fit
) -> None:
    width, height = place(size, box, fit=fit, enlarge=False).scaled
    assert width <= size[0]
    assert height <= size[1]


@given(size=st.tuples(sides, sides), box=st.tuples(sides, sides))
def test_cover_and_contain_fill_the_box_exactly_when_they_may_enlarge(
    size: tuple[int, int], box: tuple[int, int]
) -> None:
    assert place(size, box, fit="cover", enlarge=True).final == box
    assert place(size, box, fit="contain", enlarge=True).final == box


@pytest.mark.parametrize("kind", ["jpg", "webp", "png", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_same_upright_picture(
    tmp_path: Path, orientation: int, kind: str
) -> None:
    upright = scene(640, 400)
    stored = {
        1: lambda im: im,
        2: lambda im: im.fliphor(),
        3: lambda im: im.rot180(),
        4: lambda im: im.flipver(),
        5: lambda im: im.rot90().fliphor(),
        6: lambda im: im.rot270(),
        7: lambda im: im.rot270().fliphor(),
        8: lambda im: im.rot90(),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"lossless": True} if kind == "webp" else {"quality": 98, "subsampling": "4:4:4"}
    pil(stored).save(tmp_path / f"in.{kind}", exif=exif, **quality)
    steps: Steps = [("resize", {"width": 160}), ("convert", {"format": "png"})]
    result = made(tmp_path / f"in.{kind}", steps)
    assert (result.width, result.height) == (160, 100)
    assert not result.get_typeof("orientation")
    assert difference(result, upright.resize(0.25)) < 2


@pytest.mark.parametrize("fit", ["inside", "cover", "contain", "fill", "outside"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300)])
def test_what_comes_out_is_what_was_placed(tmp_path: Path, fit: Fit, size: tuple[int, int]) -> None:
    scene(*size).jpegsave(tmp_path / "in.jpg", Q=95)
    options = {"width": 90, "height": 50, "fit": fit}
    result = made(tmp_path / "in.jpg", [("resize", options)])
    expected = place(size, (90, 50), fit=fit, enlarge=False).final
    assert (result.width, result.height) == expected


@settings(max_examples=examples(40), deadline=None)
@given(size=st.tuples(st.integers(1, 90), st.integers(1, 90)), box=st.integers(1, 64))
def test_any_shape_of_picture_comes_out_as_it_was_placed(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], box: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    scene(*size).jpegsave(folder / "in.jpg")
    result = made(folder / "in.jpg", [("resize", {"width": box, "height": box})])
    expected = place(size, (box, box), fit="inside", enlarge=False).final
    assert (result.width, result.height) == expected


def test_a_small_picture_is_not_enlarged_unless_asked(tmp_path: Path) -> None:
    scene(50, 40).pngsave(tmp_path / "in.png")
    for enlarge, width in ((False, 50), (True, 100)):
        options = {"width": 100, "enlarge": enlarge}
        assert made(tmp_path / "in.png", [("resize", options)]).width == width


@pytest.mark.parametrize(
    ("options", "corner"),
    [
        ({"position": "left"}, 0),
        ({"position": "right"}, 200),
        ({}, 100),
        ({"focus_x": 0.0}, 0),
        ({"focus_x": 0.4}, 70),
        ({"focus_x": 1.0, "position": "left"}, 200),
    ],
)
def test_cover_keeps_the_part_that_was_asked_for(
    tmp_path: Path, options: dict[str, Any], corner: int
) -> None:
    scene(300, 100).pngsave(tmp_path / "in.png")
    options = {"width": 100, "height": 100, "fit": "cover", **options}
    steps: Steps = [("resize", options), ("convert", {"format": "png"})]
    result = made(tmp_path / "in.png", steps)
    assert difference(result, scene(300, 100).crop(corner, 0, 100, 100)) == 0


@pytest.mark.parametrize(
    ("background", "pixel"),
    [("#ff0000", [255, 0, 0]), ("#00f", [0, 0, 255]), ("#00ff0080", [0, 255, 0, 128])],
)
def test_contain_pads_with_the_background(
    tmp_path: Path, background: str, pixel: list[int]
) -> None:
    scene(100, 50).pngsave(tmp_path / "in.png")
    options = {"width": 100, "height": 100, "fit": "contain", "background": background}
    result = made(tmp_path / "in.png", [("resize", options)])
    assert result(50, 5) == pixel
    assert difference(result.crop(0, 25, 100, 50)[0:3], scene(100, 50)) == 0


def test_grey_is_padded_in_colour_only_where_the_colour_needs_it(tmp_path: Path) -> None:
    scene(100, 50)[0].copy(interpretation="b-w").pngsave(tmp_path / "in.png")
    for background, bands in (("#808080", 1), ("#ff0000", 3)):
        options = {"width": 100, "height": 100, "fit": "contain", "background": background}
        assert made(tmp_path / "in.png", [("resize", options)]).bands == bands


def test_a_border_of_one_colour_is_trimmed(tmp_path: Path) -> None:
    canvas = Image.new("RGB", (200, 150), (250, 250, 250))
    canvas.paste((0, 0, 90), (30, 20, 130, 90))
    canvas.save(tmp_path / "in.png")
    steps: Steps = [("resize", {"trim": True, "width": 500}), ("convert", {"format": "png"})]
    result = made(tmp_path / "in.png", steps)
    assert (result.width, result.height) == (100, 70)


def test_a_picture_of_one_colour_is_not_trimmed_away(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), "white").save(tmp_path / "in.png")
    assert made(tmp_path / "in.png", [("resize", {"trim": True, "width": 500})]).width == 60


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"rotate": 90}, lambda image: image.rot90()),
        ({"rotate": 270, "flip": "horizontal"}, lambda image: image.rot270().fliphor()),
        ({"flip": "vertical"}, lambda image: image.flipver()),
        ({"flip": "both"}, lambda image: image.rot180()),
    ],
)
def test_a_picture_is_turned_then_mirrored(
    tmp_path: Path, options: dict[str, Any], change: Callable[[pyvips.Image], pyvips.Image]
) -> None:
    scene(80, 60).pngsave(tmp_path / "in.png")
    steps: Steps = [("resize", {"width": 500, **options}), ("convert", {"format": "png"})]
    assert difference(made(tmp_path / "in.png", steps), change(scene(80, 60))) == 0


def test_sharpening_sharpens(tmp_path: Path) -> None:
    scene(300, 200, grain=20).gaussblur(1.5).pngsave(tmp_path / "in.png")
    edges = [
        made(tmp_path / "in.png", [("resize", {"width": 150, "sharpen": sharpen})]).sobel().avg()
        for sharpen in (0, 1.5)
    ]
    assert edges[1] > edges[0] * 1.05


@pytest.mark.parametrize("factor", [1.9, 2.1, 3.9, 4.2, 7.0, 8.5, 17.0])
def test_shrinking_while_decoding_looks_like_shrinking_afterwards(
    tmp_path: Path, factor: float
) -> None:
    picture = scene(1700, 1100, grain=30).gaussblur(2)
    picture.jpegsave(tmp_path / "in.jpg", Q=98, subsample_mode="off")
    width = round(1700 / factor)
    steps: Steps = [("resize", {"width": width}), ("convert", {"format": "png"})]
    result = made(tmp_path / "in.jpg", steps)
    expected = picture.resize(width / 1700, vscale=result.height / 1100)
    assert difference(result, expected) < 1.5


@pytest.mark.parametrize("height", [700, 1501])
def test_half_transparent_colours_are_weighted_once_wherever_tiles_meet(
    height: int, tmp_path: Path
) -> None:
    picture = scene(1300, height).bandjoin(scene(1300, height, seed=2)[1])
    picture.pngsave(tmp_path / "in.png")

    result = made(tmp_path / "in.png", [("resize", {"width": 400}), ("convert", {"format": "png"})])

    weighted = picture.premultiply().cast("uchar").copy_memory()
    scales = (result.width / picture.width, result.height / picture.height)
    expected = weighted.resize(scales[0], vscale=scales[1]).unpremultiply().cast("uchar")
    assert (result.cast("short") - expected.cast("short")).abs().max() == 0
