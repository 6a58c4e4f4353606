"""One attempt: one file through one pipeline.

    stage ─► segment ─► segment … ─► name the outputs ─► Finished
               │  transforms: in a child of the pool
               └─ remote call: here, on a copy that a child has made

The attempt's folder is emptied afterwards, however it ends: on failure and cancellation at once,
on success when the caller leaves `Finished`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from batchmill.attempt import naming, segments
from batchmill.attempt.context import AttemptContext
from batchmill.attempt.running import Made, Running, State
from batchmill.attempt.staging import InputFile
from batchmill.model.item import Output, Result
from batchmill.model.pipeline import Pipeline
from batchmill.sandbox.scratch import discard


@dataclass(frozen=True, slots=True)
class Finished:
    """A successful attempt. `files` lie in the order of `result.outputs` until it is left."""

    result: Result
    files: tuple[Path, ...]
    folder: Path
    release: Callable[[Path], None] = discard

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release(self.folder)


async def run_attempt(
    source: InputFile, pipeline: Pipeline, *, context: AttemptContext
) -> Finished:
    """Take one file through all steps; leave `Finished` with `async with` to empty its folder.

    The wall limit is the pipeline's `timeout_s`, or `Limits.wall_s`; waiting for a slot does
    not count.

    Raises:
        ItemError: the file can't be processed; `step` says where, `budget` what it costs.
        OutageError: something the attempt needs is away.
        UnknownNameError: a step names an operation that does not exist.
    """
    scratch = context.pool.scratch
    folder = scratch.lend()
    try:
        staged = folder / "source"
        await source.stage(staged)
        limit_s = pipeline.timeout_s or context.limits.wall_s
        state = State(staged, limit_s)
        running = Running(folder, source.name, context, limit_s, pipeline)
        for segment in segments.cut(pipeline, context.find):
            if not state.ended:
                state = await running.run(segment, state)
        outputs = _named(state.made, source.name, pipeline)
        files = state.files if state.made else ()
        return Finished(replace(state.result, outputs=outputs), files, folder, scratch.give_back)
    except BaseException:
        scratch.give_back(folder)
        raise


def _named(made: tuple[Made, ...], source: str, pipeline: Pipeline) -> tuple[Output, ...]:
    taken: set[str] = set()
    outputs = []
    for index, each in enumerate(made, start=1):
        facts = naming.Facts(
            source=source,
            made=each.output.name,
            index=index,
            width=each.output.width,
            height=each.output.height,
            step=pipeline.steps[-1].id,
        )
        name = naming.output_name(pipeline.output_path, facts, taken)
        taken.add(name.casefold())
        outputs.append(replace(each.output, name=name))
    return tuple(outputs)
