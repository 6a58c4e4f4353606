"""Output names: a path template filled with client text, made safe to join to a folder.

Whatever the template and the names hold, the answer is relative, has no `..`, no separators of
other systems, no control characters and no name that Windows reserves.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import PurePosixPath

from batchmill.model.filenames import label

DEPTH = 32
_FIELD = re.compile(r"\{(\w+)\}")
_HOSTILE = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


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
        folder, _, name = safe_path(self.source).rpartition("/")
        made = PurePosixPath(safe_path(self.made))
        return {
            "dir": folder,
            "stem": made.stem,
            "ext": made.suffix.removeprefix("."),
            "name": name,
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
    return unique(safe_path(filled.removeprefix("/")), taken)  # "/" alone is left of no {dir}


def safe_path(text: str) -> str:
    """Return `text` as a relative path that any system can write; "file" when nothing remains."""
    parts = [_portable(part) for part in label(text, unnamed="file").split("/")]
    return "/".join(parts[-DEPTH:])


def unique(path: str, taken: Container[str]) -> str:
    """Return `path`, or the first numbered one that is not in `taken` (casefolded)."""
    if path.casefold() not in taken:
        return path
    pure = PurePosixPath(path)
    number = 2
    while (other := str(pure.with_stem(f"{pure.stem}-{number}"))).casefold() in taken:
        number += 1
    return other


def _portable(part: str) -> str:
    text = _HOSTILE.sub("_", part).strip(" ").rstrip(". ") or "_"
    return f"_{text}" if _RESERVED.match(text) else text
