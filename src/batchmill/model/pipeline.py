"""A pipeline: an ordered list of steps, each naming an operation with its options.

As JSON or TOML: `{"name": "shop", "steps": [{"use": "resize", "with": {"width": 1024}}]}`.
Whether operations and options exist is checked by `operations.registry`; here only the shape.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from batchmill.errors.request import InvalidPipelineError, UnknownFieldError

DEFAULT_OUTPUT_PATH = "{dir}/{stem}.{ext}"
OUTPUT_FIELDS = frozenset({"dir", "stem", "ext", "name", "index", "w", "h", "step"})
MAX_STEPS = 20


class OnError(StrEnum):
    """What a failing step means for its item."""

    FAIL = "fail"
    SKIP = "skip"
    KEEP_ORIGINAL = "keep_original"


@dataclass(frozen=True, slots=True)
class Condition:
    """When a step runs: every bound that is set must hold for the source file."""

    types: tuple[str, ...] = ()
    min_bytes: int | None = None
    max_bytes: int | None = None
    min_width: int | None = None
    min_height: int | None = None

    def bounds(self) -> dict[str, Any]:
        """Return the bounds that are set, as JSON has them; 0 is a bound too."""
        types = {"types": list(self.types)} if self.types else {}
        numbers = {name: getattr(self, name) for name in sorted(_CONDITION_FIELDS - {"types"})}
        return types | {name: bound for name, bound in numbers.items() if bound is not None}


@dataclass(frozen=True, slots=True)
class Step:
    """One operation with its options; its `timeout_s` and `retries` hold for this step alone."""

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    timeout_s: float | None = None
    retries: int | None = None
    on_error: OnError = OnError.FAIL
    condition: Condition = field(default_factory=Condition)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps in the order in which they run, and the template of the output's path."""

    name: str
    steps: tuple[Step, ...]
    output_path: str = DEFAULT_OUTPUT_PATH
    timeout_s: float | None = None
    retries: int | None = None
    concurrency: int | None = None
    family: str = "images"
    tolerant: bool = False

    def retries_in(self, step_id: str | None) -> int | None:
        """Return how often a failure in a step is tried again; None where nothing is said.

        A failure that belongs to no single step, as one while the result is written, counts by
        what all steps say; where they differ, by the pipeline's `retries`.
        """
        steps = [step for step in self.steps if step.id == step_id] or self.steps
        said = {step.retries for step in steps}
        own = said.pop() if len(said) == 1 else None
        return self.retries if own is None else own

    def to_json(self) -> dict[str, Any]:
        """Return the shape that `parse` reads; fields at their default may be left out."""
        body: dict[str, Any] = {"name": self.name, "steps": [_step_json(s) for s in self.steps]}
        body["output"] = {"path": self.output_path}
        limits = {"timeout_s": self.timeout_s, "retries": self.retries}
        limits["concurrency"] = self.concurrency
        body["family"] = self.family
        if self.tolerant:
            body["tolerant"] = True
        return body | {key: value for key, value in limits.items() if value is not None}

    def digest(self) -> str:
        """Return a sha256 that changes with anything that could change a result's bytes or data.

        Its name, limits and retries are no part of it.
        """
        steps: Any = [
            {name: value for name, value in _step_json(step).items() if name not in _EFFORT}
            for step in self.steps
        ]
        whole = {"steps": steps, "tolerant": True} if self.tolerant else steps
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def parse(body: Mapping[str, Any]) -> Pipeline:
    """Read a pipeline from decoded JSON or TOML.

    Raises:
        InvalidPipelineError: a field is missing, unknown or of the wrong shape; the message
            names the nearest known field.
    """
    _known("The pipeline", body, _PIPELINE_FIELDS)
    steps = _expect(body.get("steps"), list, "The pipeline needs `steps`, a list of operations")
    if not 0 < len(steps) <= MAX_STEPS:
        raise InvalidPipelineError(f"A pipeline has 1 to {MAX_STEPS} steps, not {len(steps)}.")
    output = _expect(body.get("output", {}), Mapping, "`output` must be an object")
    _known("`output`", output, {"path"})
    return Pipeline(
        name=_text(body.get("name", "custom"), "The pipeline's `name`"),
        steps=tuple(_step(each, number) for number, each in enumerate(steps, start=1)),
        output_path=_output_path(output.get("path", DEFAULT_OUTPUT_PATH)),
        timeout_s=_positive(body.get("timeout_s"), "`timeout_s`"),
        retries=_count(body.get("retries"), "`retries`"),
        concurrency=_count(body.get("concurrency"), "`concurrency`", least=1),
        family=_text(body.get("family", "images"), "The pipeline's `family`"),
        tolerant=_flag(body.get("tolerant", False), "`tolerant`"),
    )


