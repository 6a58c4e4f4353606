"""Output names: a path template filled with client text, made safe to join to a folder.

Whatever the template and the names hold, the answer is relative, has no `..`, no separators of
other systems, no control characters and no name that Windows reserves.
"""

import re
import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from pathlib import PurePosixPath

PART_BYTES = 200
"""How long one part of a path may be in UTF-8; file systems end at 255."""
DEPTH = 32
_FIELD = re.compile(r"\{(\w+)\}")
_SEPARATORS = re.compile(r"[/\\]+")
_DRIVE = re.compile(r"^[A-Za-z]:$")
_HOSTILE = re.compile(r'[<>:"|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the fields of a template stand for; `made` is the name that the child gave."""

    source: str
    made: str
    index: int = 1
    width: int | None = None
    height: int | None = None
    step: str = ""

    def fields(self) -> dict[str, str]:
        """Return the text of every field in `model.pipeline.OUTPUT_FIELDS`."""
        source = PurePosixPath(safe_path(self.source))
        made = PurePosixPath(safe_path(self.made))
        return {
            "dir": "" if str(source.parent) == "." else str(source.parent),
            "stem": made.stem,
            "ext": made.suffix.removeprefix("."),
            "name": source.name,
            "index": str(self.index),
            "w": str(self.width or 0),
            "h": str(self.height or 0),
            "step": self.step,
        }


def output_name(template: str, facts: Facts, taken: Container[str] = ()) -> str:
    """Return the relative path that `template` gives; `-2`, `-3` … keeps it out of `taken`.

    `taken` holds casefolded names, for file systems that ignore case.
    """
    fields = facts.fields()
    filled = _FIELD.sub(lambda match: fields.get(match[1], match[0]), template)
    return unique(safe_path(filled), taken)


def safe_path(text: str) -> str:
    """Return `text` as a relative path with forward slashes; "file" when nothing remains."""
    parts = [part for each in _SEPARATORS.split(text) if (part := _safe_part(each))]
    return "/".join(parts[:1] * (len(parts) > DEPTH) + parts[-DEPTH + 1 :]) or "file"


def unique(path: str, taken: Container[str]) -> str:
    """Return `path`, or the first numbered one that is not in `taken` (casefolded)."""
    if path.casefold() not in taken:
        return path
    pure = PurePosixPath(path)
    number = 2
    while (other := str(pure.with_stem(f"{pure.stem}-{number}"))).casefold() in taken:
        number += 1
    return other


def _safe_part(part: str) -> str:
    if _DRIVE.match(part):
        return ""
    text = unicodedata.normalize("NFC", part)
    text = "".join(_printable(character) for character in text)
    text = _HOSTILE.sub("_", text).strip(" ")
    text = _shortened(text).rstrip(". ")
    return f"_{text}" if _RESERVED.match(text) else text


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    return "_" if category in _UNPRINTABLE else " " if category == "Zs" else character


def _shortened(text: str) -> str:
    """Cut the stem, not the extension, to what a file system takes."""
    if len(text.encode()) <= PART_BYTES:
        return text
    pure = PurePosixPath(text)
    suffix = pure.suffix if len(pure.suffix.encode()) < PART_BYTES // 4 else ""
    room = PART_BYTES - len(suffix.encode())
    return text.removesuffix(suffix).encode()[:room].decode(errors="ignore") + suffix
