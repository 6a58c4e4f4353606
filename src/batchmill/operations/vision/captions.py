"""Captions without a model: what a glance and the file's name tell, and no more than that."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from batchmill.operations.contract import Copy
from batchmill.operations.vision import reading
from batchmill.operations.vision.questions import (
    KEYWORD_CHARACTERS,
    TITLE_CHARACTERS,
)

_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_CAMERA_WORDS: Final = frozenset(
    {"img", "dsc", "dscf", "dscn", "image", "photo", "pict", "copy", "scan"}
)
_LEAST_WORDS: Final = 2


def caption(copy: Copy) -> dict[str, Any]:
    """Return the fields that a model would fill, marked as `source: heuristic`.

    Nothing is said of what the picture shows: nobody has looked at it.
    """
    seen = copy.data["glance"]
    words = _words(copy.name)
    colours = _joined(seen["colours"])
    title = reading.plain(" ".join(words), TITLE_CHARACTERS).capitalize() if words else ""
    looks = f"{seen['brightness']} picture in {seen['shape']} format, mostly {colours}"
    return {
        "title": title or f"{seen['shape'].capitalize()} picture, mostly {colours}",
        "description": f"{_article(looks)} {looks}.",
        "keywords": _keywords(words, seen),
        "category": "",
        "alt_text": f"{looks[:1].upper()}{looks[1:]}",
        "language": "en",
        "source": "heuristic",
    }


def _words(name: str) -> list[str]:
    """Return the words of a file's name, if a person seems to have chosen it."""
    found = _WORD.findall(reading.plain(PurePosixPath(name).stem, TITLE_CHARACTERS))
    words = [word for word in found if word.casefold() not in _CAMERA_WORDS]
    return words if len(words) >= _LEAST_WORDS else []


def _keywords(words: list[str], seen: Mapping[str, Any]) -> list[str]:
    lines = [*words, *seen["colours"], seen["shape"], seen["brightness"]]
    return list(dict.fromkeys(line.casefold()[:KEYWORD_CHARACTERS] for line in lines))


def _joined(colours: list[str]) -> str:
    *before, last = colours
    return f"{', '.join(before)} and {last}" if before else last


def _article(noun: str) -> str:
    return "An" if noun[:1] in "aeiou" else "A"
