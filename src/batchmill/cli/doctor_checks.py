"""The checks of `batchmill doctor`, in the order in which they are shown."""

import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex

from batchmill import private
from batchmill.cli.finding import Finding, Verdict
from batchmill.cli.text import size
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import FaceModelMissingError
from batchmill.errors.outage import StorageDamagedError
from batchmill.settings import loading
from batchmill.settings.fields import Settings
from batchmill.storage.base import Storage
from batchmill.storage.disk import FreeSpace
from batchmill.wire import system

Check = Callable[[Settings], Iterator[Finding]]

OLDEST_VIPS = (8, 18)
FORMATS = {
    "jpeg": "jpegsave",
    "png": "pngsave",
    "webp": "webpsave",
    "avif": "heifsave",
    "tiff": "tiffsave",
    "gif": "gifsave",
}
_PATIENCE_S = 3.0
_BUCKET_PATIENCE_S = 10.0
_REINSTALL = "Install batchmill anew: pip install --force-reinstall batchmill."


def python(_: Settings) -> Iterator[Finding]:
    """Name the interpreter; an older one could not have come this far."""
    yield Finding("Python", Verdict.OK, f"{platform.python_version()} at {sys.executable}")


def known_settings(_: Settings) -> Iterator[Finding]:
    """Check that every variable means something; wrong values end the command before."""
    strange = loading.unknown_variables(os.environ)
    for sentence in strange:
        yield Finding("settings", Verdict.WARN, sentence, "Correct or unset the variable.")
    if not strange:
        file = os.environ.get(loading.CONFIG_VARIABLE)
        yield Finding("settings", Verdict.OK, f"all known{f', file {file}' if file else ''}")


def images(_: Settings) -> Iterator[Finding]:
    """Check libvips and what it can write."""
    try:
        import pyvips
    except (ImportError, OSError) as error:
        remedy = "Install it: pip install 'pyvips[binary]'."
        yield Finding("libvips", Verdict.FAIL, f"cannot be loaded: {error}", remedy)
        return
    text = ".".join(str(pyvips.version(part)) for part in range(3))
    if pyvips.at_least_libvips(*OLDEST_VIPS):
        yield Finding("libvips", Verdict.OK, text)
    else:
        yield Finding("libvips", Verdict.WARN, text, "Install libvips 8.18.1 or newer.")
    missing = [n for n, saver in FORMATS.items() if not pyvips.type_find("VipsOperation", saver)]
    if missing:
        found = f"{', '.join(missing)} cannot be written"
        remedy = "Install it anew: pip install --upgrade --force-reinstall pyvips-binary."
        yield Finding("formats", Verdict.WARN, found, remedy)
    else:
        yield Finding("formats", Verdict.OK, f"{', '.join(FORMATS)} can be written")


def faces(_: Settings) -> Iterator[Finding]:
    """Check that faces can be found."""
    from batchmill.operations.faces.centerface import session

    try:
        session()
    except FaceModelMissingError as error:
        yield Finding("faces", Verdict.WARN, error.message, error.remedy)
    else:
        yield Finding("faces", Verdict.OK, "the model loads")


def sandbox(_: Settings) -> Iterator[Finding]:
    """Start a child and look at what it could give up."""
    from batchmill.sandbox.pool import Pool

    async def found() -> dict[str, str] | None:
        with tempfile.TemporaryDirectory() as folder:
            pool = Pool(1, Path(folder))
            try:
                await pool.start()
                return pool.sandbox.missing() if pool.sandbox else None
            finally:
                await pool.aclose()

    try:
        missing = asyncio.run(found())
    except BatchmillError as error:
        reason = f": {error.detail.strip().splitlines()[-1]}" if error.detail else ""
        yield Finding("child process", Verdict.FAIL, f"{error.message}{reason}", _REINSTALL)
        return
    for part, reason in (missing or {}).items():
        remedy = (
            "Run batchmill where this is offered, in a container or VM, for files of strangers."
        )
        yield Finding("sandbox", Verdict.WARN, f"{part} not confined: {reason}", remedy)
    if not missing:
        yield Finding("sandbox", Verdict.OK, "privileges, network, files and processes confined")


def data_dir(settings: Settings) -> Iterator[Finding]:
    """Check that the data folder can be written, or made, and has room."""
    folder = settings.data_dir.absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        remedy = "Set BATCHMILL_DATA_DIR to a folder that this user may write."
        yield Finding("data folder", Verdict.FAIL, f"{there} cannot be written", remedy)
        return
    free = FreeSpace(there).free_bytes()
    text = f"{folder}, {size(free)} free" + ("" if folder.exists() else ", made at the first start")
    if free < settings.disk_reserve_bytes:
        remedy = "Free some space, or lower BATCHMILL_DISK_RESERVE_BYTES."
        yield Finding("data folder", Verdict.FAIL, text, remedy)
    else:
        yield Finding("data folder", Verdict.OK, text)
    yield from _open_to_others("data folder", folder)


def _open_to_others(what: str, folder: Path) -> Iterator[Finding]:
    """Warn of a folder in which other users of this machine may read."""
    if folder.is_dir() and folder.stat().st_mode & private.MASK:
        remedy = f"Unless others are to read there: chmod 700 {folder}"
        yield Finding(what, Verdict.WARN, f"{folder} is open to other users", remedy)


