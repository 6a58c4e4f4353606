"""face_crop from file to crop, on drawn people whose places are known."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pyvips

from batchmill.operations import presets
from batchmill.operations.faces.centerface import detect
from batchmill.operations.faces.face import Face
from batchmill.sandbox.messages import Report
from support.pictures import difference, digests, outputs, run
from support.portraits import Head, photo, turned
from support.ring import ALL

MAIN = Head(520, 420, 120)
SECOND = Head(1_000, 500, 90)
FAR_OFF = Head(1_250, 200, 22)
ORIENTATIONS = range(1, 9) if ALL else (1, 6, 7)
"""Of large photos; test_cutting.py has all of them in the short ring too."""


Made = tuple[Report, list[pyvips.Image]]


def saved(path: Path, image: pyvips.Image, **fields: Any) -> Path:
    image.write_to_file(str(path), **fields)
    return path


def cropped(path: Path, **options: Any) -> Report:
    report = run(path, [("face_crop", options), ("convert", {"format": "png"})])
    assert report.error is None, report.error
    return report


def crops(path: Path, report: Report) -> list[pyvips.Image]:
    images = (pyvips.Image.new_from_file(str(output)) for output in outputs(path, report))
    return [image.copy_memory() for image in images]


def found_in(image: pyvips.Image) -> Face:
    return detect(image.numpy(), 0.3)[0]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people: the main one, one beside, one far off."""
    folder = tmp_path_factory.mktemp("crowd")
    return saved(folder / "crowd.png", photo(1_400, 1_000, MAIN, SECOND, FAR_OFF))


@pytest.fixture(scope="module")
def plain(crowd: Path) -> Made:
    """What comes of the three people without options: the report, and the crops."""
    report = cropped(crowd)
    return report, crops(crowd, report)


