"""Draws the first page of a PDF small."""

from pathlib import Path

from pypdfium2 import PdfDocument, PdfiumError

from batchmill.operations.documents.page_objects import objects_of

_QUALITY = 80


def draw(pdf: PdfDocument, path: Path, side_px: int, most_pixels: int) -> bool:
    """Write the first page to `path`, its longest side `side_px`; the format is the extension's.

    Returns False where there is no page to draw, or one whose pictures are over `most_pixels`.
    """
    try:
        page = pdf[0]
    except PdfiumError:
        return False
    try:
        longest = max(page.get_size())
        if longest <= 0 or objects_of(page).largest_image_pixels > most_pixels:
            return False
        bitmap = page.render(scale=side_px / longest, rev_byteorder=True)
        image = bitmap.to_pil()
        image.thumbnail((side_px, side_px))
        image.save(path, format=path.suffix[1:].upper(), quality=_QUALITY)
        bitmap.close()
    finally:
        page.close()
    return True
