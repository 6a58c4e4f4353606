"""Names the concrete notifier, storage and database, and wires everything together."""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType

from batchmill import logs, private
from batchmill.api.app import create_app
from batchmill.api.compat.dialects import family_rules
from batchmill.api.probes import create_probes
from batchmill.api.server import answer, is_loopback, listening, url
from batchmill.attempt.context import Remote
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.errors.outage import RunnerUnavailableError, StorageUnavailableError
from batchmill.errors.request import UsageError
from batchmill.logs import Event
from batchmill.model import ids
from batchmill.notifiers.base import Notifier
from batchmill.notifiers.local import LocalNotifier
from batchmill.outgoing.calls import CallRules, Outgoing
from batchmill.sandbox.pool import Pool, Recycling
from batchmill.sandbox.scratch import Scratch
from batchmill.service import api_keys, stores, sweep, webhooks
from batchmill.service.context import ServerContext
from batchmill.service.execution.attempts import attempts_in
from batchmill.service.scheduling import heartbeat
from batchmill.service.seals import Seals
from batchmill.settings.fields import Settings
from batchmill.settings.loading import Origin
from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage
from batchmill.storage.signing import KEY_BYTES, Signer, fresh_signer
from batchmill.storage.split import SplitStorage
from batchmill.vision import clients
from batchmill.web import page
from batchmill.worker import Places, WorkLoop, at_work, background, upkeep


@asynccontextmanager
async def opened(
    settings: Settings, *, serves: bool = True, adopt: bool = False
) -> AsyncIterator[ServerContext]:
    """Build everything that the settings name; the database gets the newest schema.

    A process that `serves` marks stores that are new, and with `adopt` takes over all others.

    Raises:
        UsageError: another process already works in this data folder, or settings contradict.
        WrongStoreError: a store and the database do not belong together.
        DatabaseUnavailableError: the database does not answer.
    """
    _require_shared_database(settings)
    shares = not settings.database.startswith("sqlite")
    signer, seals = _signer(settings, shares=shares), _seals(settings)
    if await asyncio.to_thread(private.make_folder, settings.data_dir):
        logs.warning(Event.DATA_FOLDER_CLOSED, folder=str(settings.data_dir))
    with _scratch(settings) as scratch:
        database = Database(settings.database)
        try:
            notifier = _notifier(settings, database)
            with _sole_process(settings) if database.is_sqlite else _any_process():
                if await asyncio.to_thread(migrate, database.engine):
                    logs.info(Event.SCHEMA_MIGRATED)
                server = _server_context(
                    settings, database, notifier, scratch=scratch, signer=signer, seals=seals
                )
                await _claim_stores(server, serves=serves, adopt=adopt)
                if serves:
                    await webhooks.seal_all(server)
                await webhooks.warn_of_locked(server)
                if database.is_sqlite:
                    await sweep.take_over(server)
                yield server
                await server.notifier.aclose()
                await server.storage.aclose()
        finally:
            await database.aclose()


async def _claim_stores(server: ServerContext, *, serves: bool, adopt: bool) -> None:
    """Refuse stores that are not this database's; one that is away is looked at when it is back.

    A worker has nothing to do with open uploads.
    """
    try:
        if not serves:
            await stores.claim_when_marked(server)
            return
        await asyncio.to_thread(server.settings.uploads_folder.mkdir, parents=True, exist_ok=True)
        found = [*stores.of_batches(server), *stores.of_uploads(server)]
        await stores.claim(server, found, adopt=adopt)
    except StorageUnavailableError as error:
        logs.warning(Event.STORAGE_UNCHECKED, code=error.code, detail=error.detail)


@asynccontextmanager
async def working(server: ServerContext, *, stopping: asyncio.Event) -> AsyncIterator[Pool]:
    """Run a worker beside the block with all its upkeep, until `stopping` is set and it drained."""
    settings, places = server.settings, Places()
    pool = Pool(
        settings.children,
        settings.data_dir / "tmp",
        recycling=Recycling(jobs=settings.child_items),
        spare=lambda: heartbeat.spare_children(settings),
    )
    # One item more than children, so that none waits while another's files are being stored.
    slots = settings.children + 1
    try:
        async with clients.opened(settings) as made:
            remote = Remote(asyncio.Semaphore(settings.remote_slots), made)
            attempt = attempts_in(server, pool, remote, on_remote=places.leave)
            worker = WorkLoop(server, attempt, slots=slots, places=places)
            running = at_work(server, worker, slots=settings.children, stopping=stopping)
            async with running, background(_keep_children(pool, settings.renew_s)):
                yield pool
    finally:
        await pool.aclose()


async def _keep_children(pool: Pool, every_s: float) -> None:
    """Start the children ahead of the first files; end idle ones when memory gets short.

    Runs until cancelled.
    """
    await _warm_up(pool)
    while True:
        await asyncio.sleep(every_s)
        try:
            await pool.trim()
        except OSError as error:  # its folder stays; the next start removes it
            logs.warning(Event.WORKER_BARE, detail=str(error))


