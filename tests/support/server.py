"""A whole server for tests: real socket, database and storage; files are turned around in-process.

What becomes of a file is written in it: `bad…` is refused, `wait…` waits for `release`, `paid…`
costs something, anything else comes back with its bytes in reverse order.
"""

import asyncio
import hashlib
import json
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

import databases
from batchmill import worker
from batchmill.api.app import create_app
from batchmill.api.compat.dialects import family_rules
from batchmill.api.event_hub import EventHub
from batchmill.api.server import answer, listening
from batchmill.attempt.run import Finished
from batchmill.db import batches
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.errors.item import UnreadableFileError
from batchmill.model import ids
from batchmill.model.batch import BatchId
from batchmill.model.item import Output, Result
from batchmill.notifiers.local import LocalNotifier
from batchmill.service.context import ServerContext
from batchmill.service.execution.process_item import Attempt
from batchmill.service.scheduling.transitions import Claimed
from batchmill.settings.fields import Settings, TierLimits, Tiers
from batchmill.storage.local import LocalStorage

T = TypeVar("T")
PIPELINE = "web"
LOOSE = Tiers(anonymous=TierLimits(submissions_per_minute=100_000))


@dataclass
class Server:
    """A running server and a client that speaks to it."""

    context: ServerContext
    live: EventHub
    client: httpx.Client
    loop: asyncio.AbstractEventLoop
    gate: asyncio.Event
    draining: asyncio.Event

    def release(self) -> None:
        """Let the files that wait go on."""
        self.loop.call_soon_threadsafe(self.gate.set)

    def drain(self) -> None:
        """Begin to stop, as a signal would."""
        self.loop.call_soon_threadsafe(self.draining.set)

    def hold(self) -> None:
        """Let files that say so wait from now on."""
        self.loop.call_soon_threadsafe(self.gate.clear)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def send(self, *bodies: bytes, names: list[str] | None = None, **options: Any) -> Any:
        """Send files as one batch and return the answer's JSON."""
        answer = self.post_files(*bodies, names=names, **options)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def post_files(
        self,
        *bodies: bytes,
        names: list[str] | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send files as one batch."""
        named = names or [f"file-{number}.txt" for number in range(len(bodies))]
        files = [("files", (name, body)) for name, body in zip(named, bodies, strict=True)]
        fields = {"pipeline": PIPELINE, "options": json.dumps(options)}
        return self.client.post("/v1/batches", files=files, data=fields, headers=headers)

    def wait(self, batch_id: str, until: Callable[[Any], object] | None = None) -> Any:
        """Look at a batch until it has ended, or `until` holds; return its JSON."""
        until = until or (lambda batch: batch["ended_at"] is not None)
        for _ in range(3_000):
            batch = self.client.get(f"/v1/batches/{batch_id}").json()
            if until(batch):
                return batch
            threading.Event().wait(0.02)
        raise AssertionError(f"the batch never got there: {batch}")

    def eventually(self, true: Callable[[], bool]) -> bool:
        """Wait until something becomes true; False: it never did."""
        for _ in range(3_000):
            if true():
                return True
            threading.Event().wait(0.02)
        return False

    def give_away(self, batch_id: str) -> None:
        """Make somebody else the owner of a batch."""
        change = self.context.database.run(batches.change, BatchId(batch_id), owner_id="somebody")
        self.run(change)

    def items(self, batch_id: str, **query: Any) -> Any:
        """Return one page of items."""
        return self.client.get(f"/v1/batches/{batch_id}/items", params=query).json()["data"]


@contextmanager
def running(folder: Path, *, slots: int = 2, **settings: Any) -> Iterator[Server]:
    """Start a server on a free loopback port and stop it when the block ends."""
    started: list[Server] = []
    ready, stop = threading.Event(), threading.Event()

    async def main(sock: socket.socket, client: httpx.Client) -> None:
        gate, stopping = asyncio.Event(), asyncio.Event()
        async with _new_context(folder, settings) as context:
            app = create_app(context)
            answering = answer(app, sock, stopping=stopping, on_ready=lambda _: ready.set())
            attempt = _turning_around(context, folder, gate)
            working = worker.WorkLoop(context, attempt, slots=slots)
            async with (
                worker.at_work(context, working, slots=slots, stopping=stopping),
                worker.background(answering) as serving,
            ):
                loop = asyncio.get_running_loop()
                live, draining = app.state.event_hub, app.state.draining
                started.append(Server(context, live, client, loop, gate, draining))
                await asyncio.to_thread(stop.wait)
                for event in (gate, stopping, draining):
                    event.set()
                await asyncio.wait({serving})

    with listening("127.0.0.1", 0) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=60) as client:
            thread = threading.Thread(target=lambda: asyncio.run(main(sock, client)))
            thread.start()
            try:
                assert ready.wait(60)
                yield started[0]
            finally:
                stop.set()
                thread.join(30)


@asynccontextmanager
async def _new_context(folder: Path, settings: dict[str, object]) -> AsyncIterator[ServerContext]:
    path = databases.memory_folder(folder) / f"{folder.name}-{ids.worker_id()}.sqlite3"
    database = Database(f"sqlite:///{path}")
    migrate(database.engine)
    process_id = ids.worker_id()
    chosen = Settings(**{"data_dir": folder, "disk_reserve_bytes": 0, "tiers": LOOSE, **settings})
    context = ServerContext(
        database=database,
        storage=LocalStorage(folder / "storage"),
        notifier=LocalNotifier(),
        settings=chosen,
        family_rules=family_rules(chosen),
        process_id=process_id,
        uploads=folder / "tmp" / process_id,
    )
    try:
        yield context
    finally:
        await database.aclose()
        for left in path.parent.glob(f"{path.name}*"):
            left.unlink()


def _turning_around(context: ServerContext, folder: Path, gate: asyncio.Event) -> Attempt:
    @asynccontextmanager
    async def attempt(claimed: Claimed, report: Callable[[float], None]) -> AsyncIterator[Finished]:
        pieces = [piece async for piece in context.storage.read(claimed.input.key)]
        body = b"".join(pieces)
        if body.startswith(b"bad"):
            raise UnreadableFileError(claimed.input.name, "it says that it is bad")
        if body.startswith(b"wait"):
            report(0.5)
            await gate.wait()
        work = folder / "work" / f"{claimed.claim.item_id}.{claimed.claim.attempt}"
        work.mkdir(parents=True)
        (work / "made").write_bytes(body[::-1])
        usage = {"usage": {"cost_usd": 0.002}} if body.startswith(b"paid") else {}
        result = Result((_output(claimed, body[::-1]),), {"length": len(body), **usage})
        yield Finished(result, (work / "made",), work)

    return attempt


def _output(claimed: Claimed, body: bytes) -> Output:
    picture = body.endswith(b"GNP")
    return Output(
        name=claimed.input.name,
        bytes=len(body),
        media_type="image/png" if picture else "text/plain",
        sha256=hashlib.sha256(body).hexdigest(),
        crc32=zlib.crc32(body),
        width=64 if picture else None,
        height=64 if picture else None,
    )
