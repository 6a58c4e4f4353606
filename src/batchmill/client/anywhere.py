"""Does a whole batch: on the server, or, when none answers and that is wanted, in this process."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from batchmill.client.endpoints import FileUpload
from batchmill.client.files import PipelineLike
from batchmill.client.transport import LATER
from batchmill.model.item import ItemStatus
from batchmill.wire import responses

if TYPE_CHECKING:
    from batchmill.local.results import ItemResult, Progress

Via = Literal["server", "local"]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one file; `paths` are its results in the output folder."""

    name: str
    status: ItemStatus
    paths: tuple[Path, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Processed:
    """A batch that has ended. `via` says who did it, `reason` why it was not the server."""

    via: Via
    files: tuple[Done, ...]
    batch_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a batch is."""

    via: Via
    total: int
    completed: int
    failed: int


OnMove = Callable[[Moved], None]
OnServer = Callable[[], Awaitable[Processed]]


async def process(
    sent: Sequence[FileUpload],
    pipeline: PipelineLike,
    *,
    on_server: OnServer,
    output_dir: Path,
    on_move: OnMove | None = None,
) -> Processed:
    """Let `on_server` do it, or this process when the server is away.

    Raises: as `AsyncClient.submit`; failed files are in the result.
    """
    try:
        return await on_server()
    except LATER as error:
        results = await _in_process(sent, pipeline, output_dir, on_move)
        return Processed("local", results, reason=f"{error.message} The work was done here.")


async def _in_process(
    files: Iterable[FileUpload], pipeline: PipelineLike, output_dir: Path, on_move: OnMove | None
) -> tuple[Done, ...]:
    from batchmill.local.process import process_batch

    def tell(progress: "Progress") -> None:
        if on_move is not None:
            on_move(Moved("local", progress.total, progress.completed, progress.failed))

    paths = [file.path for file in files]
    result = await process_batch(paths, pipeline, on_progress=tell, output_dir=output_dir)
    return tuple(_of_result(item) for item in result.items)


def teller(on_move: OnMove | None) -> Callable[[responses.Batch], None]:
    """Return what passes on how far a batch on a server is."""

    def tell(batch: responses.Batch) -> None:
        counts = batch.counts
        failed = counts.failed + counts.quarantined
        completed = failed + counts.completed + counts.skipped + counts.cancelled
        if on_move is not None:
            on_move(Moved("server", counts.total, completed, failed))

    return tell


def of_line(line: responses.ResultLine, saved: Mapping[str, list[Path]]) -> Done:
    """Say what became of a file on a server; `saved` are the results of each item."""
    return Done(
        name=line.input.path,
        status=line.status,
        paths=tuple(saved.get(line.item_id, ())),
        data=line.data,
        error=line.error.message if line.error else None,
    )


def _of_result(item: "ItemResult") -> Done:
    return Done(
        name=item.source.name,
        status=item.status,
        paths=tuple(file.path for file in item.files if file.path),
        data=item.data,
        error=item.error.message if item.error else None,
    )
