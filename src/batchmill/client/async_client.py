"""AsyncClient: send files to a batchmill server, watch, take the results.

    async with AsyncClient("http://127.0.0.1:3001") as client:
        batch = await client.submit(["a.jpg", "b.png"], "web")
        batch = await client.wait(batch.id)
        await client.download(batch.id, "results.zip")

Requests that change something carry a key that makes the server act once, so they are sent again
when a connection breaks; a server that restarts in the middle is waited for.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal, Self, TypeVar

from pydantic import BaseModel

from batchmill.client import anywhere, downloads, endpoints, events
from batchmill.client.anywhere import OnMove, Processed
from batchmill.client.endpoints import FileUpload, Request
from batchmill.client.files import File, PipelineLike, chunks, description, uploads
from batchmill.client.transport import OnBytes, Patience, Server, Transport
from batchmill.errors.base import BatchmillError
from batchmill.errors.outage import OutageError, ServerUnreachableError
from batchmill.errors.request import (
    EmptyBatchError,
    InvalidFieldError,
    NotFoundError,
    TooLargeError,
    UnknownPathError,
)
from batchmill.model.filenames import label
from batchmill.wire import requests, responses, system

M = TypeVar("M", bound=BaseModel)

DEFAULT_URL = "http://127.0.0.1:3001"
PAGE = "500"
POLL_S = 0.5
POLL_MOST_S = 5.0

Follow = Callable[[str, responses.Batch | None], AsyncGenerator[responses.Batch, None]]


class AsyncClient:
    """A batchmill server, for programs with an event loop.

    `api_key` is not needed on the machine of the server itself. A server that has answered once
    is waited for up to `patience_s` when it is away. With `fallback="local"`, `process` does the
    work in this process when no server answers.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        fallback: Literal["local"] | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 180.0,
    ) -> None:
        self.url = url.rstrip("/")
        self.fallback = fallback
        self._transport = Transport(Server(self.url, api_key, timeout_s, patience_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    # ------------------------------------------------------------ send

    async def submit(
        self,
        files: Iterable[File],
        pipeline: PipelineLike,
        *,
        options: requests.BatchOptions | None = None,
        on_bytes: OnBytes | None = None,
    ) -> responses.Batch:
        """Send files, streamed from the disk, and start a batch.

        More files than one request takes are sent in several; work begins with the first. A ZIP
        becomes one item per entry. `pipeline` is a preset's name, a description, or the path of a
        TOML or JSON file. `on_bytes` hears of bytes as they leave, negative ones when some have
        to be sent again.

        Raises:
            EmptyBatchError, InputMissingError, UnreadableFileError: of the files.
            RequestError: what the server refuses; nothing is left running. Single files over
                its limit are not refused, but fail as items.
            ServerUnreachableError: there is no server.
        """
        chosen = options or requests.BatchOptions()
        sent = uploads(files)
        if not sent and not chosen.keep_open:
            raise EmptyBatchError
        first, *rest = list(chunks(sent)) or [[]]
        opened = chosen.model_copy(update={"keep_open": bool(rest) or chosen.keep_open})
        request = endpoints.new_batch(description(pipeline), opened, first)
        batch = await self._send(responses.Batch, request, on_bytes)
        if not rest:
            return batch
        try:
            for chunk in rest:
                await self.add(batch.id, chunk, on_bytes=on_bytes)
        except BaseException:
            with suppress(BatchmillError):
                await asyncio.shield(self.cancel(batch.id))
            raise
        return batch if chosen.keep_open else await self.close_batch(batch.id)

    async def add(
        self, batch_id: str, files: Iterable[File], *, on_bytes: OnBytes | None = None
    ) -> int:
        """Add files to a batch that was submitted with `keep_open`; return how many items."""
        added = 0
        for chunk in chunks(uploads(files)):
            request = endpoints.more_files(batch_id, chunk)
            added += (await self._send(responses.Added, request, on_bytes)).added
        return added

    async def close_batch(self, batch_id: str) -> responses.Batch:
        """Take no more files: the batch ends once its items have."""
        return await self._ask(responses.Batch, endpoints.order(batch_id, "close"))

    async def process(
        self,
        files: Iterable[File],
        pipeline: PipelineLike,
        *,
        output_dir: str | Path,
        on_move: OnMove | None = None,
    ) -> Processed:
        """Send files, wait, and save the results below `output_dir`; `via` says who did it.

        Raises: as `submit`. Failed files are in the result.
        """
        sent, folder = uploads(files), Path(output_dir)

        async def on_server() -> Processed:
            if self.fallback == "local":
                await self.find()
            return await self._process_on_server(sent, pipeline, folder, on_move)

        if self.fallback != "local":
            return await on_server()
        return await anywhere.process(
            sent, pipeline, on_server=on_server, output_dir=folder, on_move=on_move
        )

    async def _process_on_server(
        self,
        files: Sequence[FileUpload],
        pipeline: PipelineLike,
        folder: Path,
        on_move: OnMove | None,
    ) -> Processed:
        batch = await self.submit(files, pipeline)
        ended = await self.wait(batch.id, on_change=anywhere.teller(on_move))
        saved: dict[str, list[Path]] = {}
        async for item, path in self.download_files(ended.id, folder):
            saved.setdefault(item.id, []).append(path)
        done = [anywhere.of_line(line, saved) async for line in self.result_lines(ended.id)]
        return Processed("server", tuple(done), batch_id=ended.id)

    # ------------------------------------------------------------ look

    async def batch(self, batch_id: str) -> responses.Batch:
        """Look at a batch."""
        return await self._ask(responses.Batch, endpoints.batch(batch_id))

    async def batches(
        self, *, status: str | None = None, tag: str | None = None
    ) -> AsyncGenerator[responses.Batch, None]:
        """Yield batches, newest first."""
        async for page in self._pages(
            responses.Page[responses.Batch],
            lambda at: endpoints.batches(status=status, tag=tag, cursor=at),
        ):
            for batch in page.data:
                yield batch

    async def items(
        self, batch_id: str, *, status: str | None = None, group: str | None = None
    ) -> AsyncGenerator[responses.Item, None]:
        """Yield a batch's items in the order sent, without their data."""
        async for page in self._pages(
            responses.Page[responses.Item],
            lambda at: endpoints.items(batch_id, status=status, group=group, limit=PAGE, cursor=at),
        ):
            for item in page.data:
                yield item

    async def item(self, item_id: str) -> responses.Item:
        """Look at an item, its outputs and data."""
        return await self._ask(responses.Item, endpoints.item(item_id))

    async def failures(self, batch_id: str) -> list[responses.FailureGroup]:
        """Return the causes of a batch's failures, the most frequent first."""
        return (await self._ask(responses.FailureGroups, endpoints.failures(batch_id))).data

    async def workers(self) -> list[responses.Worker]:
        """Return the processes that are alive."""
        return (
            await self._ask(responses.Listing[responses.Worker], endpoints.get("/v1/workers"))
        ).data

    async def pause_worker(self, worker_id: str, reason: str | None = None) -> responses.Worker:
        """Let one worker start nothing new; what it runs it finishes."""
        return await self._ask(responses.Worker, endpoints.pause_worker(worker_id, reason))

    async def resume_worker(self, worker_id: str) -> responses.Worker:
        """Let a paused worker go on."""
        return await self._ask(responses.Worker, endpoints.resume_worker(worker_id))

    async def queue(self) -> system.Queue:
        """Count what waits and runs of the caller's, over all batches."""
        return await self._ask(system.Queue, endpoints.get("/v1/queue"))

    async def find(self) -> None:
        """Look whether there is a server; five seconds without an answer are enough to say no.

        Raises:
            ServerUnreachableError: there is none.
        """
        await self._transport.find()

    async def readiness(self) -> system.Readiness:
        """Say whether the server can take work, and what is wrong when it can't."""
        async with self._transport.stream(endpoints.get("/readyz"), accept_errors=True) as response:
            return system.Readiness.model_validate_json(await response.aread())

    async def watch(self, batch_id: str) -> AsyncGenerator[responses.Batch, None]:
        """Yield the batch now and whenever it has changed, until it has ended.

        Listens to the server's events; where there are none it asks again and again. Goes on
        after a restart of the server.
        """
        follow: Follow = self._listened
        patience = Patience(self._transport.server.patience_s)
        known: responses.Batch | None = None
        while known is None or not known.status.ended:
            try:
                async for batch in follow(batch_id, known):
                    patience.refresh()
                    if known is None or batch != known:
                        known = batch
                        yield batch
                    if batch.status.ended:
                        break
            except UnknownPathError:
                follow = self._polled
            except OutageError as error:
                if not self._transport.reached:
                    raise
                await patience.wait(error)

    async def wait(
        self, batch_id: str, *, on_change: Callable[[responses.Batch], None] | None = None
    ) -> responses.Batch:
        """Return the batch once it has ended; `on_change` sees every change until then."""
        last: responses.Batch | None = None
        async for last in self.watch(batch_id):
            if on_change is not None:
                on_change(last)
        if last is None:
            raise NotFoundError("batch", batch_id)
        return last

    # ------------------------------------------------------------ take

    async def download(
        self, batch_id: str, target: str | Path, *, on_bytes: OnBytes | None = None
    ) -> Path:
        """Download all results of a batch that has ended as one ZIP, and return its path.

        A download that broke off, even of an earlier program, goes on where it was.
        """
        path = Path(target)
        await downloads.fetch(self._transport, endpoints.results_zip(batch_id), path, on_bytes)
        return path

    async def download_files(
        self, batch_id: str, folder: str | Path, *, on_bytes: OnBytes | None = None
    ) -> AsyncGenerator[tuple[responses.Item, Path], None]:
        """Download the results one by one, yielding each path; what is there stays as it is.

        Results of one name get numbers, as in the ZIP.
        """
        taken: set[str] = set()
        number = 0
        async for item in self.items(batch_id):
            for output in item.outputs:
                number += 1
                target = Path(folder, _unlike(taken, label(output.name), number))
                if not downloads.is_there(target, size=output.bytes, sha256=output.sha256):
                    request = endpoints.output(item.id, output.name)
                    await downloads.fetch(self._transport, request, target, on_bytes)
                yield item, target

    async def report(
        self,
        batch_id: str,
        *,
        format: Literal["csv", "jsonl", "stock"] = "jsonl",  # noqa: A002 - its name in the API
        status: str | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a report: one line for each item."""
        request = endpoints.report(batch_id, format=format, status=status)
        async with self._transport.stream(request) as response:
            async for piece in response.aiter_bytes():
                yield piece

    async def result_lines(self, batch_id: str) -> AsyncGenerator[responses.ResultLine, None]:
        """Yield the result of every item, with its data."""
        request = endpoints.report(batch_id, format="jsonl")
        async with self._transport.stream(request) as response:
            async for line in response.aiter_lines():
                yield responses.ResultLine.model_validate_json(line)

    # ------------------------------------------------------------ control

    async def pause(self, batch_id: str) -> responses.Batch:
        """Start no more items; running ones finish."""
        return await self._ask(responses.Batch, endpoints.order(batch_id, "pause"))

    async def resume(self, batch_id: str) -> responses.Batch:
        """Go on with a paused batch."""
        return await self._ask(responses.Batch, endpoints.order(batch_id, "resume"))

    async def cancel(self, batch_id: str) -> responses.Batch:
        """End a batch: waiting items are cancelled, running ones stopped, results kept."""
        return await self._ask(responses.Batch, endpoints.order(batch_id, "cancel"))

    async def retry(
        self, batch_id: str, *, group: str | None = None, ids: Iterable[str] | None = None
    ) -> responses.Retried:
        """Run failed items again: all, those of one failure group, or some by id."""
        wanted = requests.Retry()
        if group is not None:
            wanted = requests.Retry(scope="group", group=group)
        elif ids is not None:
            wanted = requests.Retry(scope="ids", ids=list(ids))
        return await self._ask(responses.Retried, endpoints.retry(batch_id, wanted))

    # ------------------------------------------------------------ inside

    async def _send(self, model: type[M], request: Request, on_bytes: OnBytes | None) -> M:
        """Send files; where all are over the limit, name them: they become items that failed."""
        try:
            return await self._ask(model, request, on_bytes)
        except TooLargeError as error:
            if not request.files:
                raise
            try:
                return await self._ask(model, endpoints.held_back(request))
            except InvalidFieldError:
                raise error from None

    async def _ask(self, model: type[M], request: Request, on_bytes: OnBytes | None = None) -> M:
        response = await self._transport.send(request, on_bytes=on_bytes)
        return model.model_validate_json(response.content)

    async def _pages(
        self, model: type[responses.Page[M]], request: Callable[[str | None], Request]
    ) -> AsyncGenerator[responses.Page[M], None]:
        page = await self._ask(model, request(None))
        yield page
        while page.next_cursor is not None:
            page = await self._ask(model, request(page.next_cursor))
            yield page

    async def _listened(
        self, batch_id: str, known: responses.Batch | None
    ) -> AsyncGenerator[responses.Batch, None]:
        """Yield what the server's events tell; a stream that ends too early is an outage."""
        request = endpoints.events(batch_id, str(known.revision) if known else None)
        async with self._transport.stream(request) as response:
            async for event in events.parse(response.aiter_lines()):
                if event.name == "batch.deleted":
                    raise NotFoundError("batch", batch_id)
                if event.name.startswith("batch."):
                    yield responses.Batch.model_validate_json(event.data)
        raise ServerUnreachableError(self.url)

    async def _polled(
        self, batch_id: str, _: responses.Batch | None
    ) -> AsyncGenerator[responses.Batch, None]:
        """Yield the batch again and again, as often as the server advises."""
        while True:
            response = await self._transport.send(endpoints.batch(batch_id))
            yield responses.Batch.model_validate_json(response.content)
            advice = response.headers.get("retry-after", "")
            wait_s = float(advice) if advice.isdecimal() else POLL_S
            await asyncio.sleep(min(wait_s, POLL_MOST_S))


def _unlike(taken: set[str], name: str, number: int) -> str:
    """Return `name`, numbered when it is taken, and take it."""
    if name.casefold() in taken:
        path = PurePosixPath(name)
        name = str(path.with_name(f"{path.stem} (#{number}){path.suffix}"))
    taken.add(name.casefold())
    return name
