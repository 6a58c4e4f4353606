"""Named pipelines: ours from `presets/*.toml`, a user's own from TOML files of the same shape.

To add one, put a TOML file into `presets/`; its name is the file's name.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from batchmill.errors.request import InvalidPipelineError, UnknownNameError
from batchmill.model.pipeline import Pipeline, parse
from batchmill.operations.registry import check


def get(name: str, own: Path | None = None) -> Pipeline:
    """Return a preset's pipeline, its options checked and complete.

    `own` is a TOML file or a folder of them; it comes before ours of the same name.

    Raises:
        UnknownNameError: there is no such preset; the message names the nearest.
        InvalidPipelineError, InvalidOptionError: the preset is not a right pipeline.
    """
    bodies = _bodies(own)
    if name not in bodies:
        raise UnknownNameError("preset", name, sorted(bodies))
    return check(parse({**bodies[name], "name": name}))


def names(own: Path | None = None) -> list[str]:
    """Return the names of all presets, sorted."""
    return sorted(_bodies(own))


def summaries(own: Path | None = None) -> dict[str, str]:
    """Return one sentence for each preset, by name."""
    bodies = _bodies(own)
    return {name: str(bodies[name].get("summary", "")) for name in sorted(bodies)}


def _bodies(own: Path | None) -> Mapping[str, Mapping[str, Any]]:
    return {**_builtin(), **(_read(own) if own else {})}


@cache
def _builtin() -> Mapping[str, Mapping[str, Any]]:
    folder = files("batchmill.operations") / "presets"
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {
        entry.name.removesuffix(".toml"): tomllib.loads(entry.read_text("utf-8")) for entry in found
    }


def _read(own: Path) -> dict[str, Mapping[str, Any]]:
    paths = sorted(own.glob("*.toml")) if own.is_dir() else [own]
    return {path.stem: _parsed(path) for path in paths}


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidPipelineError(f"The preset file {path.name} can't be read: {error}") from error
