"""Finds the pipeline that a name, a file or a description means, and changes single options."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchmill.errors.request import InvalidOptionError, InvalidPipelineError, UnknownNameError
from batchmill.model.pipeline import Pipeline, Step, parse
from batchmill.operations import presets, registry

FORMAT_STEP = "convert"
"""Step that is appended when a format or quality is wanted and no step has that option."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a user wants otherwise: `settings` are `step.option=value` texts."""

    format: str | None = None
    quality: int | None = None
    settings: Sequence[str] = ()
    output_path: str | None = None


def resolve(wanted: Pipeline | Mapping[str, Any] | str, own: Path | None = None) -> Pipeline:
    """Return the pipeline with all options complete.

    `wanted` is a preset's name, the path of a TOML or JSON file, the decoded file, or a
    `Pipeline`; `own` is a folder of the user's own presets.

    Raises:
        UnknownNameError: there is no such preset, file or operation.
        InvalidPipelineError, InvalidOptionError: the pipeline makes no sense.
    """
    if isinstance(wanted, Pipeline):
        return registry.check(wanted)
    if isinstance(wanted, Mapping):
        return registry.check(parse(wanted))
    if Path(wanted).suffix in {".toml", ".json"}:
        return registry.check(parse(_read(Path(wanted))))
    return presets.get(wanted, own)


def changed(pipeline: Pipeline, changes: Changes) -> Pipeline:
    """Return the pipeline with other options, checked again.

    Raises: as `resolve`.
    """
    if changes.format is not None:
        pipeline = _with_option(pipeline, "format", changes.format)
    if changes.quality is not None:
        pipeline = _with_option(pipeline, "quality", changes.quality)
    for setting in changes.settings:
        pipeline = _with_setting(pipeline, setting)
    if changes.output_path is not None:
        body = {**pipeline.to_json(), "output": {"path": changes.output_path}}
        pipeline = parse(body)
    return registry.check(pipeline)


def limited(pipeline: Pipeline, asked: Mapping[str, Any]) -> Pipeline:
    """Return the pipeline with the fields that are asked for and not None, checked again.

    Raises:
        InvalidPipelineError: one is out of range.
    """
    return parse(
        pipeline.to_json() | {name: value for name, value in asked.items() if value is not None}
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise UnknownNameError("pipeline file", str(path), presets.names()) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidPipelineError(f"The pipeline file {path} can't be read: {error}") from error
    if not isinstance(body, Mapping):
        raise InvalidPipelineError(f"The pipeline file {path} must hold an object with `steps`.")
    return {"name": path.stem, **body}


def _with_option(pipeline: Pipeline, option: str, value: object) -> Pipeline:
    """Set an option in the last step that has it."""
    for place in reversed(range(len(pipeline.steps))):
        if option in registry.get(pipeline.steps[place].use).options.model_fields:
            return _with_value(pipeline, place, option, value)
    steps = (*pipeline.steps, Step(FORMAT_STEP, {option: value}, id=FORMAT_STEP))
    return replace(pipeline, steps=steps)


def parse_setting(setting: str) -> tuple[str, str, object]:
    """Read `step.option=value` into its three parts; the value is JSON where it can be.

    Raises:
        InvalidOptionError: it has another shape.
    """
    name, equals, value = setting.partition("=")
    step, dot, option = name.rpartition(".")
    if not (equals and dot and step and option):
        raise InvalidOptionError(f"{setting!r} is not of the form step.option=value.")
    try:
        return step, option, json.loads(value)
    except ValueError:
        return step, option, value


def _with_setting(pipeline: Pipeline, setting: str) -> Pipeline:
    step, option, value = parse_setting(setting)
    places = [n for n, each in enumerate(pipeline.steps) if step in {each.id, each.use}]
    if not places:
        known = [each.use for each in pipeline.steps]
        raise UnknownNameError(f"step in the pipeline {pipeline.name!r}", step, known)
    for place in places:
        pipeline = _with_value(pipeline, place, option, value)
    return pipeline


def _with_value(pipeline: Pipeline, place: int, option: str, value: object) -> Pipeline:
    step = pipeline.steps[place]
    steps = list(pipeline.steps)
    steps[place] = replace(step, options={**step.options, option: value})
    return replace(pipeline, steps=tuple(steps))
