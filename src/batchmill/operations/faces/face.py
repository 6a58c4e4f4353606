"""A face: where it is, how sure the detector was, and five landmarks. Geometry, no pixels."""

import math
from dataclasses import dataclass, replace

Point = tuple[float, float]
Landmarks = tuple[Point, Point, Point, Point, Point]
"""Left eye, right eye, nose tip, left and right corner of the mouth, as the viewer sees them."""


@dataclass(frozen=True, slots=True)
class Face:
    """A box from chin to forehead, in pixels of the upright picture, x right and y down.

    `score` is 0…1.
    """

    left: float
    top: float
    width: float
    height: float
    score: float
    landmarks: Landmarks

    @property
    def area(self) -> float:
        """Pixels inside the box."""
        return self.width * self.height

    @property
    def centre(self) -> Point:
        """The middle of the box."""
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def between_eyes(self) -> Point:
        """The point halfway between the eyes."""
        (left_x, left_y), (right_x, right_y) = self.landmarks[:2]
        return (left_x + right_x) / 2, (left_y + right_y) / 2

    @property
    def eye_distance(self) -> float:
        """Pixels from eye to eye."""
        return math.dist(*self.landmarks[:2])

    @property
    def roll_deg(self) -> float:
        """How far the line through the eyes is turned clockwise from level, -180…180."""
        (left_x, left_y), (right_x, right_y) = self.landmarks[:2]
        return math.degrees(math.atan2(right_y - left_y, right_x - left_x))

    def box_in(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the box in whole pixels (left, top, width, height), inside a picture of `size`."""
        left, top = _within(self.left, size[0] - 1), _within(self.top, size[1] - 1)
        right, bottom = self.left + self.width, self.top + self.height
        width, height = _within(right, size[0]) - left, _within(bottom, size[1]) - top
        return left, top, max(1, width), max(1, height)

    def scaled(self, across: float, down: float) -> "Face":
        """Return the same face in a picture that is `across` x `down` times as large."""
        return self._mapped((across, down), (0, 0))

    def moved(self, across: float, down: float) -> "Face":
        """Return the same face in a picture that starts so many px further left and up."""
        return self._mapped((1, 1), (across, down))

    def _mapped(self, factor: Point, shift: Point) -> "Face":
        one, two, three, four, five = (
            (x * factor[0] + shift[0], y * factor[1] + shift[1]) for x, y in self.landmarks
        )
        return replace(
            self,
            left=self.left * factor[0] + shift[0],
            top=self.top * factor[1] + shift[1],
            width=self.width * factor[0],
            height=self.height * factor[1],
            landmarks=(one, two, three, four, five),
        )


def _within(edge: float, most: int) -> int:
    return max(0, min(round(edge), most))
