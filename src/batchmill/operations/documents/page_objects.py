"""What lies on a PDF page besides text: pictures, and the ruling lines that make tables."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium
from pypdfium2 import PdfPage

_FORM_LEVELS = 3
_MOST_OBJECTS = 20_000
_MOST_SEGMENTS = 20_000
_LEAST_LINES = 3  # two rows and two columns have three lines each way
_LEAST_LENGTH_PT = 3.0
_STRAIGHT_PT = 0.5


@dataclass(slots=True)
class PageObjects:
    """Counts of one page; `image_share` is the area of all pictures over that of the page."""

    images: int = 0
    image_share: float = 0.0
    largest_image_pixels: int = 0
    horizontal: int = 0
    vertical: int = 0
    segments: int = 0

    @property
    def lines(self) -> int:
        """How many straight lines there are."""
        return self.horizontal + self.vertical

    @property
    def ruled(self) -> bool:
        """Whether there are enough lines both ways to make a table."""
        return self.horizontal >= _LEAST_LINES and self.vertical >= _LEAST_LINES


@dataclass(frozen=True, slots=True)
class PageRead:
    """One page as it was read; `size_pt` is width and height in points, as shown."""

    text: str
    objects: PageObjects
    size_pt: tuple[float, float]


def objects_of(page: PdfPage) -> PageObjects:
    """Count a page's pictures and straight lines, up to a limit of objects and segments."""
    found = PageObjects()
    width, height = page.get_size()
    for index, each in enumerate(_walk(page.raw, pdfium.FPDFPage_CountObjects, 0)):
        kind = pdfium.FPDFPageObj_GetType(each)
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            _add_image(each, width * height, found)
        elif kind == pdfium.FPDF_PAGEOBJ_PATH and found.segments < _MOST_SEGMENTS:
            _add_lines(each, found)
        if index >= _MOST_OBJECTS:
            break
    return found


def _walk(parent: Any, count: Any, level: int) -> Iterator[Any]:  # noqa: ANN401 - ctypes handles
    """Yield the objects of a page, and of the forms on it."""
    get = pdfium.FPDFFormObj_GetObject if level else pdfium.FPDFPage_GetObject
    for index in range(count(parent)):
        each = get(parent, index)
        if not each:
            continue
        yield each
        if level < _FORM_LEVELS and pdfium.FPDFPageObj_GetType(each) == pdfium.FPDF_PAGEOBJ_FORM:
            yield from _walk(each, pdfium.FPDFFormObj_CountObjects, level + 1)


def _add_image(image: Any, page_area: float, found: PageObjects) -> None:  # noqa: ANN401
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    found.images += 1
    if pdfium.FPDFPageObj_GetBounds(image, left, bottom, right, top) and page_area > 0:
        area = abs(right.value - left.value) * abs(top.value - bottom.value)
        found.image_share += area / page_area
    width, height = ctypes.c_uint(), ctypes.c_uint()
    if pdfium.FPDFImageObj_GetImagePixelSize(image, width, height):
        found.largest_image_pixels = max(found.largest_image_pixels, width.value * height.value)


def _add_lines(path: Any, found: PageObjects) -> None:  # noqa: ANN401
    """Count the straight segments of a path; its matrix may turn it, which swaps the two."""
    x, y = ctypes.c_float(), ctypes.c_float()
    before_x = before_y = 0.0
    for index in range(min(pdfium.FPDFPath_CountSegments(path), _MOST_SEGMENTS)):
        segment = pdfium.FPDFPath_GetPathSegment(path, index)
        if not pdfium.FPDFPathSegment_GetPoint(segment, x, y):
            continue
        found.segments += 1
        if pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_LINETO:
            wide, high = abs(x.value - before_x), abs(y.value - before_y)
            found.horizontal += high < _STRAIGHT_PT and wide >= _LEAST_LENGTH_PT
            found.vertical += wide < _STRAIGHT_PT and high >= _LEAST_LENGTH_PT
        before_x, before_y = x.value, y.value
