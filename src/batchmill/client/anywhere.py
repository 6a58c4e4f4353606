"""Does a whole batch: on the server, or, when none answers and that is wanted, in this process."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from batchmill.client.async_client import AsyncClient
from batchmill.client.endpoints import FileUpload
from batchmill.client.files import File, PipelineLike, uploads
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


async def process(
    client: AsyncClient,
    files: Iterable[File],
    pipeline: PipelineLike,
    *,
    output_dir: str | Path,
    on_move: OnMove | None = None,
) -> Processed:
    """Send files, wait, and save the results below `output_dir`.

    With `fallback="local"` the same pipeline runs in this process when there is no server, or
    none any more for longer than the client's patience.

    Raises: as `AsyncClient.submit`; failed files are in the result.
    """
    sent = uploads(files)
    folder = Path(output_dir)
    on_server = partial(_on_server, client, sent, pipeline, folder=folder, on_move=on_move)
    if client.fallback != "local":
        return await on_server()
    try:
        await client.find()
        return await on_server()
    except LATER as error:
        results = await _in_process(sent, pipeline, folder, on_move)
        return Processed("local", results, reason=f"{error.message} The work was done here.")


async def _on_server(
    client: AsyncClient,
    files: Sequence[FileUpload],
    pipeline: PipelineLike,
    *,
    folder: Path,
    on_move: OnMove | None,
) -> Processed:
    batch = await client.submit(files, pipeline)
    ended = await client.wait(batch.id, on_change=_teller(on_move))
    saved: dict[str, list[Path]] = {}
    async for item, path in client.download_files(ended.id, folder):
        saved.setdefault(item.id, []).append(path)
    done = [_of_line(line, saved) async for line in client.result_lines(ended.id)]
    return Processed("server", tuple(done), batch_id=ended.id)


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


def _teller(on_move: OnMove | None) -> Callable[[responses.Batch], None]:
    def tell(batch: responses.Batch) -> None:
        counts = batch.counts
        failed = counts.failed + counts.quarantined
        completed = failed + counts.completed + counts.skipped + counts.cancelled
        if on_move is not None:
            on_move(Moved("server", counts.total, completed, failed))

    return tell


def _of_line(line: responses.ResultLine, saved: Mapping[str, list[Path]]) -> Done:
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