def with_options(
    body: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, Any]:
    """Return a pipeline's JSON with options of some steps replaced, named by id or operation."""
    if not changes:
        return dict(body)
    steps = [_changed(step, changes) for step in body["steps"]]
    return {**body, "steps": steps}


def _changed(
    step: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    change = {**changes.get(step["use"], {}), **changes.get(step["id"], {})}
    return {**step, "with": {**step.get("with", {}), **change}} if change else step


_PIPELINE_FIELDS = frozenset(
    {
        "name",
        "steps",
        "output",
        "timeout_s",
        "retries",
        "concurrency",
        "family",
        "tolerant",
        "summary",
    }
)
_STEP_FIELDS = frozenset({"use", "with", "id", "timeout_s", "retries", "on_error", "if"})
_EFFORT = frozenset({"timeout_s", "retries"})
_CONDITION_FIELDS = frozenset({"types", "min_bytes", "max_bytes", "min_width", "min_height"})


def _step(body: object, number: int) -> Step:
    where = f"Step {number}"
    fields: Mapping[str, Any] = _expect(body, Mapping, f"{where} must be an object with `use`")
    _known(where, fields, _STEP_FIELDS)
    use = _text(fields.get("use"), f"{where}: `use`, the name of an operation,")
    return Step(
        use=use,
        options=dict(
            _expect(fields.get("with", {}), Mapping, f"{where}: `with` must be an object")
        ),
        id=_text(fields.get("id", f"{number}-{use}"), f"{where}: `id`"),
        timeout_s=_positive(fields.get("timeout_s"), f"{where}: `timeout_s`"),
        retries=_count(fields.get("retries"), f"{where}: `retries`"),
        on_error=_on_error(fields.get("on_error", OnError.FAIL), where),
        condition=_condition(fields.get("if", {}), where),
    )


def _step_json(step: Step) -> dict[str, Any]:
    body: dict[str, Any] = {"use": step.use, "with": dict(step.options)}
    if step.id:
        body["id"] = step.id
    if step.on_error is not OnError.FAIL:
        body["on_error"] = step.on_error.value
    condition = step.condition.bounds()
    extra = {"timeout_s": step.timeout_s, "retries": step.retries, "if": condition or None}
    return body | {key: value for key, value in extra.items() if value is not None}


def _condition(body: object, where: str) -> Condition:
    fields: Mapping[str, Any] = _expect(body, Mapping, f"{where}: `if` must be an object")
    _known(f"{where}: `if`", fields, _CONDITION_FIELDS)
    types = _expect(fields.get("types", []), list | tuple, f"{where}: `if.types` must be a list")
    bounds = {
        name: _count(fields.get(name), f"{where}: `if.{name}`")
        for name in sorted(_CONDITION_FIELDS - {"types"})
    }
    return Condition(types=tuple(map(str, types)), **bounds)


def _on_error(value: object, where: str) -> OnError:
    if value not in set(OnError):
        raise InvalidPipelineError(f"{where}: `on_error` is one of {', '.join(OnError)}.")
    return OnError(str(value))


def _output_path(value: object) -> str:
    template = _text(value, "`output.path`")
    for name in re.findall(r"\{(.*?)\}", template):
        if name not in OUTPUT_FIELDS:
            known = ", ".join(f"{{{each}}}" for each in sorted(OUTPUT_FIELDS))
            raise InvalidPipelineError(f"`output.path` may use only {known}.")
    return template


def _known(where: str, body: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in body:
        if name not in set(known):
            raise UnknownFieldError(where, str(name), sorted(known))


def _expect(value: object, kind: Any, sentence: str) -> Any:  # noqa: ANN401 - JSON border
    if not isinstance(value, kind):
        raise InvalidPipelineError(f"{sentence}.")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:  # noqa: PLR2004
        raise InvalidPipelineError(f"{what} must be a text of 1 to 200 characters.")
    return value


def _positive(value: object, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:  # noqa: PLR2004
        raise InvalidPipelineError(f"{what} must be a number of seconds above 0, at most 86400.")
    return float(value)


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidPipelineError(f"{what} must be true or false.")
    return value


def _count(value: object, what: str, *, least: int = 0) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidPipelineError(f"{what} must be a whole number from {least} up.")
    return value