async def _warm_up(pool: Pool) -> None:
    try:
        await pool.start()
        if pool.sandbox is not None and not pool.sandbox.complete:
            logs.warning(Event.SANDBOX_MISSING, **pool.sandbox.missing())
    except RunnerUnavailableError as error:
        logs.warning(Event.WORKER_BARE, detail=error.detail)


async def serve(
    settings: Settings,
    *,
    with_worker: bool = True,
    adopt: bool = False,
    on_ready: Callable[[str], None] = print,
    on_admin_link: Callable[[str], None] | None = None,
    origins: Mapping[str, Origin] = MappingProxyType({}),
) -> None:
    """Serve HTTP, and process items unless told not to, until SIGTERM or SIGINT.

    `on_ready` gets the address once requests are answered, `on_admin_link` a link that makes
    one browser the administrator's. `adopt` takes over stores that are another database's, or
    newer than it. `origins` says where the settings came from. Running items
    have `drain_s` to end.

    Raises:
        UsageError: the address or the data folder is taken, or strangers could use everything.
        WrongStoreError: a store and the database do not belong together.
        DatabaseUnavailableError: the database does not answer.
    """
    _require_somebody_at_work(settings, with_worker=with_worker)
    stopping = asyncio.Event()
    stop_at_signals(stopping)
    with listening(settings.host, settings.port) as listener:
        address = url(listener)  # a server that is stopped soon closes the socket
        async with opened(settings, adopt=adopt) as server, AsyncExitStack() as stack:
            await _let_somebody_in(server)
            _log_limits(settings)
            app = create_app(server, page.routes(), origins)
            answering = await stack.enter_async_context(
                background(answer(app, listener, stopping=stopping, on_ready=_noted(on_ready)))
            )
            if with_worker:
                pool = await stack.enter_async_context(working(server, stopping=stopping))
                app.state.pool = pool
            else:
                await heartbeat.enter(server, slots=0)
                await stack.enter_async_context(upkeep(server, slots=0))
            if on_admin_link is not None and is_loopback(settings.host):
                token = await api_keys.offer_admin_link(server.database)
                reached = (settings.public_url or address).rstrip("/")
                on_admin_link(f"{reached}/login?token={token}")
            await stopping.wait()
            app.state.draining.set()
            await asyncio.wait({answering})
    logs.info(Event.SERVER_STOPPED)


def _require_somebody_at_work(settings: Settings, *, with_worker: bool) -> None:
    if not with_worker and settings.database.startswith("sqlite"):
        raise UsageError(
            "Without a worker of its own a server needs others: set BATCHMILL_DATABASE_URL to a"
            " PostgreSQL, MariaDB or MySQL database, on which a `batchmill worker` finds the work,"
            " or leave out --no-worker."
        )


def _log_limits(settings: Settings) -> None:
    """Write which limits hold in this process: its log can then be read without its settings."""
    own = ("children", "drain_s", "disk_reserve_bytes", "memory_reserve_bytes")
    logs.info(Event.LIMITS, of="process", **{name: getattr(settings, name) for name in own})
    for name in ("sequential", "documents", "photos", "images"):
        logs.info(Event.LIMITS, of=name, **getattr(settings, name).model_dump(mode="json"))


def _noted(on_ready: Callable[[str], None]) -> Callable[[str], None]:
    """Return what also logs the address."""

    def started(address: str) -> None:
        logs.info(Event.SERVER_STARTED, url=address)
        on_ready(address)

    return started


async def work_only(settings: Settings, *, on_ready: Callable[[str], None] = print) -> None:
    """Process items for servers elsewhere, until SIGTERM or SIGINT.

    `on_ready` gets the worker's id once it takes items. Running items have `drain_s` to end.

    Raises:
        UsageError: nothing is shared with servers, or the port for probes is taken.
        WrongStoreError: the servers use another storage, or none has started yet.
        DatabaseUnavailableError: the database does not answer.
    """
    if settings.database.startswith("sqlite"):
        raise UsageError(
            "A worker shares its work with servers: set BATCHMILL_DATABASE_URL to their PostgreSQL,"
            " MariaDB or MySQL database. On one machine `batchmill serve` works by itself."
        )
    stopping = asyncio.Event()
    stop_at_signals(stopping)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(opened(settings, serves=False))
        _log_limits(settings)
        if settings.health_port is not None:
            await stack.enter_async_context(_probed(server, settings.health_port, stopping))
        await stack.enter_async_context(working(server, stopping=stopping))
        on_ready(server.process_id)
        await stopping.wait()


