"""Words and language of running text."""

import re
from functools import cache
from typing import TYPE_CHECKING

from batchmill.operations.documents.result import Language

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE_CHARS = 20_000
"""More text makes the detector no surer."""

LEAST_CONFIDENCE = 0.5
"""What running text needs; cells of a table mislead, and need `TABLE_CONFIDENCE`."""

TABLE_CONFIDENCE = 0.8

_LEAST_LETTERS = 20
_NOT_LETTERS = re.compile(r"[\d\W_]+")
_NO_LANGUAGE = "zxx"
# Scripts written without spaces, in which each character counts as a word: kana, han.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def count_words(text: str) -> int:
    """Count words as word processors do: between spaces, and each Chinese or Japanese character."""
    return len(text.split() if text.isascii() else _UNSPACED.sub(" x ", text).split())


def language_of(text: str, *, least: float = LEAST_CONFIDENCE) -> Language | None:
    """Name the language of a text; None when there is too little of it, or it is unclear.

    Unclear is a confidence below `least` (0…1). Digits and marks are left out: full of them,
    English passes for Volapük.
    """
    sample = _NOT_LETTERS.sub(" ", text[:SAMPLE_CHARS])
    if len(sample) - sample.count(" ") < _LEAST_LETTERS:
        return None
    code, confidence = _identifier().classify(sample)
    if confidence < least or code == _NO_LANGUAGE:
        return None
    return Language(code, round(float(confidence), 3))


@cache
def _identifier() -> "LanguageIdentifier":
    """Load the model once a process: unpacking it takes half a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
