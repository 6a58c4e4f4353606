"""blur_faces: what is hidden, what is left alone, and what may not leak beside the pixels."""

from pathlib import Path
from typing import Any

import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.operations.faces.centerface import detect
from batchmill.operations.faces.face import Face
from batchmill.operations.faces.hiding import Veil, hidden
from batchmill.sandbox.messages import Report
from support.pictures import difference, outputs, run, scene
from support.portraits import Head, photo
from support.ring import examples

HEADS = (Head(300, 260, 90), Head(640, 300, 70), Head(820, 120, 20))


def blurred(path: Path, **options: Any) -> tuple[Report, pyvips.Image]:
    report = run(path, [("blur_faces", options), ("convert", {"format": "png"})])
    assert report.error is None, report.error
    (output,) = outputs(path, report)
    return report, pyvips.Image.new_from_file(str(output)).copy_memory()


def face(left: float, top: float, width: float, height: float) -> Face:
    return Face(left, top, width, height, 0.9, ((left, top),) * 5)


def veil(**changes: Any) -> Veil:
    plain: dict[str, Any] = {
        "method": "blur",
        "shape": "box",
        "padding": 0.0,
        "blocks": 8,
        "colour": "#000000",
    }
    return Veil(**(plain | changes))


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people of different sizes."""
    path = tmp_path_factory.mktemp("group") / "group.png"
    photo(960, 600, *HEADS).write_to_file(str(path))
    return path


@pytest.mark.parametrize("method", ["blur", "pixelate", "fill"])
@pytest.mark.parametrize("shape", ["ellipse", "box"])
def test_no_face_is_found_where_the_faces_were(group: Path, method: str, shape: str) -> None:
    report, image = blurred(group, method=method, shape=shape)

    assert report.data["face_detected"] is True
    assert report.data["face_count"] >= len(HEADS)
    assert detect(image.numpy(), 0.5) == ()


def test_pixels_away_from_the_faces_are_untouched(group: Path) -> None:
    before = pyvips.Image.new_from_file(str(group))
    report, after = blurred(group, shape="box", padding_pct=25)

    changed = (before - after).abs().bandor() > 0
    outside = pyvips.Image.black(before.width, before.height) + 255
    for found in report.data["faces"]:
        left, top = found["x"] - found["width"] // 3, found["y"] - found["height"] // 3
        outside = outside.draw_rect(
            0, left, top, found["width"] * 5 // 3, found["height"] * 5 // 3, fill=True
        )
    assert (changed & outside.cast("uchar")).max() == 0


def test_a_picture_without_faces_keeps_every_pixel(tmp_path: Path) -> None:
    image = scene(300, 200)
    image.write_to_file(str(tmp_path / "in.png"))

    report, after = blurred(tmp_path / "in.png")

    assert report.data == {"face_detected": False, "face_count": 0, "faces": []}
    assert difference(image, after) == 0


places = st.builds(
    face, st.integers(-30, 210), st.integers(-30, 130), st.integers(1, 200), st.integers(1, 150)
)


@settings(max_examples=examples(60), deadline=None)
@given(place=places, blocks=st.integers(1, 16))
def test_a_pixelated_face_keeps_at_most_as_many_colours_across_as_asked(
    place: Face, blocks: int
) -> None:
    seen = hidden(scene(200, 120), [place], veil(method="pixelate", blocks=blocks))

    left, top, width, height = place.box_in((200, 120))
    pixels = seen.numpy()
    across = {tuple(each) for each in pixels[top, left : left + width]}
    down = {tuple(each) for each in pixels[top : top + height, left]}
    assert (seen.width, seen.height, seen.bands) == (200, 120, 3)
    assert max(len(across), len(down)) <= blocks
    assert len(across) <= max(1, width // 4)


@settings(max_examples=examples(30), deadline=None)
@given(place=places)
def test_a_filled_face_keeps_nothing_and_everything_else_stays(place: Face) -> None:
    before = scene(200, 120)
    after = hidden(before, [place], veil(method="fill"))

    left, top, width, height = place.box_in((200, 120))
    assert after.crop(left, top, width, height).max() == 0
    inside = pyvips.Image.black(200, 120).draw_rect(255, left, top, width, height, fill=True)
    assert inside.ifthenelse(0, (before - after).abs()).max() == 0


def test_the_veil_covers_the_corners_of_the_face_with_the_usual_padding() -> None:
    white = scene(400, 400) * 0 + 255
    seen = hidden(
        white.cast("uchar").copy(interpretation="srgb"),
        [face(150, 120, 100, 140)],
        veil(method="fill", shape="ellipse", padding=0.25),
    )

    assert seen.crop(152, 122, 96, 136).max() == 0


@pytest.mark.parametrize("bands", ["grey", "alpha"])
def test_grey_and_transparent_pictures_keep_their_bands(tmp_path: Path, bands: str) -> None:
    image = photo(500, 400, HEADS[0])
    image = image.colourspace("b-w") if bands == "grey" else image.bandjoin(image[0] * 0 + 128)
    image.cast("uchar").write_to_file(str(tmp_path / "in.png"))

    report, after = blurred(tmp_path / "in.png", method="fill", colour="#ff0000")

    assert report.data["face_detected"] is True
    assert after.bands == image.bands
    assert after.getpoint(300, 260) == ([76] if bands == "grey" else [255, 0, 0, 255])


def test_every_frame_of_an_animation_is_searched_by_itself(tmp_path: Path) -> None:
    frames = [photo(400, 360, Head(x, 160, 60)) for x in (120, 200, 280)]
    film = frames[0].join(frames[1], "vertical").join(frames[2], "vertical")
    path = tmp_path / "in.webp"
    film.webpsave(str(path), lossless=True, page_height=360)

    report = run(path, [("blur_faces", {}), ("convert", {"format": "webp", "lossless": True})])

    assert report.error is None
    after = pyvips.Image.webpload(str(outputs(path, report)[0]), n=-1)
    assert after.get_n_pages() == 3
    assert report.data["face_count"] == 3
    for frame in after.pagesplit():
        assert detect(frame[0:3].numpy(), 0.5) == ()


def test_a_sideways_photo_is_searched_upright(tmp_path: Path) -> None:
    stored = photo(700, 500, HEADS[0]).rot270().copy()
    stored.set_type(pyvips.GValue.gint_type, "orientation", 6)
    stored.write_to_file(str(tmp_path / "in.jpg"), Q=95)

    report, after = blurred(tmp_path / "in.jpg")

    assert (after.width, after.height) == (700, 500)
    assert report.data["faces"][0]["x"] == pytest.approx(300 - 60, abs=25)


def test_the_thumbnail_inside_the_exif_data_does_not_show_the_faces(tmp_path: Path) -> None:
    image = photo(700, 500, HEADS[0]).copy()
    thumbnail = image.resize(0.2).jpegsave_buffer()
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "somebody")
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", thumbnail)
    path = tmp_path / "in.jpg"
    image.write_to_file(str(path), Q=95)
    assert thumbnail in path.read_bytes()

    report = run(path, [("blur_faces", {}), ("convert", {"keep": "all"})])

    (output,) = outputs(path, report)
    kept = pyvips.Image.new_from_file(str(output))
    assert kept.get_typeof("exif-data")
    assert thumbnail not in output.read_bytes()
    assert not kept.get_typeof("jpeg-thumbnail-data")
