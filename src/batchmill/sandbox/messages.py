"""What a worker and its child say to each other: one JSON object a line, never pickle.

worker ──► {"job": Job}
child  ──► {"ready": Sandbox} · {"progress": 0.4, "step": "resize"} · {"report": Report}
"""

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from batchmill.model.item import Output, SkipReason
from batchmill.model.limits import Limits
from batchmill.model.storable import storable

OUT = "out"
"""Folder, inside the job's, in which outputs are left."""


@dataclass(frozen=True, slots=True)
class JobStep:
    """One transform of a segment: `use` names the operation, `options` is complete.

    A step that takes longer than its `timeout_s` ends its child by SIGALRM.
    """

    use: str
    options: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    on_error: str = "fail"
    timeout_s: float | None = None
    condition: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One file and the transforms to run on it.

    `folder` is the only place where the child may write; outputs are left in `folder/out`.
    `source` lies outside of it and is read-only, for it may be a hard link to the stored file:
    an operation that keeps the original copies it. `name` is a label for messages and output
    names, never a path. `data` is what earlier steps found out. The report repeats `number`.

    With `original` no step is run: the source itself is the output, with as much of its
    metadata as the last of the steps that has an option `keep` asks for.
    """

    source: str
    folder: str
    name: str
    steps: tuple[JobStep, ...]
    limits: Limits = field(default_factory=Limits)
    tolerant: bool = False
    original: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    number: int = 0


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far the running step is, 0…1."""

    fraction: float
    step: str = ""


@dataclass(frozen=True, slots=True)
class ReportedError:
    """An error of the batch's file, as the child saw it. `detail` stays in the log.

    `keep_original` is what the steps that it belongs to say with `on_error`.
    """

    code: str
    message: str
    retryable: bool
    budget: str = "errors"
    step: str | None = None
    detail: str | None = None
    keep_original: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a job: an error, or outputs that lie in `folder/out` under their names."""

    outputs: tuple[Output, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: SkipReason | None = None
    step_ms: dict[str, float] = field(default_factory=dict)
    rss_bytes: int = 0
    error: ReportedError | None = None
    number: int = 0


def _fields(message: object) -> dict[str, Any]:
    """Return the fields of a message; `dataclasses.asdict` copies deeply and costs ten times it."""
    names: tuple[str, ...] = getattr(message, "__match_args__", ())
    if not names:
        raise TypeError(f"{type(message).__name__} has no JSON")
    return {name: getattr(message, name) for name in names}


_ENCODER = json.JSONEncoder(default=_fields, allow_nan=False, separators=(",", ":"))


def encode(kind: str, message: object) -> bytes:
    """Return one line: `{kind: message}`.

    Raises:
        TypeError, ValueError: the message holds something that has no JSON, such as NaN.
    """
    return _ENCODER.encode({kind: message}).encode() + b"\n"


def decode(line: bytes) -> tuple[str, Any]:
    """Return `(kind, message)` of one line, as plain JSON values.

    Raises:
        ValueError: the line is no JSON object with exactly one key.
    """
    parsed = json.loads(line.decode(), parse_constant=_refuse)
    if not isinstance(parsed, dict) or len(parsed) != 1:
        raise ValueError("not a message")
    return next(iter(parsed.items()))


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and infinity, which other readers of JSON don't know."""
    raise ValueError(constant)


def _output(**fields: Any) -> Output:  # noqa: ANN401 - the JSON border
    output = Output(**fields)
    if type(output.bytes) is not int or output.bytes < 0 or not isinstance(output.name, str):
        raise ValueError("not an output")
    return output


def job_from(body: dict[str, Any]) -> Job:
    """Rebuild a `Job` from its JSON."""
    steps = tuple(JobStep(**step) for step in body["steps"])
    return Job(**{**body, "steps": steps, "limits": Limits(**body["limits"])})


def report_from(body: dict[str, Any]) -> Report:
    """Rebuild a `Report` from its JSON; what it tells of the file can be stored.

    Raises:
        TypeError, ValueError, KeyError: the body is not a report.
    """
    error = body.get("error")
    skipped = body.get("skipped")
    return Report(
        outputs=tuple([_output(**each) for each in body["outputs"]]),
        data=dict(storable(body["data"])),
        warnings=tuple(storable(body["warnings"])),
        skipped=SkipReason(skipped) if skipped else None,
        step_ms=dict(body["step_ms"]),
        rss_bytes=int(body["rss_bytes"]),
        error=ReportedError(**storable(error)) if error else None,
        number=int(body["number"]),
    )
