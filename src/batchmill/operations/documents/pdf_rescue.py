"""Reads the text of PDFs that PDFium refuses, with pdfminer: slower, but it looks everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchmill.errors.item import UnreadableFileError
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.page_objects import PageObjects, PageRead

if TYPE_CHECKING:
    import pdfplumber


@contextmanager
def rescued_pages(findings: Findings) -> Iterator[tuple[int, Iterator[PageRead]]]:
    """Yield the number of pages and what can be read of them.

    Raises:
        UnreadableFileError: nothing can.
    """
    import pdfplumber
    from pdfplumber.utils.exceptions import PdfminerException

    try:
        with pdfplumber.open(findings.work.source.path) as pdf:
            if not pdf.pages:
                raise UnreadableFileError(findings.name, "it has no page that can be read")
            yield len(pdf.pages), map(_read, pdf.pages)
    except PdfminerException as error:
        reason = "it is damaged or no PDF"
        raise UnreadableFileError(findings.name, reason, detail=str(error)) from error


def _read(page: "pdfplumber.page.Page") -> PageRead:
    text = page.extract_text()
    objects = PageObjects(images=len(page.images))
    page.close()
    return PageRead(text, objects, (float(page.width), float(page.height)))
