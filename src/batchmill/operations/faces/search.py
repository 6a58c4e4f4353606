"""Coarse-to-fine search: most faces are large and are found in a picture of 320 px.

A look costs by its area: about 7, 26 and 80 ms of CPU at 320, 640 and 1024 px.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from batchmill.operations.faces.centerface import Pixels, detect, distinct
from batchmill.operations.faces.face import Face

LEVELS_PX = (320, 640, 1024)
"""Longer side of the picture at each look."""
FINEST_PX = LEVELS_PX[-1]
WORTH_IT = 1.25
"""A finer look must be larger than the one before by this factor."""

SURE_SCORE = 0.75
SURE_PX = 24
"""A main face that scores this much and is this tall when looked at needs no finer look."""
TRUSTED_PX = 20
"""Shorter faces are believed only at the finest look, where they are largest."""

TILE_PX = 1024
OVERLAP_PX = 128
"""Larger looks go tile by tile, so that memory stays flat; what is larger than the overlap
was seen whole in a coarser look."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture to search: its full size, and a way to see it smaller.

    `look` takes the longer side in px, at most `finest_px`.
    """

    size: tuple[int, int]
    finest_px: int
    look: Callable[[int], Pixels]


def find_main(scene: Scene, least_score: float, *, finest_px: int = FINEST_PX) -> tuple[Face, ...]:
    """Return the faces, the main one first, in full pixels; stop looking once that one is sure."""
    found: tuple[Face, ...] = ()
    for scale, faces in _looks(scene, finest_px, least_score):
        found = main_first(_distinct((*faces, *found)), scene.size)
        if found and found[0].score >= SURE_SCORE and found[0].height * scale >= SURE_PX:
            break
    return found


def find_all(scene: Scene, least_score: float, *, finest_px: int = FINEST_PX) -> tuple[Face, ...]:
    """Return the faces of every size, the main one first, in full pixels."""
    found: tuple[Face, ...] = ()
    for _, faces in _looks(scene, finest_px, least_score):
        found = _distinct((*faces, *found))
    return main_first(found, scene.size)


def main_first(faces: Sequence[Face], size: tuple[int, int]) -> tuple[Face, ...]:
    """Order faces by area, score and nearness to the middle, a little above the centre."""
    width, height = size

    def weight(face: Face) -> float:
        x, y = face.centre
        off_x, off_y = (x / width - 0.5) / 0.45, (y / height - 0.45) / 0.5
        return face.area * face.score * math.exp(-(off_x**2 + off_y**2))

    return tuple(sorted(faces, key=weight, reverse=True))


def _looks(
    scene: Scene, finest_px: int, least_score: float
) -> Iterator[tuple[float, tuple[Face, ...]]]:
    """Yield the scale of each look (1 is full size) and its faces in full pixels."""
    finest_px = min(finest_px, scene.finest_px)
    for level in (*(px for px in LEVELS_PX if px * WORTH_IT <= finest_px), finest_px):
        pixels = scene.look(level)
        height, width = pixels.shape[:2]
        across, down = scene.size[0] / width, scene.size[1] / height
        least_px = 0 if level == finest_px else TRUSTED_PX
        faces = [face for face in _in_tiles(pixels, least_score) if face.height >= least_px]
        yield 1 / down, tuple(face.scaled(across, down) for face in faces)


def _in_tiles(pixels: Pixels, least_score: float) -> tuple[Face, ...]:
    if max(pixels.shape) <= TILE_PX:
        return detect(pixels, least_score)
    found: list[Face] = []
    for top in tile_starts(pixels.shape[0]):
        for left in tile_starts(pixels.shape[1]):
            tile = pixels[top : top + TILE_PX, left : left + TILE_PX]
            found += [face.moved(left, top) for face in detect(tile, least_score)]
    return _distinct(sorted(found, key=lambda face: face.score, reverse=True))


def tile_starts(length: int) -> list[int]:
    """Return where tiles start so that they cover `length` and overlap."""
    count = max(1, math.ceil((length - OVERLAP_PX) / (TILE_PX - OVERLAP_PX)))
    last = max(0, length - TILE_PX)
    return [round(last * number / max(1, count - 1)) for number in range(count)]


def _distinct(faces: Sequence[Face]) -> tuple[Face, ...]:
    """Return the faces without those that show a face which comes before them."""
    if not faces:
        return ()
    boxes = np.array([(f.left, f.top, f.width, f.height) for f in faces], np.float32)
    return tuple(faces[index] for index in distinct(boxes))
