"""The search: when it stops looking, what it believes, and that tiles leave no gap."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.faces.centerface import Pixels, detect, distinct
from batchmill.operations.faces.face import Face
from batchmill.operations.faces.search import (
    OVERLAP_PX,
    TILE_PX,
    Scene,
    find_all,
    find_main,
    main_first,
    tile_starts,
)
from support.portraits import Head, photo

SIDE_PX = 1_600


def scene(*heads: Head, side: int = SIDE_PX) -> tuple[Scene, list[int]]:
    """A square photo to search, and the list of the looks that were taken."""
    image = photo(side, side, *heads)
    looks: list[int] = []

    def look(px: int) -> Pixels:
        looks.append(px)
        return image.resize(px / side).numpy() if px < side else image.numpy()

    return Scene((side, side), side, look), looks


def face(left: float, top: float, side: float, score: float = 0.9) -> Face:
    point = (left + side / 2, top + side / 2)
    return Face(left, top, side, side, score, (point,) * 5)


def test_a_large_face_is_found_at_the_first_look() -> None:
    searched, looks = scene(Head(800, 700, 180))

    (found,) = find_main(searched, 0.5)

    assert looks == [320]
    assert found.centre == pytest.approx((800, 730), abs=40)


def test_a_small_face_is_found_at_a_finer_look() -> None:
    searched, looks = scene(Head(800, 700, 45))

    (found,) = find_main(searched, 0.5)

    assert looks[0] == 320
    assert len(looks) > 1
    assert found.centre == pytest.approx((800, 705), abs=12)


def test_an_empty_photo_is_looked_at_in_every_size() -> None:
    searched, looks = scene()

    assert find_main(searched, 0.5) == ()
    assert looks == [320, 640, 1024]


def test_a_small_face_that_is_seen_only_from_afar_is_not_believed() -> None:
    afar, empty = photo(320, 320, Head(160, 160, 9)).numpy(), photo(1_024, 1_024).numpy()
    assert len(detect(afar, 0.5)) == 1

    searched = Scene((4_000, 4_000), 1_024, lambda px: afar if px == 320 else empty)

    assert find_main(searched, 0.5) == find_all(searched, 0.5) == ()


def test_a_search_for_all_faces_goes_on_after_a_sure_one() -> None:
    searched, looks = scene(Head(500, 700, 250), Head(1_300, 300, 45))

    found = find_all(searched, 0.5)

    assert looks == [320, 640, 1024]
    assert [round(each.centre[0], -2) for each in found] == [500, 1_300]


def test_a_photo_smaller_than_a_look_is_not_looked_at_twice() -> None:
    searched, looks = scene(side=350)

    find_all(searched, 0.5)

    assert looks == [350]


def test_a_face_across_the_border_of_tiles_is_found_whole_and_once() -> None:
    side = 2 * TILE_PX - OVERLAP_PX
    searched, looks = scene(Head(side / 2, side / 2, 40), side=side)

    found = find_all(searched, 0.5, finest_px=side)

    assert looks[-1] == side
    assert len(found) == 1
    assert found[0].width == pytest.approx(2 * 0.7 * 40, rel=0.25)


@given(st.integers(1, 20_000))
def test_tiles_cover_every_pixel_and_overlap(length: int) -> None:
    starts = tile_starts(length)

    assert starts[0] == 0
    assert starts[-1] + TILE_PX >= length
    assert all(start + TILE_PX <= length for start in starts[1:])
    assert all(later - earlier <= TILE_PX - OVERLAP_PX for earlier, later in pairwise(starts))


@given(st.lists(st.tuples(*[st.floats(0, 500)] * 2, *[st.floats(1, 200)] * 2), max_size=12))
def test_boxes_that_are_kept_do_not_show_the_same_face_and_those_left_out_do(
    rows: list[tuple[float, ...]],
) -> None:
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    kept = distinct(boxes)

    assert kept == sorted(kept)
    for index in range(len(boxes)):
        same = any(_overlap(boxes[index], boxes[k]) > 0.3 for k in kept if k < index)
        assert same == (index not in kept)


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(across, 0) * max(down, 0)
    return float(common / (one[2] * one[3] + other[2] * other[3] - common))


BETTER: dict[str, Callable[[], tuple[Face, Face]]] = {
    "larger": lambda: (face(400, 400, 200), face(400, 400, 100)),
    "surer": lambda: (face(400, 400, 100, 0.9), face(400, 400, 100, 0.5)),
    "nearer to the middle": lambda: (face(450, 400, 100), face(0, 400, 100)),
}


@pytest.mark.parametrize("reason", BETTER)
def test_the_main_face_is_the_one_that_is(reason: str) -> None:
    main, other = BETTER[reason]()

    assert main_first((other, main), (1_000, 1_000)) == (main, other)


@pytest.mark.parametrize("size", [(1, 1), (31, 500), (33, 47), (320, 200)])
def test_pictures_of_any_size_are_searched(size: tuple[int, int]) -> None:
    assert detect(np.zeros((*size, 3), np.uint8), 0.5) == ()
