"""Finds operations by name and checks the options of pipelines.

Cheap to import: an operation's module is loaded when it is asked for, and none of them loads
a decoder before it runs.
"""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from batchmill.errors.request import InvalidOptionError, UnknownNameError
from batchmill.model.pipeline import Pipeline, Step
from batchmill.operations.contract import Operation, Options, RemoteCall

GROUP = "batchmill.operations"

BUILTIN: Mapping[str, str] = {
    "analyze": "batchmill.operations.documents.analyze",
    "blur_faces": "batchmill.operations.faces.blur_faces",
    "compress": "batchmill.operations.images.compress",
    "convert": "batchmill.operations.images.convert",
    "crop": "batchmill.operations.images.crop",
    "describe": "batchmill.operations.vision.describe",
    "face_crop": "batchmill.operations.faces.face_crop",
    "glance": "batchmill.operations.vision.glance",
    "measure": "batchmill.operations.images.measure",
    "placeholder": "batchmill.operations.images.placeholder",
    "resize": "batchmill.operations.images.resize",
    "watermark": "batchmill.operations.images.watermark",
    "write_description": "batchmill.operations.vision.write_description",
}


def names() -> list[str]:
    """Return the name of every operation, our own and installed ones, sorted."""
    return sorted({*BUILTIN, *_installed()})


@cache
def get(name: str) -> Operation:
    """Return an operation.

    Raises:
        UnknownNameError: there is none of that name; the message names the nearest.
    """
    if name in BUILTIN:
        operation: Operation = import_module(BUILTIN[name]).OPERATION
        return operation
    if name in _installed():
        loaded: Operation = _installed()[name].load()
        return loaded
    raise UnknownNameError("operation", name, names())


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of an operation's options.

    Raises:
        UnknownNameError: there is no such operation.
    """
    model: type[Options] = get(name).options
    return model.model_json_schema()


def options(name: str, given: Mapping[str, Any]) -> Options:
    """Return an operation's options with every default filled in.

    Raises:
        UnknownNameError: there is no such operation.
        InvalidOptionError: an option is unknown or out of range.
    """
    model: type[Options] = get(name).options
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise InvalidOptionError(_sentence(name, model, error)) from error


def check(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline with complete options, the same for every way of writing them.

    Raises: as `options`.
    """
    return replace(pipeline, steps=tuple(_complete(step) for step in pipeline.steps))


def clients_needed(pipeline: Pipeline) -> frozenset[str]:
    """Return the names of the clients without which a checked pipeline can't run.

    Raises: as `options`.
    """
    found = set()
    for step in pipeline.steps:
        operation = get(step.use)
        if isinstance(operation, RemoteCall):
            found.add(operation.needs(options(step.use, step.options)))
    return frozenset(each for each in found if each is not None)


def allowed(model: type[Options], option: str) -> str:
    """Say in words what an option takes."""
    schema = model.model_json_schema()["properties"][option]
    return " or ".join(_one_kind(kind) for kind in schema.get("anyOf", [schema]))


def _complete(step: Step) -> Step:
    return replace(step, options=options(step.use, step.options).model_dump(mode="json"))


@cache
def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


# ---------------------------------------------------------------- messages


def _sentence(name: str, model: type[Options], error: ValidationError) -> str:
    """Say in plain words what is wrong with the first wrong option."""
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"] if str(part) in model.model_fields)
    if first["type"] == "extra_forbidden":
        return _unknown(name, str(first["loc"][0]), sorted(model.model_fields))
    if not option:
        return f"{name}: {_lower(first['msg'].removeprefix('Value error, '))}."
    given = repr(first["input"])[:60]
    return f"{name}: {option} can't be {given}; it must be {allowed(model, option)}."


def _unknown(name: str, option: str, known: list[str]) -> str:
    near = get_close_matches(option, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    return f"{name} has no option {option!r}. {hint}"


def _one_kind(kind: Mapping[str, Any]) -> str:
    if "enum" in kind:
        return "one of " + ", ".join(map(str, kind["enum"]))
    if "const" in kind:
        return str(kind["const"])
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "a text",
        "null": "left out",
    }
    text = words.get(str(kind.get("type")), f"of type {kind.get('type')}")
    low = kind.get("minimum", kind.get("exclusiveMinimum"))
    high = kind.get("maximum", kind.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f"{text} from {low:,} to {high:,}"
    return f"{text} from {low:,} up" if low is not None else text


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
