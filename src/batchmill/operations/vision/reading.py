"""Reads a model's answer: lenient about its wrapping, strict about what is kept of it."""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from batchmill.errors.item import ModelAnswerError
from batchmill.operations.vision import questions

_FENCE: Final = re.compile(r"```(?:json|JSON)?(.+?)```", re.DOTALL)
"""Nothing in it may match the same characters in two ways: it would try all the places between."""
_OPENINGS_TRIED: Final = 50
_LOOKED_AT: Final = 4
"""Times as much of a text is looked at as is kept: ordering accents takes the square of it."""
_BETWEEN_LETTERS: Final = frozenset("\u200c\u200d")
"""Joiners: invisible, but Persian, Indic scripts and emoji are wrong without them."""
_OTHER_NAMES: Final = {"alt_text": ("altText", "alt")}


def description(text: str, *, name: str, keywords: int) -> dict[str, Any]:
    """Return title, description, keywords, category and alt text, each within its length.

    `name` is the file's; no more than `keywords` keywords are kept.

    Raises:
        ModelAnswerError: the text holds no JSON object, or a field is missing or empty.
    """
    found = _object_in(text)
    if found is None:
        raise ModelAnswerError(name, "it holds no JSON object")
    return {
        "title": _text(found, "title", name, questions.TITLE_CHARACTERS),
        "description": _text(found, "description", name, questions.DESCRIPTION_CHARACTERS),
        "keywords": _keywords(found, name)[:keywords],
        "category": _category(_text(found, "category", name, questions.CATEGORY_CHARACTERS)),
        "alt_text": _text(found, "alt_text", name, questions.ALT_TEXT_CHARACTERS),
    }


def plain(text: str, most: int) -> str:
    """Return one line without control or invisible characters, cut after a word if too long."""
    normal = unicodedata.normalize("NFC", text.strip()[: most * _LOOKED_AT])
    kept = "".join(each if _is_visible(each) else " " for each in normal)
    line = " ".join(kept.split())
    if len(line) <= most:
        return line
    cut = line[: most - 1]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,.;:-") + "…"


def _is_visible(character: str) -> bool:
    """Tell whether a character may stay: no control, no direction override, no half surrogate."""
    return character in _BETWEEN_LETTERS or not unicodedata.category(character).startswith("C")


def _object_in(text: str) -> Mapping[str, Any] | None:
    """Return the JSON object in a text that looks like an answer, else the first there is."""
    first = None
    for candidate in _candidates(text):
        try:
            found, _ = _DECODER.raw_decode(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and "title" in found:
            return found
        first = first or (found if isinstance(found, dict) else None)
    return first


def _candidates(text: str) -> Iterator[str]:
    yield text.strip()
    for fenced in _FENCE.findall(text)[:_OPENINGS_TRIED]:
        yield fenced.strip()
    for opening in list(re.finditer(r"\{", text))[:_OPENINGS_TRIED]:
        yield text[opening.start() :]


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def _text(found: Mapping[str, Any], field: str, name: str, most: int) -> str:
    value = _value(found, field)
    line = plain(value, most) if isinstance(value, str) else ""
    if not line:
        raise ModelAnswerError(name, f"its {field} is missing or no text")
    return line


def _value(found: Mapping[str, Any], field: str) -> object:
    names = (field, *_OTHER_NAMES.get(field, ()))
    return next((found[each] for each in names if each in found), None)


def _keywords(found: Mapping[str, Any], name: str) -> list[str]:
    """Return keywords, each once; models that write one line with commas mean a list too."""
    value = _value(found, "keywords")
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list):
        raise ModelAnswerError(name, "its keywords are missing or no list")
    lines = [plain(word, questions.KEYWORD_CHARACTERS) for word in words if isinstance(word, str)]
    kept: dict[str, str] = {}
    for line in filter(None, lines):
        kept.setdefault(line.casefold(), line)
    if not kept:
        raise ModelAnswerError(name, "its keywords are missing or no list")
    return list(kept.values())


def _category(line: str) -> str:
    known = {each.casefold(): each for each in questions.CATEGORIES}
    return known.get(line.casefold(), line)
