"""Tells, before any work, which inputs already have a result in the output folder."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from batchmill.attempt.naming import Facts, output_name
from batchmill.local.inputs import LocalInput
from batchmill.model.pipeline import Pipeline
from batchmill.operations import registry

_UNKNOWN = "\u2042"
"""Stands for what only the work will tell: the size of a picture, the format `auto` takes."""
_EXTENSIONS = {"jpeg": "jpg", "jpe": "jpg", "tif": "tiff", "heif": "heic"}


class ExistingResults:
    """The files of an output folder; each of its folders is listed once."""

    def __init__(self, root: Path, pipeline: Pipeline) -> None:
        self._root = root
        self._pipeline = pipeline
        self._format = _format(pipeline)
        self._seen: Counter[str] = Counter()
        self._listed: dict[str, Mapping[str, list[str]]] = {}

    def of(self, items: Iterable[LocalInput]) -> dict[str, str]:
        """Return, by the input's key, the existing result of every input that has one.

        To be called once, with all inputs in order: of two that give the same name, the result
        of the second ends in -2.
        """
        pairs = ((item.key, self._result(item)) for item in items)
        return {key: found for key, found in pairs if found}

    def _result(self, item: LocalInput) -> str | None:
        for expected in (self._expected(item), f"{item.name}.json"):
            path = PurePosixPath(expected)
            self._seen[expected.casefold()] += 1
            number = self._seen[expected.casefold()]
            found = self._find(path if number == 1 else path.with_stem(f"{path.stem}-{number}"))
            if found:
                return str(path.parent / found)
        return None

    def _expected(self, item: LocalInput) -> str:
        source = PurePosixPath(item.name)
        suffix = source.suffix.lower().removeprefix(".")
        extension = self._format or _EXTENSIONS.get(suffix, suffix)
        made = f"{source.stem}.{extension}"
        facts = Facts(source=item.name, made=made, step=self._pipeline.steps[-1].id)
        template = self._pipeline.output_path
        return output_name(template.replace("{w}", _UNKNOWN).replace("{h}", _UNKNOWN), facts)

    def _find(self, path: PurePosixPath) -> str | None:
        names = self._list(str(path.parent))
        if _UNKNOWN not in path.stem:
            same_stem = names.get(path.stem.casefold(), [])
            return next((name for name in same_stem if _fits(path.name, name)), None)
        each = (name for several in names.values() for name in several)
        return next((name for name in each if _fits(path.name, name)), None)

    def _list(self, folder: str) -> Mapping[str, list[str]]:
        if folder not in self._listed:
            by_stem: dict[str, list[str]] = defaultdict(list)
            with suppress(OSError):
                for path in (self._root / folder).iterdir():
                    by_stem[path.stem.casefold()].append(path.name)
            self._listed[folder] = by_stem
        return self._listed[folder]


def _fits(expected: str, name: str) -> bool:
    if _UNKNOWN not in expected:
        return name.casefold() == expected.casefold()
    parts = map(re.escape, expected.split(_UNKNOWN))
    return re.fullmatch(r"\w+".join(parts), name, re.IGNORECASE) is not None


def _format(pipeline: Pipeline) -> str | None:
    """Return the extension that all results have, None where it is the source's."""
    for step in reversed(pipeline.steps):
        options = registry.get(step.use).options
        wanted = step.options.get("format")
        if "format" in options.model_fields and wanted:
            return _UNKNOWN if wanted == "auto" else _EXTENSIONS.get(str(wanted), str(wanted))
    return None
