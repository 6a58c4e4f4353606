"""Plain text is counted and told by language."""

from pathlib import Path

import pytest

from batchmill.operations.documents.prose import count_words, language_of
from support.documents import analysed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("one", 1),
        (" one  two\nthree ", 3),
        ("東京タワー", 5),
        ("in 東京 now", 4),
        ("naïve café", 2),
    ],
)
def test_words_are_counted_as_word_processors_do(text: str, words: int) -> None:
    assert count_words(text) == words


def test_words_are_not_cut_where_blocks_are(tmp_path: Path) -> None:
    text = "several words " * 60_000
    assert analysed(tmp_path, text.encode()).document["text"] == {
        "pages": None,
        "words": 120_000,
        "characters": len(text),
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Der schnelle braune Fuchs springt über den faulen Hund am Ufer.", "de"),
        ("Le renard brun saute par-dessus le chien paresseux près de la rive.", "fr"),
        ("Hızlı kahverengi tilki nehir kıyısındaki tembel köpeğin üzerinden atlar.", "tr"),
        ("12 34 56", None),
        ("ok", None),
        ("", None),
        ("1 2 3 4 5 6 7 8 9 10.5% The yield was 184.30 million tons, 10.9% higher. 3 4 5", "en"),
    ],
)
def test_language_is_named_where_there_is_enough_text(text: str, code: str | None) -> None:
    found = language_of(text)
    assert (found and found.code) == code
