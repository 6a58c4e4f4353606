"""What lies on a PDF page besides text: pictures, and the ruling lines that make tables."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium
from pypdfium2 import PdfMatrix, PdfPage

MOST_SEGMENTS = 20_000
"""How many line segments of a page are looked at."""

_FORM_LEVELS = 3
_MOST_OBJECTS = 20_000
_LEAST_LINES = 3  # two rows and two columns have three lines each way
_LEAST_LENGTH_PT = 1.0
_STRAIGHT_PT = 0.5


class RulingLine(NamedTuple):
    """A horizontal or vertical line from one point to another, in points from the page's origin."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def horizontal(self) -> bool:
        """Whether it is level, before the page is turned."""
        return abs(self.y1 - self.y0) < _STRAIGHT_PT


@dataclass(slots=True)
class PageObjects:
    """Pictures and lines of one page; `image_share` is the area of all pictures over the page's."""

    images: int = 0
    image_share: float = 0.0
    largest_image_pixels: int = 0
    segments: int = 0
    lines: list[RulingLine] = field(default_factory=list)

    @property
    def ruled(self) -> bool:
        """Whether there are enough lines both ways to make a table."""
        level = sum(line.horizontal for line in self.lines)
        return min(level, len(self.lines) - level) >= _LEAST_LINES


def objects_of(page: PdfPage) -> PageObjects:
    """Return a page's pictures and straight lines, up to a limit of objects and segments."""
    found = PageObjects()
    width, height = page.get_size()
    everything = _walk(page.raw, pdfium.FPDFPage_CountObjects, PdfMatrix(), 0)
    for index, (each, matrix) in enumerate(everything):
        kind = pdfium.FPDFPageObj_GetType(each)
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            _add_image(each, width * height, found)
        elif kind == pdfium.FPDF_PAGEOBJ_PATH and found.segments < MOST_SEGMENTS:
            _add_lines(each, matrix, found)
        if index >= _MOST_OBJECTS:
            break
    return found


def _walk(
    parent: Any,  # noqa: ANN401 - a handle of PDFium
    count: Any,  # noqa: ANN401
    outer: PdfMatrix,
    level: int,
) -> Iterator[tuple[Any, PdfMatrix]]:
    """Yield the objects of a page and of the forms on it, each with the matrix around it."""
    get = pdfium.FPDFFormObj_GetObject if level else pdfium.FPDFPage_GetObject
    for index in range(count(parent)):
        each = get(parent, index)
        if not each:
            continue
        yield each, outer
        if level < _FORM_LEVELS and pdfium.FPDFPageObj_GetType(each) == pdfium.FPDF_PAGEOBJ_FORM:
            inner = _matrix(each).multiply(outer)
            yield from _walk(each, pdfium.FPDFFormObj_CountObjects, inner, level + 1)


def _matrix(each: Any) -> PdfMatrix:  # noqa: ANN401
    raw = pdfium.FS_MATRIX()
    return PdfMatrix.from_raw(raw) if pdfium.FPDFPageObj_GetMatrix(each, raw) else PdfMatrix()


def _add_image(image: Any, page_area: float, found: PageObjects) -> None:  # noqa: ANN401
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    found.images += 1
    if pdfium.FPDFPageObj_GetBounds(image, left, bottom, right, top) and page_area > 0:
        area = abs(right.value - left.value) * abs(top.value - bottom.value)
        found.image_share += area / page_area
    width, height = ctypes.c_uint(), ctypes.c_uint()
    if pdfium.FPDFImageObj_GetImagePixelSize(image, width, height):
        found.largest_image_pixels = max(found.largest_image_pixels, width.value * height.value)


def _add_lines(path: Any, outer: PdfMatrix, found: PageObjects) -> None:  # noqa: ANN401
    """Add a path's straight lines; PDFium has written out those that close a figure."""
    matrix = _matrix(path).multiply(outer)
    x, y = ctypes.c_float(), ctypes.c_float()
    before = (0.0, 0.0)
    for index in range(min(pdfium.FPDFPath_CountSegments(path), MOST_SEGMENTS)):
        segment = pdfium.FPDFPath_GetPathSegment(path, index)
        if not pdfium.FPDFPathSegment_GetPoint(segment, x, y):
            continue
        found.segments += 1
        here: tuple[float, float] = matrix.on_point(x.value, y.value)
        if pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_LINETO:
            _add_line(RulingLine(before[0], before[1], *here), found)
        before = here


def _add_line(line: RulingLine, found: PageObjects) -> None:
    wide, high = abs(line.x1 - line.x0), abs(line.y1 - line.y0)
    if min(wide, high) < _STRAIGHT_PT and max(wide, high) >= _LEAST_LENGTH_PT:
        found.lines.append(line)


@dataclass(frozen=True, slots=True)
class PageRead:
    """One page as it was read; `size_pt` is width and height in points, as shown."""

    text: str
    objects: PageObjects
    size_pt: tuple[float, float]
