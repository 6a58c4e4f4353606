"""Where crops lie: laws of the frames, without a pixel."""

import math
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.faces.face import Face
from batchmill.operations.faces.framing import Frame, around, fits, for_id, inside

sides = st.integers(20, 5_000)
sizes = st.tuples(sides, sides)
places = st.floats(-1_000, 6_000)
frames = st.builds(
    Frame, places, places, st.floats(5, 4_000), st.floats(5, 4_000), st.floats(-45, 45)
)
shapes = st.tuples(st.integers(16, 4_096), st.integers(16, 4_096))


@st.composite
def faces(draw: st.DrawFn) -> Face:
    """A face whose landmarks are turned about the middle of its box."""
    x, y = draw(places), draw(places)
    width, height = draw(st.floats(8, 2_000)), draw(st.floats(8, 2_000))
    turn = math.radians(draw(st.floats(-40, 40)))

    def point(across: float, down: float) -> tuple[float, float]:
        across, down = across * width, down * width
        return (
            x + across * math.cos(turn) - down * math.sin(turn),
            y + across * math.sin(turn) + down * math.cos(turn),
        )

    marks = (
        point(-0.2, -0.1),
        point(0.2, -0.1),
        point(0, 0.1),
        point(-0.15, 0.3),
        point(0.15, 0.3),
    )
    return Face(x - width / 2, y - height / 2, width, height, 0.9, marks)


def in_frame(frame: Frame, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the photo lies in the frame: 0…1 across and down."""
    turn = math.radians(-frame.angle_deg)
    x, y = point[0] - frame.x, point[1] - frame.y
    across = x * math.cos(turn) - y * math.sin(turn)
    down = x * math.sin(turn) + y * math.cos(turn)
    return across / frame.width + 0.5, down / frame.height + 0.5


@given(frames, sizes)
def test_a_moved_frame_lies_inside_the_photo(frame: Frame, size: tuple[int, int]) -> None:
    assert fits(inside(frame, size), size)


@given(frames, sizes)
def test_a_moved_frame_keeps_its_shape_and_angle_and_never_grows(
    frame: Frame, size: tuple[int, int]
) -> None:
    moved = inside(frame, size)

    assert moved.angle_deg == frame.angle_deg
    assert moved.width <= frame.width * (1 + 1e-9)
    assert moved.width / moved.height == pytest.approx(frame.width / frame.height)


@given(frames)
def test_a_frame_that_fits_stays_where_it_is(frame: Frame) -> None:
    left, top, right, bottom = frame.bounds
    at_home = Frame(frame.x - left, frame.y - top, frame.width, frame.height, frame.angle_deg)
    size = (math.ceil(right - left) + 1, math.ceil(bottom - top) + 1)

    assert fits(at_home, size)
    assert astuple(inside(at_home, size)) == pytest.approx(astuple(at_home))


@given(faces(), shapes, st.floats(0, 2))
def test_the_shorter_side_of_a_frame_is_the_face_and_its_padding_on_both_sides(
    face: Face, shape: tuple[int, int], padding: float
) -> None:
    frame = around(face, shape, padding=padding, level=False)

    assert (frame.x, frame.y, frame.angle_deg) == (*face.centre, 0)
    assert min(frame.width, frame.height) == pytest.approx(
        max(face.width, face.height) * (1 + 2 * padding)
    )
    assert frame.width / frame.height == pytest.approx(shape[0] / shape[1])


@given(faces(), shapes)
def test_a_level_frame_puts_both_eyes_at_one_height(face: Face, shape: tuple[int, int]) -> None:
    frame = around(face, shape, padding=0.2, level=True)
    left, right = (in_frame(frame, eye) for eye in face.landmarks[:2])

    assert left[1] == pytest.approx(right[1], abs=1e-6)
    assert left[0] < right[0]


@given(faces(), shapes, st.floats(0.3, 0.95), st.floats(0.3, 0.8))
def test_an_id_frame_puts_level_eyes_on_its_middle_and_eye_line(
    face: Face, shape: tuple[int, int], head: float, eye_line: float
) -> None:
    frame = for_id(face, shape, head=head, eye_line=eye_line)
    left, right = (in_frame(frame, eye) for eye in face.landmarks[:2])

    assert left[1] == pytest.approx(right[1], abs=1e-6)
    assert left[1] == pytest.approx(1 - eye_line, abs=1e-6)
    assert (left[0] + right[0]) / 2 == pytest.approx(0.5, abs=1e-6)


@given(faces(), st.floats(0.3, 0.95), st.floats(1.01, 1.5))
def test_a_larger_head_share_makes_a_proportionally_smaller_id_frame(
    face: Face, head: float, times: float
) -> None:
    one = for_id(face, (413, 531), head=head, eye_line=0.6)
    other = for_id(face, (413, 531), head=head * times, eye_line=0.6)

    assert one.height / other.height == pytest.approx(times)
