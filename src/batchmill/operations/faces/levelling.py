"""A second, closer look at a face whose eyes are to come out level.

The slope of the eyes that the first look finds scatters by 2.4° over turned copies of one
portrait. Looking again at the face turned level, and at its mirror image, brings that down to
0.7° for about 13 ms of CPU: what the network adds on one side, it adds on the other.
"""

import math
from dataclasses import replace

from batchmill.operations.faces.centerface import Pixels, detect
from batchmill.operations.faces.cutting import cut_view
from batchmill.operations.faces.face import Face, Landmarks, Point
from batchmill.operations.faces.framing import Frame, around
from batchmill.operations.faces.photo import Photo, rgb

MOST_LOOKS = 3
SETTLED_DEG = 2.0
LOOK_PX = 160
PADDING = 0.5
LEAST_SCORE = 0.3
NEAR = 0.2
"""How far from the middle the face may be found, as a share of the look."""


def looked_at_again(photo: Photo, face: Face) -> Face:
    """Return the face with better landmarks, or as it is when the closer look does not find it.

    The network underrates a strong slope, so the look is repeated until the slope stays.
    """
    for _ in range(MOST_LOOKS):
        better = _seen_closer(photo, face)
        if better is None:
            return face
        change_deg, face = abs(better.roll_deg - face.roll_deg), better
        if change_deg < SETTLED_DEG:
            break
    return face


def _seen_closer(photo: Photo, face: Face) -> Face | None:
    frame = around(face, (LOOK_PX, LOOK_PX), padding=PADDING, level=True)
    pixels = rgb(cut_view(photo, frame, (LOOK_PX, LOOK_PX)))
    straight, mirrored = _landmarks(pixels), _landmarks(pixels[:, ::-1])
    if straight is None or mirrored is None:
        return None
    one, two, three, four, five = (
        _unframed(_middle(a, b), frame)
        for a, b in zip(straight, _unmirrored(mirrored), strict=True)
    )
    return replace(face, landmarks=(one, two, three, four, five))


def _landmarks(pixels: Pixels) -> Landmarks | None:
    """Return the landmarks of the face in the middle."""
    middle = (LOOK_PX / 2, LOOK_PX / 2)
    for face in detect(pixels, LEAST_SCORE):
        if math.dist(face.centre, middle) <= NEAR * LOOK_PX:
            return face.landmarks
    return None


def _unmirrored(landmarks: Landmarks) -> Landmarks:
    """Turn left and right back, in place and in name."""
    left_eye, right_eye, nose, left_mouth, right_mouth = ((LOOK_PX - x, y) for x, y in landmarks)
    return right_eye, left_eye, nose, right_mouth, left_mouth


def _middle(one: Point, other: Point) -> Point:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


def _unframed(point: Point, frame: Frame) -> Point:
    """Return where a point of the look lies in the photo."""
    scale = frame.width / LOOK_PX
    across, down = (point[0] - LOOK_PX / 2) * scale, (point[1] - LOOK_PX / 2) * scale
    cos, sin = math.cos(math.radians(frame.angle_deg)), math.sin(math.radians(frame.angle_deg))
    return frame.x + across * cos - down * sin, frame.y + across * sin + down * cos
