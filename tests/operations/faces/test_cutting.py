"""Cutting: the same pixels whichever way they are reached."""

from functools import cache
from pathlib import Path

import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st

from batchmill.model.limits import Limits
from batchmill.model.media import JPEG
from batchmill.operations.contract import Source
from batchmill.operations.faces.cutting import cut, to_stored, to_upright
from batchmill.operations.faces.framing import Frame
from batchmill.operations.faces.photo import Photo, open_photo
from batchmill.operations.images.codec.decode import open_picture
from support.pictures import difference, scene

WIDTH, HEIGHT = 1_700, 1_300

orientations = st.integers(1, 8)
sides = st.integers(1, 5_000)
boxes = st.tuples(*[st.floats(-100, 5_000)] * 4)


@given(boxes, orientations, st.tuples(sides, sides))
def test_a_box_comes_back_from_the_stored_pixels(
    box: tuple[float, float, float, float], orientation: int, size: tuple[int, int]
) -> None:
    stored = to_stored(box, orientation, size)

    assert to_upright(stored, orientation, size) == pytest.approx(box)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_stored_box_holds_what_is_seen_there_upright(orientation: int) -> None:
    stored = scene(60, 40)
    stored.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    upright = stored.autorot()
    box = (7, 11, 30, 25)

    left, top, right, bottom = map(
        int, to_stored(box, orientation, (upright.width, upright.height))
    )
    part = stored.crop(left, top, right - left, bottom - top).copy_memory()
    part.set_type(pyvips.GValue.gint_type, "orientation", orientation)

    assert difference(part.autorot(), upright.crop(7, 11, 23, 14)) == 0


def opened(path: Path, orientation: int = 1, *, in_memory: bool = False) -> Photo:
    """A photo of `scene`, read from a JPEG small first, or held in memory in full."""
    path.write_bytes(_stored(orientation))
    source = Source(path, path.name, JPEG, path.stat().st_size)
    picture = open_picture(source, Limits())
    if in_memory:
        picture = picture.with_image(picture.image.copy_memory())
    return open_photo(picture, Limits(), tolerant=False, least_px=300, most_px=400)


@cache
def _stored(orientation: int) -> bytes:
    image = scene(WIDTH, HEIGHT).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image.jpegsave_buffer(Q=98, subsample_mode="off")


FRAMES = {
    "in the middle": Frame(900, 600, 300, 300),
    "in a corner": Frame(80, 75, 150, 150),
    "beyond the border": Frame(1_290, 1_240, 260, 200),
    "turned": Frame(700, 500, 400, 300, 25),
    "larger than the photo": Frame(850, 650, 2_400, 2_400),
}


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_finer_decode_cuts_what_the_whole_photo_in_memory_gives(
    tmp_path: Path, orientation: int
) -> None:
    from_file = opened(tmp_path / "file.jpg", orientation)
    whole = opened(tmp_path / "memory.jpg", orientation, in_memory=True)

    assert from_file.picture.source is not None
    assert whole.picture.source is None
    for name, frame in FRAMES.items():
        shape = (round(frame.width / 2), round(frame.height / 2))
        (one,), (other,) = cut(from_file, [frame], shape), cut(whole, [frame], shape)
        assert (one.width, one.height) == shape, name
        assert difference(one, other) < 4, name


def test_a_frame_that_the_view_shows_well_enough_needs_no_second_decode(tmp_path: Path) -> None:
    photo = opened(tmp_path / "in.jpg")
    (tmp_path / "in.jpg").unlink()

    (crop,) = cut(photo, [Frame(800, 600, 800, 800)], (100, 100))

    assert crop.avg() > 0


def test_what_lies_outside_the_photo_repeats_its_edge(tmp_path: Path) -> None:
    photo = opened(tmp_path / "in.jpg", in_memory=True)

    (crop,) = cut(photo, [Frame(0, 650, 200, 200)], (200, 200))

    outside, edge = crop.crop(0, 0, 100, 200), crop.crop(100, 0, 1, 200)
    assert difference(outside, edge.embed(0, 0, 100, 200, extend="copy")) == 0


def test_several_frames_of_one_photo_are_each_cut_at_their_own_place(tmp_path: Path) -> None:
    photo = opened(tmp_path / "in.jpg")
    frames = [Frame(200, 200, 200, 200), Frame(1_500, 1_100, 200, 200)]

    together = cut(photo, frames, (100, 100))
    alone = [cut(photo, [frame], (100, 100))[0] for frame in frames]

    assert [difference(*pair) < 1 for pair in zip(together, alone, strict=True)] == [True, True]
    assert difference(*together) > 50