@asynccontextmanager
async def _probed(server: ServerContext, port: int, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Answer probes for the length of the block, also while the worker drains."""
    ended = asyncio.Event()
    app = create_probes(server, draining=stopping)
    with listening(server.settings.host, port) as listener:
        answering = answer(app, listener, stopping=ended, on_ready=lambda _: None)
        async with background(answering) as task:
            yield
            ended.set()
            await asyncio.wait({task})


def stop_at_signals(stopping: asyncio.Event) -> None:
    """Set `stopping` at SIGTERM and SIGINT; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        loop.remove_signal_handler(number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


async def _let_somebody_in(server: ServerContext) -> None:
    """Make the chosen admin key; refuse to listen to others where nobody could be told apart.

    Raises:
        UsageError: the server would listen beyond this machine, and there is no key.
    """
    settings = server.settings
    if settings.admin_key is not None:
        await api_keys.ensure_admin(server.database, settings.admin_key.get_secret_value())
    if (
        is_loopback(settings.host)
        or settings.anonymous == "on"
        or await api_keys.any_key(server.database)
    ):
        return
    raise UsageError(
        f"Listening on {settings.host} lets other machines in, and there is no API key yet. Make"
        " one with `batchmill keys create --name me --admin`, or set BATCHMILL_ADMIN_KEY_FILE."
    )


def _server_context(
    settings: Settings,
    database: Database,
    notifier: Notifier,
    *,
    scratch: Scratch,
    signer: Signer,
    seals: Seals,
) -> ServerContext:
    uploads = scratch.new("uploads")
    uploads.mkdir()
    return ServerContext(
        database=database,
        storage=open_storage(settings),
        notifier=notifier,
        settings=settings,
        process_id=ids.worker_id(settings.worker_id),
        uploads=uploads,
        outgoing=Outgoing(CallRules(settings.outgoing_http, settings.outgoing_loopback)),
        signer=signer,
        seals=seals,
        family_rules=family_rules(settings),
    )


def _signer(settings: Settings, *, shares: bool) -> Signer:
    """Return what signs addresses; one process alone makes do with a key of its own.

    Raises:
        UsageError: a key is too short, or several processes would each have another.
    """
    signing_keys = [key.get_secret_value() for key in settings.signing_keys]
    # Signed is only what a model is to fetch, from the public address.
    signs = settings.has_model and settings.public_url is not None
    if signs and not signing_keys and shares:
        raise UsageError(
            "Servers and workers that share work must sign alike: set BATCHMILL_SIGNING_KEYS to the"
            f" same key of {KEY_BYTES} characters or more for all of them."
        )
    try:
        return Signer(signing_keys) if signing_keys else fresh_signer()
    except ValueError as error:
        raise UsageError(f"BATCHMILL_SIGNING_KEYS is not right: {error}.") from error


def _seals(settings: Settings) -> Seals:
    """Return what seals and opens the secrets in the database.

    Raises:
        UsageError: a key is too short.
    """
    try:
        return Seals([key.get_secret_value() for key in settings.secret_keys])
    except ValueError as error:
        raise UsageError(f"BATCHMILL_SECRET_KEYS is not right: {error}.") from error


def open_storage(settings: Settings) -> Storage:
    """Open the bucket or folder that `storage_url` names, and the bucket for results beside it.

    Raises:
        UsageError: there is a bucket, and the extra `s3` is not installed.
    """
    main = _open_storage(settings, settings.storage_url)
    if settings.results_url is None:
        return main
    return SplitStorage(main, _open_storage(settings, settings.results_url))


def _open_storage(settings: Settings, url: str | None) -> Storage:
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
            virtual_host=settings.s3_virtual_host,
        )
    )


def _notifier(settings: Settings, database: Database) -> Notifier:
    """Return the notifier that the settings and the database name; it connects when it is used.

    Raises:
        UsageError: the address is none of Redis, or the extra `redis` is not installed.
    """
    if settings.redis_url is None:
        if database.engine.dialect.name != "postgresql":
            return LocalNotifier()
        from batchmill.notifiers.postgresql import PostgresqlNotifier  # psycopg is an extra

        return PostgresqlNotifier(database)
    try:
        from batchmill.notifiers.bullmq import BullmqNotifier  # bullmq is an extra
    except ImportError as error:
        raise UsageError("Redis needs `pip install 'batchmill[redis]'`.") from error
    try:
        return BullmqNotifier(settings.redis_url.get_secret_value(), queue=settings.redis_queue)
    except ValueError as error:
        raise UsageError(
            "BATCHMILL_REDIS_URL must be an address such as redis://127.0.0.1:6379/0."
        ) from error


def _require_shared_database(settings: Settings) -> None:
    """Refuse Redis beside SQLite: work would be handed to those who can't see it.

    Raises:
        UsageError: the settings contradict each other.
    """
    if settings.redis_url is not None and settings.database.startswith("sqlite"):
        raise UsageError(
            "BATCHMILL_REDIS_URL hands out work to other processes, which can't use an SQLite"
            " database. Set BATCHMILL_DATABASE_URL to a PostgreSQL, MariaDB or MySQL database, or"
            " unset BATCHMILL_REDIS_URL."
        )


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
