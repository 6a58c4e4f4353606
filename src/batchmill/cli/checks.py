"""The checks of `batchmill doctor`, in the order in which they are shown."""

import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from batchmill import environment
from batchmill.cli.doctor import Check, Finding, Verdict
from batchmill.cli.text import size
from batchmill.config import Settings
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import FaceModelMissingError
from batchmill.storage.disk import Room
from batchmill.wire import told

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
_REINSTALL = "Install batchmill anew: pip install --force-reinstall batchmill."


def python(_: Settings) -> Iterator[Finding]:
    """Name the interpreter; an older one could not have come this far."""
    yield Finding("Python", Verdict.OK, f"{platform.python_version()} at {sys.executable}")


def known_settings(_: Settings) -> Iterator[Finding]:
    """Check that every variable means something; wrong values end the command before."""
    strange = environment.unknown_variables(os.environ)
    for sentence in strange:
        yield Finding("settings", Verdict.WARN, sentence, "Correct or unset the variable.")
    if not strange:
        file = os.environ.get(environment.CONFIG_VARIABLE)
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
    from batchmill.runner.pool import Pool

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
    free = Room(there).free_bytes()
    text = f"{folder}, {size(free)} free" + ("" if folder.exists() else ", made at the first start")
    if free < settings.disk_reserve_bytes:
        remedy = "Free some space, or lower BATCHMILL_DISK_RESERVE_BYTES."
        yield Finding("data folder", Verdict.FAIL, text, remedy)
    else:
        yield Finding("data folder", Verdict.OK, text)


def database(settings: Settings) -> Iterator[Finding]:
    """Check that the database answers and has the newest schema; makes none."""
    from batchmill.db.connect import Database
    from batchmill.db.migrate import is_current

    if settings.database_url is None and not (settings.data_dir / "batchmill.sqlite3").exists():
        yield Finding("database", Verdict.OK, "SQLite, made at the first start")
        return

    async def current() -> bool:
        opened = Database(settings.database)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await opened.read(is_current)
        finally:
            await opened.aclose()

    kind = settings.database.partition(":")[0]
    try:
        is_newest = asyncio.run(current())
    except (BatchmillError, TimeoutError) as error:
        sentence = error.message if isinstance(error, BatchmillError) else "it does not answer"
        remedy = "Start the database, or correct BATCHMILL_DATABASE_URL."
        yield Finding("database", Verdict.FAIL, f"{kind}: {sentence}", remedy)
        return
    if is_newest:
        yield Finding("database", Verdict.OK, kind)
    else:
        remedy = "`batchmill migrate` does it; servers and workers do it by themselves."
        yield Finding("database", Verdict.WARN, f"{kind} has an older schema", remedy)


def storage(settings: Settings) -> Iterator[Finding]:
    """Check that the storage answers; the default one is in the data folder."""
    if settings.storage_url is None:
        yield Finding("storage", Verdict.OK, "in the data folder")
        return
    from batchmill.bootstrap import open_storage

    async def free_bytes() -> int | None:
        opened = open_storage(settings)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                async for _ in opened.list_folders(""):
                    break
                return await opened.free_bytes()
        finally:
            await opened.aclose()

    try:
        free = asyncio.run(free_bytes())
    except (BatchmillError, TimeoutError, OSError) as error:
        sentence = error.message if isinstance(error, BatchmillError) else "it does not answer"
        remedy = "Correct BATCHMILL_STORAGE_URL; for a bucket also BATCHMILL_S3_ENDPOINT."
        yield Finding("storage", Verdict.FAIL, sentence, remedy)
        return
    text = settings.storage_url + ("" if free is None else f", {size(free)} free")
    yield Finding("storage", Verdict.OK, text)


def engine(settings: Settings) -> Iterator[Finding]:
    """Check that the engine is one that this version has."""
    if settings.redis_url is None:
        yield Finding("engine", Verdict.OK, "in process; nothing else is needed")
        return
    found = "BATCHMILL_REDIS_URL is set, but this version hands out work inside one process only"
    yield Finding("engine", Verdict.FAIL, found, "Unset BATCHMILL_REDIS_URL.")


def server(settings: Settings) -> Iterator[Finding]:
    """Ask the server that commands talk to how it is."""
    from batchmill.client.async_client import AsyncClient

    async def readiness() -> told.Readiness:
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
