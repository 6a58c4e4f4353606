"""Names the concrete engine, storage and database, and wires everything together."""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from batchmill.api.app import create_app
from batchmill.api.server import answer, is_loopback, listening, url
from batchmill.config import Settings
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.engines.base import Engine
from batchmill.engines.memory import MemoryEngine
from batchmill.errors.request import UsageError
from batchmill.runner.pool import Pool, Recycling
from batchmill.runner.scratch import Scratch
from batchmill.service import ids, keys, sweep
from batchmill.service.bench import attempts_in
from batchmill.service.mill import Mill
from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage
from batchmill.worker import background, upkeep, work


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Mill]:
    """Build everything that the settings name; the database gets the newest schema.

    Raises:
        UsageError: another process already works in this data folder.
        DatabaseUnavailableError: the database does not answer.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with _scratch(settings) as scratch:
        database = Database(settings.database)
        try:
            with _sole_process(settings) if database.is_sqlite else _any_process():
                await asyncio.to_thread(migrate, database.engine)
                mill = _mill(settings, database, scratch)
                if database.is_sqlite:
                    await sweep.take_over(mill)
                yield mill
                await mill.engine.aclose()
                await mill.storage.aclose()
        finally:
            await database.aclose()


@asynccontextmanager
async def working(mill: Mill, *, stopping: asyncio.Event) -> AsyncIterator[Pool]:
    """Run a worker beside the block, until `stopping` is set and the worker has drained."""
    settings = mill.settings
    pool = Pool(
        settings.children,
        settings.data_dir / "tmp",
        recycling=Recycling(jobs=settings.child_items),
    )
    # One item more than children, so that none waits while another's files are being stored.
    slots = settings.children + 1
    running = work(mill, attempts_in(mill, pool), slots=slots, stopping=stopping)
    try:
        async with background(pool.start()), background(running) as worker:
            yield pool
            stopping.set()
            await asyncio.wait({worker})
    finally:
        await pool.aclose()


async def serve(
    settings: Settings,
    *,
    with_worker: bool = True,
    on_ready: Callable[[str], None] = print,
    on_admin_link: Callable[[str], None] | None = None,
) -> None:
    """Serve HTTP, and process items unless told not to, until SIGTERM or SIGINT.

    `on_ready` gets the address once requests are answered, `on_admin_link` a link that makes
    one browser the administrator's. Running items have `drain_s` to end.

    Raises:
        UsageError: the address or the data folder is taken, or strangers could use everything.
        DatabaseUnavailableError: the database does not answer.
    """
    stopping = asyncio.Event()
    stop_at_signals(stopping)
    with listening(settings.host, settings.port) as listener:
        async with opened(settings) as mill, AsyncExitStack() as stack:
            slots = settings.children if with_worker else 0
            await _let_somebody_in(mill)
            await stack.enter_async_context(upkeep(mill, slots=slots))
            app = create_app(mill)
            answering = await stack.enter_async_context(
                background(answer(app, listener, stopping=stopping, on_ready=on_ready))
            )
            if with_worker:
                pool = await stack.enter_async_context(working(mill, stopping=stopping))
                app.state.pool = pool
            if on_admin_link is not None and is_loopback(settings.host):
                token = await keys.offer_admin_link(mill.database)
                on_admin_link(f"{url(listener)}/login?token={token}")
            await stopping.wait()
            app.state.draining.set()
            await asyncio.wait({answering})


def stop_at_signals(stopping: asyncio.Event) -> None:
    """Set `stopping` at SIGTERM and SIGINT; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        loop.remove_signal_handler(number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


async def _let_somebody_in(mill: Mill) -> None:
    """Make the chosen admin key; refuse to listen to others where nobody could be told apart.

    Raises:
        UsageError: the server would listen beyond this machine, and there is no key.
    """
    settings = mill.settings
    if settings.admin_key is not None:
        await keys.ensure_admin(mill.database, settings.admin_key.get_secret_value())
    if (
        is_loopback(settings.host)
        or settings.anonymous == "on"
        or await keys.any_key(mill.database)
    ):
        return
    raise UsageError(
        f"Listening on {settings.host} lets other machines in, and there is no API key yet. Make"
        " one with `batchmill keys create --name me --admin`, or set BATCHMILL_ADMIN_KEY_FILE."
    )


def _mill(settings: Settings, database: Database, scratch: Scratch) -> Mill:
    uploads = scratch.new("uploads")
    uploads.mkdir()
    return Mill(
        database=database,
        storage=open_storage(settings),
        engine=_engine(settings),
        settings=settings,
        process_id=ids.worker_id(),
        uploads=uploads,
    )


def open_storage(settings: Settings) -> Storage:
    """Open the bucket or folder that `storage_url` names.

    Raises:
        UsageError: it is a bucket, and the extra `s3` is not installed.
    """
    url = settings.storage_url
    if url is None or "://" not in url or url.startswith("file://"):
        folder = Path(url.removeprefix("file://")) if url else settings.data_dir / "storage"
        return LocalStorage(folder, reserve_bytes=settings.disk_reserve_bytes)
    try:
        from batchmill.storage.objects import Bucket, ObjectStorage  # obstore is an extra
    except ImportError as error:
        raise UsageError("A bucket needs `pip install 'batchmill[s3]'`.") from error
    access_key_id, secret_access_key = settings.s3_access_key_id, settings.s3_secret_access_key
    return ObjectStorage(
        Bucket(
            url,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            access_key_id=access_key_id.get_secret_value() if access_key_id else None,
            secret_access_key=secret_access_key.get_secret_value() if secret_access_key else None,
        )
    )


def _engine(settings: Settings) -> Engine:
    """Return the engine that the settings name.

    Raises:
        UsageError: it is one that this version does not have.
    """
    if settings.redis_url is not None:
        raise UsageError(
            "BATCHMILL_REDIS_URL is set, but this version hands out work inside one process only."
            " Unset it, and let `batchmill serve` do the work."
        )
    return MemoryEngine()


@contextmanager
def _scratch(settings: Settings) -> Iterator[Scratch]:
    scratch = Scratch.open(settings.data_dir / "tmp")
    try:
        yield scratch
    finally:
        scratch.close()


@contextmanager
def _any_process() -> Iterator[None]:
    yield


@contextmanager
def _sole_process(settings: Settings) -> Iterator[None]:
    """Hold the data folder: with SQLite one process owns all work, so leases of others are dead."""
    path = settings.data_dir / "batchmill.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(
            f"Another batchmill works in {settings.data_dir}. Stop it, or set"
            " BATCHMILL_DATA_DIR to another folder."
        ) from error
    finally:
        os.close(lock)
