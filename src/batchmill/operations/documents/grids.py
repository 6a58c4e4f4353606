"""Makes tables of the ruling lines of a page: pdfplumber's geometry on what PDFium has read.

pdfplumber would read the page again with pdfminer, at fifty times the cost, to find the same.
"""

from collections.abc import Sequence
from typing import Any

from pdfplumber.table import (
    Table,
    cells_to_tables,
    edges_to_intersections,
    intersections_to_cells,
    merge_edges,
)
from pypdfium2 import PdfPage

from batchmill.operations.documents.page_objects import RulingLine

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in points from the upper left corner of the page as shown."""

TOLERANCE_PT = 3.0
"""How far lines may miss each other and still meet; pdfplumber's own value."""

_MOST_PAIRS = 1_000_000
_MOST_CORNERS = 4_000


class View:
    """Turns places on a page into places as shown (cropped, turned, from the top) and back."""

    def __init__(self, page: PdfPage) -> None:
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._turn = page.get_rotation()

    def shown(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the page is seen."""
        return {
            0: (x - self._left, self._top - y),
            90: (y - self._bottom, x - self._left),
            180: (self._right - x, y - self._bottom),
            270: (self._top - y, self._right - x),
        }[self._turn]

    def on_page(self, box: Box) -> Box:
        """Return left, bottom, right and top on the page of a box that is seen."""
        x0, y0, x1, y1 = box
        return {
            0: (self._left + x0, self._top - y1, self._left + x1, self._top - y0),
            90: (self._left + y0, self._bottom + x0, self._left + y1, self._bottom + x1),
            180: (self._right - x1, self._bottom + y0, self._right - x0, self._bottom + y1),
            270: (self._right - y1, self._top - x1, self._right - y0, self._top - x0),
        }[self._turn]


def grids_of(lines: Sequence[RulingLine], view: View) -> list[list[list[Box | None]]] | None:
    """Return the rows of cells of each table; None stands for a cell that another one covers.

    Returns None where there are too many lines to look at in a second or two.
    """
    edges = merge_edges([_edge(line, view) for line in lines], *[TOLERANCE_PT] * 4)
    edges = [edge for edge in edges if _length(edge) >= TOLERANCE_PT]
    level = sum(edge["orientation"] == "h" for edge in edges)
    if level * (len(edges) - level) > _MOST_PAIRS:
        return None
    corners = edges_to_intersections(edges, TOLERANCE_PT, TOLERANCE_PT)
    if len(corners) > _MOST_CORNERS:
        return None
    tables = cells_to_tables(intersections_to_cells(corners))
    no_page: Any = None  # a table asks its page for characters only
    return [[list(row.cells) for row in Table(no_page, cells).rows] for cells in tables]


def _edge(line: RulingLine, view: View) -> dict[str, Any]:
    """Return a line as pdfplumber's edge, made exactly straight."""
    (x0, y0), (x1, y1) = view.shown(line.x0, line.y0), view.shown(line.x1, line.y1)
    if abs(x1 - x0) > abs(y1 - y0):
        middle = (y0 + y1) / 2
        places = {"x0": min(x0, x1), "x1": max(x0, x1), "top": middle, "bottom": middle}
        return {**places, "width": abs(x1 - x0), "height": 0, "orientation": "h"}
    middle = (x0 + x1) / 2
    places = {"x0": middle, "x1": middle, "top": min(y0, y1), "bottom": max(y0, y1)}
    return {**places, "width": 0, "height": abs(y1 - y0), "orientation": "v"}


def _length(edge: dict[str, Any]) -> float:
    return float(max(edge["x1"] - edge["x0"], edge["bottom"] - edge["top"]))