def database(settings: Settings) -> Iterator[Finding]:
    """Check that the database answers and has the newest schema; makes none."""
    from batchmill.db.connect import Database
    from batchmill.db.migrate import HEAD, revision

    if settings.database_url is None and not (settings.data_dir / "batchmill.sqlite3").exists():
        yield Finding("database", Verdict.OK, "SQLite, made at the first start")
        return

    async def found() -> str | None:
        opened = Database(settings.database)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await opened.read(revision)
        finally:
            await opened.aclose()

    kind = settings.database.partition(":")[0]
    try:
        newest = asyncio.run(found())
    except (BatchmillError, TimeoutError) as error:
        sentence = error.message if isinstance(error, BatchmillError) else "it does not answer"
        remedy = "Start the database, or correct BATCHMILL_DATABASE_URL."
        yield Finding("database", Verdict.FAIL, f"{kind}: {sentence}", remedy)
        return
    if newest == HEAD:
        yield Finding("database", Verdict.OK, kind)
    elif newest is None:
        yield Finding("database", Verdict.OK, f"{kind}, empty until the first start")
    else:
        remedy = "`batchmill migrate` does it; servers and workers do it by themselves."
        yield Finding("database", Verdict.WARN, f"{kind} has the schema of another version", remedy)


def storage(settings: Settings) -> Iterator[Finding]:
    """Check that the storage answers; the default one is in the data folder."""
    if settings.storage_url is None and settings.results_url is None:
        yield Finding("storage", Verdict.OK, "in the data folder")
        return
    yield from _tried_out(settings, "BATCHMILL_STORAGE_URL", settings.storage_url)
    if settings.results_url is not None:
        yield from _tried_out(settings, "BATCHMILL_RESULTS_URL", settings.results_url)
    for url in (settings.storage_url, settings.results_url):
        if url is not None and ("://" not in url or url.startswith("file://")):
            yield from _open_to_others("storage", Path(url.removeprefix("file://")))


def _tried_out(settings: Settings, variable: str, url: str | None) -> Iterator[Finding]:
    """Write a small file to a storage, read it and remove it again."""
    from batchmill.bootstrap import open_storage

    alone = settings.model_copy(update={"storage_url": url, "results_url": None})

    async def free_bytes() -> int | None:
        opened = open_storage(alone)
        try:
            async with asyncio.timeout(_BUCKET_PATIENCE_S):
                await _written_and_removed(opened)
                return await opened.free_bytes()
        finally:
            await opened.aclose()

    try:
        free = asyncio.run(free_bytes())
    except (BatchmillError, TimeoutError, OSError) as error:
        sentence = error.message if isinstance(error, BatchmillError) else "it does not answer"
        remedy = f"Correct {variable}; for a bucket also BATCHMILL_S3_ENDPOINT and the keys."
        yield Finding("storage", Verdict.FAIL, sentence, remedy)
        return
    where = url or "in the data folder"
    text = f"{where}, {size(free)} free" if free is not None else f"{where}: written and read"
    yield Finding("storage", Verdict.OK, text)


async def _written_and_removed(opened: Storage) -> None:
    key, body = f"doctor/{token_hex(8)}", b"batchmill doctor"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "probe")
        await asyncio.to_thread(file.write_bytes, body)
        await opened.put(key, file, media_type="text/plain")
        try:
            found = b"".join([piece async for piece in opened.read(key)])
            if found != body:
                raise StorageDamagedError(detail=key)
        finally:
            await opened.delete([key])


def engine(settings: Settings) -> Iterator[Finding]:
    """Check that the Redis that tells workers of new work answers, where there is one."""
    if settings.redis_url is None:
        yield Finding("engine", Verdict.OK, "no Redis; none is needed")
        return
    try:
        from redis import Redis
        from redis.exceptions import RedisError
    except ImportError:
        remedy = "Install it: pip install 'batchmill[redis]'."
        yield Finding("engine", Verdict.FAIL, "the extra `redis` is not installed", remedy)
        return
    try:
        url = settings.redis_url.get_secret_value()
        with Redis.from_url(url, socket_timeout=_PATIENCE_S) as client:
            found = client.info()
    except (RedisError, OSError, ValueError) as error:
        remedy = "Start Redis, or correct BATCHMILL_REDIS_URL."
        yield Finding("engine", Verdict.FAIL, f"Redis does not answer: {error}", remedy)
        return
    yield Finding("engine", Verdict.OK, f"Redis {found['redis_version']}")


def server(settings: Settings) -> Iterator[Finding]:
    """Ask the server that commands talk to how it is."""
    from batchmill.client.async_client import AsyncClient

    async def readiness() -> system.Readiness:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        async with AsyncClient(settings.server, api_key=key, timeout_s=_PATIENCE_S) as client:
            return await client.readiness()

    try:
        found = asyncio.run(readiness())
    except BatchmillError as error:
        remedy = "`batchmill serve` starts one; `batchmill run` needs none."
        yield Finding("server", Verdict.WARN, error.message, remedy)
        return
    for check in found.checks:
        if not check.ok:
            remedy = "Look at the server's log."
            yield Finding("server", Verdict.FAIL, f"{check.name}: {check.message}", remedy)
    if found.ready:
        yield Finding("server", Verdict.OK, f"{settings.server} is ready")


ALL: tuple[Check, ...] = (
    python,
    known_settings,
    images,
    faces,
    sandbox,
    data_dir,
    database,
    storage,
    engine,
    server,
)