@pytest.fixture(scope="module")
def everybody(crowd: Path) -> Report:
    """What comes of the three people when all are asked for."""
    return cropped(crowd, faces="all")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody."""
    return saved(tmp_path_factory.mktemp("empty") / "empty.png", photo(640, 480))


def test_faces_are_looked_for_at_the_size_that_is_asked_for(tmp_path: Path) -> None:
    """A JPEG is then also decoded no larger, or as large as it is."""
    small = photo(2_000, 1_500, Head(1_000, 750, 15))
    path = saved(tmp_path / "small.jpg", small, Q=95)

    def finds(**options: Any) -> bool:
        return bool(cropped(path, **options).data["face_detected"])

    assert [finds(detect_px=px) for px in (512, 2_000)] == [False, True]
    assert not finds(faces="all", detect_px=512)
    assert finds(faces="all", detect_px=2_000)


def test_the_crop_is_a_square_around_the_main_face(plain: Made) -> None:
    report, (crop,) = plain

    assert (crop.width, crop.height) == (300, 300)
    assert found_in(crop).centre == pytest.approx((150, 150), abs=15)
    assert [output.name for output in report.outputs] == ["crowd.png"]


def test_the_data_name_the_main_face_in_pixels_of_the_photo(plain: Made) -> None:
    data = plain[0].data

    assert data["face_detected"] is True
    assert data["face_x"] < MAIN.eyes[0][0] < data["face_x"] + data["face_width"] / 2
    assert data["face_y"] < MAIN.eyes[0][1] < data["face_y"] + data["face_height"] / 2
    assert data["face_y"] + data["face_height"] == pytest.approx(MAIN.chin_y, abs=25)
    assert 0.5 <= data["face_score"] <= 1


def test_the_landmarks_are_where_the_features_are(crowd: Path) -> None:
    landmarks = cropped(crowd, level_eyes=True).data["faces"][0]["landmarks"]

    assert list(landmarks) == ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    assert math.dist(landmarks["left_eye"], MAIN.eyes[0]) < 10
    assert math.dist(landmarks["right_eye"], MAIN.eyes[1]) < 10
    assert landmarks["left_mouth"][0] < landmarks["nose"][0] < landmarks["right_mouth"][0]


def test_padding_gives_the_face_so_much_room_on_every_side(crowd: Path) -> None:
    (face, *_) = cropped(crowd, padding_pct=50).data["faces"]

    longer = max(face["width"], face["height"])
    assert face["crop"]["width"] == pytest.approx(2 * longer, abs=3)
    assert face["crop"]["x"] + face["crop"]["width"] / 2 == pytest.approx(
        face["x"] + face["width"] / 2, abs=1
    )


def test_coordinates_grow_with_the_photo(tmp_path: Path) -> None:
    small = photo(700, 500, Head(260, 210, 60))
    saved(tmp_path / "small.png", small)
    saved(tmp_path / "large.jpg", small.resize(5, kernel="cubic"), Q=95)

    one, five = (cropped(tmp_path / name).data for name in ("small.png", "large.jpg"))

    for name in ("face_x", "face_y", "face_width", "face_height"):
        assert five[name] == pytest.approx(5 * one[name], abs=5 * 0.12 * one["face_width"])


def test_a_small_face_in_a_large_jpeg_is_cut_from_its_full_resolution(tmp_path: Path) -> None:
    image = photo(4_000, 3_000, Head(2_900, 2_000, 110))
    saved(tmp_path / "large.jpg", image, Q=95)

    report = cropped(tmp_path / "large.jpg")
    (crop,) = crops(tmp_path / "large.jpg", report)

    frame = report.data["faces"][0]["crop"]
    area = [round(frame[name]) for name in ("x", "y", "width", "height")]
    quarter = image.resize(1 / 4).resize(4).crop(*area)
    assert _detail(crop) > 1.5 * _detail(quarter.resize(300 / quarter.width))


def _detail(image: pyvips.Image) -> float:
    """How much of a picture a slight blur takes away."""
    return float((image - image.gaussblur(1.5)).deviate())


@pytest.mark.parametrize(
    "options",
    [{}, {"level_eyes": True}, pytest.param({"framing": "id"}, marks=pytest.mark.long)],
)
def test_every_orientation_gives_the_same_crop(tmp_path: Path, options: dict[str, Any]) -> None:
    upright = photo(1_001, 703, Head(420, 300, 90))
    made = []
    for orientation in range(1, 9):
        stored = _stored(upright, orientation)
        path = saved(tmp_path / f"{orientation}.png", stored)
        report = cropped(path, **options)
        made.append((crops(path, report)[0], report.data))

    first, data = made[0]
    # libvips turns images of another layout by other tiles, which may change a rounding
    most = 0.5 if options else 0.0
    assert all(difference(first, crop) <= most for crop, _ in made)
    frame = pytest.approx(data["faces"][0]["crop"], abs=most)
    assert all(each["faces"][0]["crop"] == frame for _, each in made)


def test_every_orientation_of_a_large_jpeg_gives_the_same_face(tmp_path: Path) -> None:
    upright = photo(2_400, 1_800, Head(1_500, 800, 150))
    made = []
    for orientation in ORIENTATIONS:
        path = saved(tmp_path / f"{orientation}.jpg", _stored(upright, orientation), Q=95)
        report = cropped(path)
        made.append((crops(path, report)[0], report.data))

    assert len(made) == len(ORIENTATIONS)
    first, data = made[0]
    for crop, each in made:
        assert each["face_x"] == pytest.approx(data["face_x"], abs=8)
        assert each["face_width"] == pytest.approx(data["face_width"], abs=12)
        assert difference(first, crop) < 12


def _stored(upright: pyvips.Image, orientation: int) -> pyvips.Image:
    """The pixels as a camera stores them that was held so."""
    turns = {
        1: lambda image: image,
        2: lambda image: image.fliphor(),
        3: lambda image: image.rot180(),
        4: lambda image: image.flipver(),
        5: lambda image: image.rot90().fliphor(),
        6: lambda image: image.rot270(),
        7: lambda image: image.rot270().fliphor(),
        8: lambda image: image.rot90(),
    }
    stored = turns[orientation](upright).copy()
    stored.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return stored


def test_all_faces_are_cut_out_main_one_first(everybody: Report) -> None:
    names = [output.name for output in everybody.outputs]
    assert names == ["crowd-face-1.png", "crowd-face-2.png", "crowd-face-3.png"]
    assert [round(face["x"], -2) for face in everybody.data["faces"]] == [400, 900, 1_200]


def test_the_largest_faces_are_as_many_as_asked_for(crowd: Path) -> None:
    report = cropped(crowd, faces="largest", count=2)

    assert len(report.outputs) == 2
    assert [face["crop"] is None for face in report.data["faces"]] == [False, False, True]


def test_more_faces_than_there_are_may_be_asked_for(crowd: Path) -> None:
    assert len(cropped(crowd, faces="largest", count=9).outputs) == 3


def test_a_person_beside_is_reported_and_one_far_off_is_not(
    tmp_path: Path, everybody: Report
) -> None:
    saved(tmp_path / "far.png", photo(1_400, 1_000, MAIN, FAR_OFF))

    assert everybody.data["several_faces"] is True
    assert cropped(tmp_path / "far.png", faces="all").data["several_faces"] is False


@pytest.mark.parametrize("border", ["shift", "extend"])
def test_a_face_at_the_border_is_reported_and_cut_by_the_border_rule(
    tmp_path: Path, border: str
) -> None:
    path = saved(tmp_path / "edge.png", photo(800, 600, Head(70, 260, 90)))

    report = cropped(path, border=border)

    assert report.data["face_near_border"] is True
    (face,) = report.data["faces"]
    middle = face["crop"]["x"] + face["crop"]["width"] / 2
    if border == "shift":
        assert face["crop"]["x"] == 0
    else:
        assert face["crop"]["x"] < 0
        assert middle == pytest.approx(face["x"] + face["width"] / 2, abs=15)


def test_a_face_away_from_the_border_is_not_reported(plain: Made) -> None:
    assert plain[0].data["face_near_border"] is False


@pytest.mark.parametrize("degrees", [-20, 14])
def test_levelled_eyes_come_out_level(tmp_path: Path, degrees: int) -> None:
    image = turned(photo(600, 600, Head(300, 280, 100)), degrees)
    path = saved(tmp_path / "turned.png", image)

    (crooked,), (level,) = (
        crops(path, cropped(path, level_eyes=choice, padding_pct=60)) for choice in (False, True)
    )

    assert _slope(crooked) == pytest.approx(degrees, abs=4)
    assert _slope(level) == pytest.approx(0, abs=1.5)


def _slope(image: pyvips.Image) -> float:
    """The eyes' slope, measured on both sides so that the network's own lean cancels out."""
    return (found_in(image).roll_deg - found_in(image.fliphor()).roll_deg) / 2


def test_an_id_photo_has_its_head_height_and_eye_line(tmp_path: Path) -> None:
    head = Head(700, 620, 200)
    path = saved(tmp_path / "id.png", turned(photo(1_400, 1_400, head), 8))

    report = cropped(path, framing="id", width=413, height=531, head_pct=70, eye_line_pct=60)
    (crop,) = crops(path, report)

    face = found_in(crop)
    assert (crop.width, crop.height) == (413, 531)
    assert face.between_eyes == pytest.approx((413 / 2, 531 * 0.4), abs=12)
    assert _slope(crop) == pytest.approx(0, abs=1.5)
    scale = 531 / report.data["faces"][0]["crop"]["height"]
    assert (head.chin_y - head.crown_y) * scale == pytest.approx(0.7 * 531, rel=0.15)


def test_a_photo_without_a_face_succeeds_without_a_crop(empty: Path) -> None:
    report = cropped(empty)

    assert report.outputs == ()
    assert report.data["face_detected"] is False
    assert report.data["face_x"] is None
    assert report.data["faces"] == []


def test_a_photo_without_a_face_fails_when_that_was_asked_for(empty: Path) -> None:
    report = run(empty, [("face_crop", {"no_face": "fail"})])

    assert report.error is not None
    assert report.error.code == "no_face"
    assert report.error.message == "no face was found in empty.png"
    assert not report.error.retryable


@pytest.mark.parametrize("kind", ["grey", "alpha", "deep", "cmyk"])
def test_every_kind_of_pixels_is_searched_and_cut(tmp_path: Path, kind: str) -> None:
    image = photo(900, 700, Head(450, 330, 110))
    made = {
        "grey": lambda: image.colourspace("b-w"),
        "alpha": lambda: image.bandjoin(255 - image[0] * 0),
        "deep": lambda: image.colourspace("rgb16"),
        "cmyk": lambda: image.colourspace("cmyk"),
    }[kind]()
    path = saved(tmp_path / ("in.tif" if kind == "cmyk" else "in.png"), made)

    report = cropped(path)

    assert len(report.outputs) == 1
    assert report.data["face_x"] < 450 < report.data["face_x"] + report.data["face_width"]


@pytest.mark.parametrize("shown", [True, False])
def test_an_animation_is_searched_in_its_first_frame_only(tmp_path: Path, shown: bool) -> None:
    frames = [photo(400, 400, Head(200, 170, 60)), photo(400, 400)]
    first, second = frames if shown else frames[::-1]
    path = tmp_path / "in.webp"
    first.join(second, "vertical").webpsave(str(path), lossless=True, page_height=400)

    report = cropped(path)

    assert report.data["face_detected"] is shown
    assert len(report.outputs) == shown


def test_the_same_photo_gives_the_same_bytes(crowd: Path, plain: Made) -> None:
    once = cropped(crowd)
    first = digests(crowd, once)
    again = cropped(crowd)

    assert digests(crowd, again) == first
    assert once.data == again.data == plain[0].data


@pytest.mark.parametrize("name", ["face-crop", "id-photo", "blur-faces"])
def test_the_presets_run_in_the_face_family(name: str, crowd: Path) -> None:
    pipeline = presets.get(name)

    report = run(crowd, [(step.use, step.options) for step in pipeline.steps])

    assert pipeline.family == "faceDetection"
    assert report.error is None
    assert len(report.outputs) == 1


def test_the_options_are_known_without_numpy_pyvips_or_onnxruntime() -> None:
    program = (
        "import sys; from batchmill.operations import registry\n"
        "for name in ('face_crop', 'blur_faces'): registry.schema(name)\n"
        "print({'numpy', 'pyvips', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
