"""Reads plain text: counted and told by language, streamed."""

from dataclasses import replace

from batchmill.operations.documents.findings import Findings
from batchmill.operations.documents.options import AnalyzeOptions
from batchmill.operations.documents.prose import SAMPLE_CHARS, count_words, language_of
from batchmill.operations.documents.result import Document, TextCounts
from batchmill.operations.documents.survey import survey

_BLOCK_CHARS = 2**18
_SURVEY_SHARE = 0.5


def read_text(document: Document, options: AnalyzeOptions, findings: Findings) -> Document:
    """Return the document with its counts, encoding and language.

    Raises:
        UnreadableFileError: it holds binary data.
    """
    work = findings.work
    with findings.timed("survey"):
        seen = survey(findings, _SURVEY_SHARE)
    words = characters = 0
    start, inside = "", False
    with (
        findings.timed("text"),
        work.source.path.open("r", encoding=seen.encoding, errors="replace") as file,
    ):
        while block := file.read(_BLOCK_CHARS):
            start = start or block[:SAMPLE_CHARS]
            words += count_words(block) - (inside and not block[0].isspace())
            inside = not block[-1].isspace()
            characters += len(block)
    return replace(
        document,
        sha256=seen.sha256,
        encoding=seen.encoding,
        language=language_of(start) if options.language else None,
        text=TextCounts(words=words, characters=characters),
    )
