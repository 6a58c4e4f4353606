"""Cuts a pipeline into segments: transforms that share a child, and remote calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchmill.model.pipeline import Pipeline, Step
from batchmill.operations.contract import Operation, RemoteCall

FindOperation = Callable[[str], Operation]


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps that run in one place: all transforms, or one remote call."""

    number: int
    steps: tuple[Step, ...]
    call: RemoteCall[Any] | None = None

    @property
    def own_s(self) -> float | None:
        """How long the segment may run by its steps' `timeout_s`.

        A child ends itself when a step takes longer than its own; the parent's limit, which no
        child can escape, is their sum where every step has one.
        """
        times = [step.timeout_s for step in self.steps if step.timeout_s is not None]
        return sum(times) if len(times) == len(self.steps) else None

    def wall_s(self, remaining_s: float) -> float:
        """Return how long the segment may run when the attempt has `remaining_s` left."""
        return remaining_s if self.own_s is None else min(remaining_s, self.own_s)


def cut(pipeline: Pipeline, find: FindOperation) -> tuple[Segment, ...]:
    """Return the segments of a pipeline in order.

    Raises:
        UnknownNameError: a step names an operation that does not exist.
    """
    segments: list[Segment] = []
    together: list[Step] = []
    for step in pipeline.steps:
        operation = find(step.use)
        if not isinstance(operation, RemoteCall):
            together.append(step)
            continue
        if together:
            segments.append(Segment(len(segments) + 1, tuple(together)))
            together = []
        segments.append(Segment(len(segments) + 1, (step,), operation))
    if together:
        segments.append(Segment(len(segments) + 1, tuple(together)))
    return tuple(segments)
