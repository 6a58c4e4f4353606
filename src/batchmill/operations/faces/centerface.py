"""CenterFace on onnxruntime: the faces of one picture at one size.

The network (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point",
2019) answers for every 4 x 4 pixels whether a face is centred there, how large it is, and where
its landmarks are. `hatch_build.py` brings the weights; nothing is downloaded at run time.
"""

import os
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchmill.errors.item import FaceModelMissingError
from batchmill.operations.faces.face import Face

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

STRIDE = 4
"""Pixels of the input for each cell of the output."""
GRID = 32
"""The input's sides must be multiples of this."""
SAME_FACE = 0.3
"""Two boxes that overlap more than this (intersection over union) show one face."""

Pixels = NDArray[np.uint8]
"""Height x width x 3, sRGB, upright."""
Grid = NDArray[np.float32]


@cache
def session() -> "InferenceSession":
    """Return the loaded network: 8 MB, one thread, kept for the life of the process.

    Raises:
        FaceModelMissingError: the weights or onnxruntime are not installed.
    """
    weights = resources.files("batchmill.operations.faces") / "centerface.onnx"
    if not weights.is_file():
        raise FaceModelMissingError("the face model", "pip install -e .")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it reports to its maker otherwise, from the import
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError as error:
        raise FaceModelMissingError("onnxruntime", "pip install onnxruntime") from error
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # the exporter left warnings in the graph
    options.enable_mem_pattern = False  # sizes vary: plans per size cost a third more memory
    return InferenceSession(weights.read_bytes(), options, providers=["CPUExecutionProvider"])


def detect(pixels: Pixels, least_score: float) -> tuple[Face, ...]:
    """Return the faces that score at least `least_score`, best first, in pixels of the input.

    Raises:
        FaceModelMissingError: as `session`.
    """
    heat, size, offset, landmarks = session().run(None, {"input.1": _blob(pixels)})
    rows, columns = np.nonzero(heat[0, 0] >= least_score)
    order = np.argsort(-heat[0, 0, rows, columns], kind="stable")
    cells = rows[order], columns[order]
    boxes = _boxes(size[0], offset[0], cells)
    points = _points(landmarks[0], cells, boxes)
    kept = distinct(boxes)
    return tuple(_face(boxes[i], heat[0, 0, cells[0][i], cells[1][i]], points[i]) for i in kept)


def distinct(boxes: Grid) -> list[int]:
    """Return the indexes of `boxes` (left, top, width, height) that no earlier one covers."""
    kept: list[int] = []
    for index in range(len(boxes)):
        if not kept or _overlaps(boxes[index], boxes[kept]).max() <= SAME_FACE:
            kept.append(index)
    return kept


def _blob(pixels: Pixels) -> Grid:
    """Return 1 x 3 x height x width, padded with black to multiples of `GRID`."""
    height, width = pixels.shape[:2]
    blob = np.zeros((1, 3, -height % GRID + height, -width % GRID + width), np.float32)
    blob[0, :, :height, :width] = pixels.transpose(2, 0, 1)
    return blob


def _boxes(size: Grid, offset: Grid, cells: tuple[Any, Any]) -> Grid:
    """Return one row of left, top, width, height for each cell."""
    rows, columns = cells
    height = np.exp(size[0, rows, columns]) * STRIDE
    width = np.exp(size[1, rows, columns]) * STRIDE
    middle_y = (rows + offset[0, rows, columns] + 0.5) * STRIDE
    middle_x = (columns + offset[1, rows, columns] + 0.5) * STRIDE
    boxes: Grid = np.stack([middle_x - width / 2, middle_y - height / 2, width, height], axis=1)
    return boxes


def _points(landmarks: Grid, cells: tuple[Any, Any], boxes: Grid) -> Grid:
    """Return cells x 5 x (x, y); the network gives y before x, as fractions of the box."""
    rows, columns = cells
    fractions = landmarks[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    points: Grid = boxes[:, None, :2] + fractions * boxes[:, None, 2:]
    return points


def _overlaps(box: Grid, others: Grid) -> Grid:
    """Return the intersection over union of `box` with each of `others`."""
    corner = np.maximum(box[:2], others[:, :2])
    end = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = np.prod(np.maximum(end - corner, 0), axis=1)
    total = box[2] * box[3] + others[:, 2] * others[:, 3] - common
    overlaps: Grid = common / total
    return overlaps


def _face(box: Grid, score: float, points: Grid) -> Face:
    left, top, width, height = map(float, box)
    one, two, three, four, five = ((float(x), float(y)) for x, y in points)
    return Face(left, top, width, height, float(score), (one, two, three, four, five))
