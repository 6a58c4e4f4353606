"""Descriptions as stock agencies take them: the columns of Adobe Stock's CSV, one row a picture."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from batchmill.operations.vision.questions import CATEGORIES
from batchmill.operations.vision.reading import plain

COLUMNS: Final = ("Filename", "Title", "Keywords", "Category", "Releases")
TITLE_CHARACTERS: Final = 70
KEYWORDS: Final = 50


def row(path: str, described: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return a picture's row; None when there is no description.

    Titles lose their commas, which the agency does not take; the category becomes its number
    there, or nothing when it is none of the agency's.
    """
    title, keywords = described.get("title"), described.get("keywords")
    if not isinstance(title, str) or not isinstance(keywords, list):
        return None
    return (
        PurePosixPath(path).name,
        plain(title.replace(",", " "), TITLE_CHARACTERS),
        ", ".join(str(word).replace(",", " ") for word in keywords[:KEYWORDS]),
        _number(described.get("category")),
        "",
    )


def _number(category: object) -> str:
    return str(CATEGORIES.index(category) + 1) if category in CATEGORIES else ""
