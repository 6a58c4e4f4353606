"""Where to cut: frames around faces, in full pixels of the upright picture. No pixels here."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from batchmill.operations.faces.face import Face

HALF_PX = 0.5

Border = Literal["shift", "extend"]

HEAD_PER_EYE_DISTANCE = 3.55
"""Chin to crown over the distance of the pupils, of an adult who looks into the camera."""
HEAD_PER_BOX = 1.22
"""Chin to crown over the height of the detector's box, which ends at the hairline."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle turned clockwise by `angle_deg` about its centre."""

    x: float
    y: float
    width: float
    height: float
    angle_deg: float = 0.0

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of the upright rectangle around the turned one."""
        cos = abs(math.cos(math.radians(self.angle_deg)))
        sin = abs(math.sin(math.radians(self.angle_deg)))
        return self.width * cos + self.height * sin, self.width * sin + self.height * cos

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of that upright rectangle."""
        across, down = self.extent
        return self.x - across / 2, self.y - down / 2, self.x + across / 2, self.y + down / 2


def around(face: Face, shape: tuple[int, int], *, padding: float, level: bool) -> Frame:
    """Return the frame of `shape` (width, height) that holds the face and its padding.

    `padding` is a share of the face's longer side, on every side. With `level` the frame is
    turned so that the eyes come out level.
    """
    side = max(face.width, face.height) * (1 + 2 * padding)
    scale = side / min(shape)
    angle = face.roll_deg if level else 0.0
    return Frame(*face.centre, shape[0] * scale, shape[1] * scale, angle)


def for_id(face: Face, shape: tuple[int, int], *, head: float, eye_line: float) -> Frame:
    """Return the frame of an ID photo of `shape`: level eyes, head and eye line as given.

    `head` is the share of the frame's height from chin to crown, `eye_line` the share from the
    frame's lower edge to the eyes. The head is estimated from the eyes' distance and the box.
    """
    estimate = max(HEAD_PER_EYE_DISTANCE * face.eye_distance, HEAD_PER_BOX * face.height)
    height = estimate / head
    turn = math.radians(face.roll_deg)
    x, y = face.between_eyes
    below = (eye_line - 0.5) * height  # from the eyes down to the frame's centre, in the frame
    return Frame(
        x - math.sin(turn) * below,
        y + math.cos(turn) * below,
        height * shape[0] / shape[1],
        height,
        face.roll_deg,
    )


def fits(frame: Frame, size: tuple[int, int]) -> bool:
    """Tell whether the frame lies inside a picture of `size`, within half a pixel."""
    left, top, right, bottom = frame.bounds
    return min(left, top, size[0] - right, size[1] - bottom) > -HALF_PX


def inside(frame: Frame, size: tuple[int, int]) -> Frame:
    """Return the frame moved into a picture of `size`, and shrunk only if it is larger."""
    across, down = frame.extent
    shrink = min(1.0, size[0] / across, size[1] / down)
    half_x, half_y = across * shrink / 2, down * shrink / 2
    return replace(
        frame,
        x=min(max(frame.x, half_x), size[0] - half_x),
        y=min(max(frame.y, half_y), size[1] - half_y),
        width=frame.width * shrink,
        height=frame.height * shrink,
    )
