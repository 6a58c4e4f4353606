"""Analyse documents: what a PDF, a workbook, a CSV or a text holds, as data.

The facts are the item's data under `document`; whatever may be big (full text, rows, the
picture of the first page) is delivered as files beside them.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import PurePath
from typing import Any

from batchmill.errors.item import EmptyFileError, MisnamedFileError
from batchmill.model.media import (
    CSV,
    DOCUMENTS,
    ODS,
    PDF,
    TEXT,
    TSV,
    XLS,
    XLSB,
    XLSM,
    XLSX,
    Family,
    MediaType,
)
from batchmill.operations.contract import Transform, Work
from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.result import Document, Kind

Reader = Callable[[Document, AnalyzeOptions, Findings], Document]

_WORKBOOKS = (XLSX, XLSM, XLSB, XLS, ODS)
_KINDS: dict[MediaType, tuple[Kind, str, str]] = {
    PDF: ("pdf", "pdf", "read_pdf"),
    TEXT: ("text", "plain", "read_text"),
    **dict.fromkeys((CSV, TSV), ("table", "delimited", "read_delimited")),
    **dict.fromkeys(_WORKBOOKS, ("workbook", "workbook", "read_workbook")),
}
"""By type: the kind that is reported, and the module and function that read it."""

_BY_EXTENSION = {media.extension: media for media in DOCUMENTS}
_ALIKE = {frozenset({CSV, TSV}), frozenset({CSV, TEXT}), frozenset({TSV, TEXT})}


def analyze(work: Work, options: AnalyzeOptions) -> Work:
    """Return the work with the document's facts as data and its big parts as files.

    Raises:
        EmptyFileError: the file has no bytes.
        EncryptedFileError: it opens only with a password.
        MisnamedFileError: it is called a PDF or workbook and is plain text.
        UnreadableFileError: it is damaged.
        UnsafeFileError: it declares entities or unpacks beyond all measure.
        DocumentTooLargeError: a line, row or sheet is over its limit.
    """
    source, findings, began = work.source, Findings(work), time.perf_counter()
    if source.bytes == 0:
        raise EmptyFileError(source.name)
    _check_name(findings)
    kind, module, function = _KINDS[source.media]
    read: Reader = getattr(import_module(f"batchmill.operations.documents.{module}"), function)
    empty = Document(kind=kind, mime=source.media.mime, bytes=source.bytes, sha256="")
    document = read(empty, options, findings)
    findings.timings_ms["total"] = round((time.perf_counter() - began) * 1000, 3)
    work.report_progress(1.0)
    return _finished(work, document, findings)


def _finished(work: Work, document: Document, findings: Findings) -> Work:
    document = replace(
        document,
        limits_hit=tuple(findings.limits_hit),
        warnings=tuple(findings.warnings),
        timings_ms=dict(findings.timings_ms),
    )
    work = replace(
        work.with_data(document=document.to_json()), files=(*work.files, *findings.files)
    )
    return replace(work, warnings=(*work.warnings, *findings.warnings))


def _check_name(findings: Findings) -> None:
    """Refuse text that poses as a binary document; note other contradictions."""
    media = findings.work.source.media
    extension = PurePath(findings.name).suffix.lower().removeprefix(".")
    named = _BY_EXTENSION.get(extension)
    if named is None or named is media or frozenset({named, media}) in _ALIKE:
        return
    if media is TEXT:
        raise MisnamedFileError(findings.name, "plain text")
    findings.warn(f"the file is called .{extension} but holds {media.extension.upper()}")


OPERATION: Transform[Any] = Transform(
    name="analyze",
    summary="Tell what a PDF, workbook, CSV or text holds: text, tables, types, language.",
    version=1,
    accepts=frozenset({Family.DOCUMENT}),
    options=AnalyzeOptions,
    run=analyze,
)
