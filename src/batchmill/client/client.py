"""Client: AsyncClient for programs without an event loop.

    with Client("http://127.0.0.1:3001") as client:
        batch = client.submit(["a.jpg", "b.png"], "web")
        batch = client.wait(batch.id)
        client.download(batch.id, "results.zip")

It keeps one event loop in a thread of its own, so it works in notebooks too, and hands every call
to an `AsyncClient` there: each method does and raises what the one of the same name does.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from batchmill.client.async_client import DEFAULT_URL, AsyncClient
from batchmill.client.files import File, PipelineLike
from batchmill.client.transport import OnBytes
from batchmill.wire import requests, responses

if TYPE_CHECKING:
    from batchmill.client.anywhere import OnMove, Processed

R = TypeVar("R")


class Client:
    """A batchmill server. Callbacks are called in the client's own thread."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        fallback: Literal["local"] | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 180.0,
    ) -> None:
        self._client = AsyncClient(
            url,
            api_key=api_key,
            fallback=fallback,
            timeout_s=timeout_s,
            patience_s=patience_s,
        )
        self._opened = ExitStack()
        self._portal = self._opened.enter_context(start_blocking_portal())
        self._opened.callback(self._call, self._client.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread. Safe to call twice."""
        self._opened.close()

    # ------------------------------------------------------------ send

    def process(
        self,
        files: Iterable[File],
        pipeline: PipelineLike,
        *,
        output_dir: str | Path,
        on_move: "OnMove | None" = None,
    ) -> "Processed":
        """Send files, wait, and save the results below `output_dir`; `via` says who did it."""
        process = partial(self._client.process, output_dir=output_dir, on_move=on_move)
        return self._call(process, files, pipeline)

    def submit(
        self,
        files: Iterable[File],
        pipeline: PipelineLike,
        *,
        options: requests.BatchOptions | None = None,
        on_bytes: OnBytes | None = None,
    ) -> responses.Batch:
        """Send files, streamed from the disk, and start a batch."""
        submit = partial(self._client.submit, options=options, on_bytes=on_bytes)
        return self._call(submit, files, pipeline)

    def add(self, batch_id: str, files: Iterable[File], *, on_bytes: OnBytes | None = None) -> int:
        """Add files to a batch that was submitted with `keep_open`."""
        return self._call(partial(self._client.add, on_bytes=on_bytes), batch_id, files)

    def close_batch(self, batch_id: str) -> responses.Batch:
        """Take no more files: the batch ends once its items have."""
        return self._call(self._client.close_batch, batch_id)

    # ------------------------------------------------------------ look

    def find(self) -> None:
        """Look whether there is a server; five seconds without an answer are enough to say no."""
        self._call(self._client.find)

    def batch(self, batch_id: str) -> responses.Batch:
        """Look at a batch."""
        return self._call(self._client.batch, batch_id)

    def batches(
        self, *, status: str | None = None, tag: str | None = None
    ) -> Iterator[responses.Batch]:
        """Yield batches, newest first."""
        return self._each(self._client.batches(status=status, tag=tag))

    def items(
        self, batch_id: str, *, status: str | None = None, group: str | None = None
    ) -> Iterator[responses.Item]:
        """Yield a batch's items in the order sent, without their data."""
        return self._each(self._client.items(batch_id, status=status, group=group))

    def item(self, item_id: str) -> responses.Item:
        """Look at an item, its outputs and data."""
        return self._call(self._client.item, item_id)

    def failures(self, batch_id: str) -> list[responses.FailureGroup]:
        """Return the causes of a batch's failures, the most frequent first."""
        return self._call(self._client.failures, batch_id)

    def watch(self, batch_id: str) -> Iterator[responses.Batch]:
        """Yield the batch now and whenever it has changed, until it has ended."""
        return self._each(self._client.watch(batch_id))

    def wait(
        self, batch_id: str, *, on_change: Callable[[responses.Batch], None] | None = None
    ) -> responses.Batch:
        """Return the batch once it has ended."""
        return self._call(partial(self._client.wait, on_change=on_change), batch_id)

    # ------------------------------------------------------------ take

    def download(
        self, batch_id: str, target: str | Path, *, on_bytes: OnBytes | None = None
    ) -> Path:
        """Download all results of a batch that has ended as one ZIP, and return its path."""
        return self._call(partial(self._client.download, on_bytes=on_bytes), batch_id, target)

    def download_files(
        self, batch_id: str, folder: str | Path, *, on_bytes: OnBytes | None = None
    ) -> Iterator[tuple[responses.Item, Path]]:
        """Download the results one by one, yielding each path."""
        return self._each(self._client.download_files(batch_id, folder, on_bytes=on_bytes))

    def result_lines(self, batch_id: str) -> Iterator[responses.ResultLine]:
        """Yield the result of every item, with its data."""
        return self._each(self._client.result_lines(batch_id))

    # ------------------------------------------------------------ control

    def pause(self, batch_id: str) -> responses.Batch:
        """Start no more items; running ones finish."""
        return self._call(self._client.pause, batch_id)

    def resume(self, batch_id: str) -> responses.Batch:
        """Go on with a paused batch."""
        return self._call(self._client.resume, batch_id)

    def cancel(self, batch_id: str) -> responses.Batch:
        """End a batch: waiting items are cancelled, running ones stopped, results kept."""
        return self._call(self._client.cancel, batch_id)

    def retry(
        self, batch_id: str, *, group: str | None = None, ids: Iterable[str] | None = None
    ) -> responses.Retried:
        """Run failed items again: all, those of one failure group, or some by id."""
        return self._call(partial(self._client.retry, group=group, ids=ids), batch_id)

    # ------------------------------------------------------------ inside

    def _call(self, function: Callable[..., Awaitable[R]], *arguments: Any) -> R:  # noqa: ANN401
        """Run a coroutine function in the loop; an interrupt here cancels it there."""
        running = self._portal.start_task_soon(function, *arguments)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def _each(self, several: AsyncGenerator[R, None]) -> Iterator[R]:
        try:
            while True:
                try:
                    one = self._call(several.__anext__)
                except StopAsyncIteration:
                    return
                yield one
        finally:
            self._call(several.aclose)
