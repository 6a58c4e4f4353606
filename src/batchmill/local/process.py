"""The library: a batch of files through a pipeline in this process, without any server.

    result = await process_batch(["a.jpg", "b.png"], "web", output_dir="out")

A file is a path, bytes, a file object, or a name with any of these.

Files never fail together: what is wrong with one of them stands in its `ItemResult`.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from batchmill import logs
from batchmill.errors.request import EmptyBatchError
from batchmill.local.inputs import LocalInput
from batchmill.local.items import process_item
from batchmill.local.outputs import Folder, Memory
from batchmill.local.pipelines import limited, resolve
from batchmill.local.results import BatchResult, FirstOf, ItemResult, Progress
from batchmill.local.session import LocalSession, Rules, open_session
from batchmill.local.sources import Source, to_inputs
from batchmill.logs import Event
from batchmill.model.pipeline import Pipeline

P = ParamSpec("P")
R = TypeVar("R")

OnProgress = Callable[[Progress], Awaitable[object] | None]

CONCURRENCY = 5
TIMEOUT_S = 30.0
SMALL_MS = 50
"""A file that takes no longer is small: how fast its like go depends on what waits for them."""


class Run(Protocol):
    """Hands out the items of a run and hears what becomes of them."""

    async def next_item(self) -> LocalInput | None:
        """Return the item to begin now; None, for ever after, when there are no more."""

    async def ended(self, item: LocalInput, result: ItemResult) -> None:
        """Take a result. What this raises ends the run at once."""


async def process_batch(  # noqa: PLR0913 - the signature that reference document 003 asks for
    files: Iterable[Source],
    pipeline: Pipeline | Mapping[str, Any] | str,
    *,
    concurrency: int | None = None,
    timeout_s: float | None = None,
    retries: int | None = None,
    on_progress: OnProgress | None = None,
    output_dir: str | Path | None = None,
    strict: bool = False,
) -> BatchResult:
    """Process files, at most `concurrency` at once, and return one result for each, in order.

    A file is a path, bytes, a file object opened with 'rb', or a name with any of these; file
    objects are read from where they stand and are not closed.
    `pipeline` is a preset's name, the path of a TOML or JSON file, or its content. A file that
    takes longer than `timeout_s` is stopped and fails; one that fails for a reason that may
    pass (network, 429, 5xx, a crash) is tried again `retries` times, 1, 2, 4 … s later. What
    you leave out is as the pipeline says; where that says nothing: 5 files at once, 30 s, and
    1 retry. `retries` here holds for every step.
    `on_progress` is called after each file, on the event loop, one call after the other; what
    it returns is awaited where that is possible. The first exception that it raises is logged
    by asyncio; the batch goes on. Outputs are saved below `output_dir`, where nothing is
    overwritten; without one their bytes are in the results. When cancelled, no process and no
    temporary file stays.

    Raises:
        EmptyBatchError: there are no files.
        UnknownNameError, InvalidPipelineError, InvalidOptionError: the pipeline is wrong.
        UsageError: `output_dir` can't be written, or a file is nothing to read bytes from.
        ProcessingError: with `strict`, a file failed; it is the first in the order of the files.
    """
    inputs = to_inputs(files)
    if not inputs:
        raise EmptyBatchError
    asked = {"concurrency": concurrency, "timeout_s": timeout_s, "retries": retries}
    chosen = limited(resolve(pipeline), asked)
    chosen = replace(chosen, timeout_s=chosen.timeout_s or TIMEOUT_S)
    at_once = chosen.concurrency or CONCURRENCY
    folder = Path(output_dir) if output_dir else None
    outputs = Folder(folder) if folder else Memory()
    run = _Batch(inputs, on_progress)
    rules = Rules(concurrency=at_once, retries=retries)
    async with open_session(chosen, outputs, rules, output_dir=folder) as session:
        await process_items(run, session, concurrency=min(at_once, len(inputs)))
    result = run.result()
    logs.info(Event.BATCH_ENDED, items=len(inputs), failed=result.failed)
    if strict:
        result.raise_failed()
    return result


async def process_items(
    run: Run, session: LocalSession, *, concurrency: int, ahead: int = 0
) -> None:
    """Work on the items of a run, at most `concurrency` at once, until there are no more.

    While they are small, `ahead` more are under way, so that no child waits for its next one.
    """
    beside, is_small = 0, False

    async def work(*, is_beside: bool = False) -> None:
        nonlocal beside, is_small
        while (item := await run.next_item()) is not None:
            result = await process_item(item, session)
            is_small = result.run_ms <= SMALL_MS
            await run.ended(item, result)
            if is_small and beside < ahead:
                beside += 1
                group.create_task(work(is_beside=True))
            elif is_beside and not is_small:
                beside -= 1
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


class _Batch:
    """A batch whose files are all known; keeps every result."""

    def __init__(self, inputs: Sequence[LocalInput], on_progress: OnProgress | None) -> None:
        self._inputs = inputs
        self._waiting = iter(inputs)
        self._begun = 0
        self._failed = 0
        self._ended: list[ItemResult] = []
        self._by_input: dict[int, ItemResult] = {}
        self._on_progress = on_progress
        self._telling = asyncio.Lock()
        self._is_broken = False
        self._began = time.monotonic()

    async def next_item(self) -> LocalInput | None:
        item = next(self._waiting, None)
        self._begun += item is not None
        return item

    async def ended(self, item: LocalInput, result: ItemResult) -> None:
        self._ended.append(result)
        self._by_input[id(item)] = result
        self._failed += not result.ok
        if self._on_progress is not None:
            await self._tell(self._on_progress, self._progress(result))

    async def _tell(self, on_progress: OnProgress, progress: Progress) -> None:
        async with self._telling:
            try:
                answer = on_progress(progress)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:  # the caller's code, which ends nothing
                self._report(error)

    def _report(self, error: Exception) -> None:
        """Log the first error of `on_progress`, as asyncio does with those of other callbacks."""
        if self._is_broken:
            return
        self._is_broken = True
        message = "on_progress raised an exception; the batch goes on, later ones are not logged"
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    def result(self) -> BatchResult:
        """Return all results in the order of the inputs."""
        items = tuple(self._by_input[id(item)] for item in self._inputs)
        return BatchResult(items, time.monotonic() - self._began)

    def _progress(self, result: ItemResult) -> Progress:
        total, completed = len(self._inputs), len(self._ended)
        spent_s = time.monotonic() - self._began
        return Progress(
            total=total,
            completed=completed,
            successful=completed - self._failed,
            failed=self._failed,
            processing=self._begun - completed,
            pending=total - self._begun,
            current=result.source.name,
            result=result,
            results=FirstOf(self._ended, completed),
            eta_s=round(spent_s / completed * (total - completed), 1),
        )


def _run_to_end(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return asyncio.run(function(*args, **kwargs))

    return call


process_batch_sync = _run_to_end(process_batch)
"""`process_batch` for programs without an event loop."""
