"""Whose a store is: each carries a mark with the installation's id and its generation.

The leader raises the generation hourly, in the database first and then in the marks. So a mark
above the database's generation tells of an older backup, and another id of another installation.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batchmill import logs
from batchmill.db import batches, stores, uploads
from batchmill.db.stores import Identity
from batchmill.errors.outage import StorageUnavailableError
from batchmill.errors.request import NotFoundError, WrongStoreError
from batchmill.logs import Event
from batchmill.model import ids
from batchmill.model.batch import BatchId
from batchmill.service.context import ServerContext
from batchmill.storage import disk, growing, keys

CHUNK_ROWS = 1_000
RAISED_EVERY_MS = 3_600_000
PATIENCE_S = 10.0
"""How long a store may take to show its mark."""
FIRST_SERVER_S = 30.0
"""How long a worker waits for a server that marks the stores for the first time."""
_TRIES = 10
_WAIT_S = 0.25


@dataclass(frozen=True, slots=True)
class Store:
    """One place where files are kept: its mark, and whether it holds what nobody knows.

    With `shared` every process sees the same one, so that its mark can't just be missing.
    """

    name: str
    where: str
    shared: bool
    read: Callable[[], Awaitable[bytes | None]]
    swap: Callable[[bytes, bytes | None], Awaitable[bool]]
    holds_unknown: Callable[[], Awaitable[bool]]


def of_batches(server: ServerContext) -> Sequence[Store]:
    """Return the stores of batches: the main one, and that for results where it is another."""
    found = [("main", "The storage (BATCHMILL_STORAGE_URL, or BATCHMILL_DATA_DIR)", keys.IDENTITY)]
    if server.settings.results_url is not None:
        key = f"{keys.RESULTS}{keys.IDENTITY}"
        found.append(("results", "The storage for results (BATCHMILL_RESULTS_URL)", key))
    return [
        Store(
            name,
            where,
            shared=True,
            read=partial(_read, server, key),
            swap=partial(_swap, server, key),
            holds_unknown=partial(_holds_unknown_batches, server),
        )
        for name, where, key in found
    ]


def of_uploads(server: ServerContext) -> Sequence[Store]:
    """Return the folder of open uploads; each server has its own where they share none."""
    folder = server.settings.uploads_folder
    path = folder / keys.IDENTITY
    return [
        Store(
            "uploads",
            "The folder of open uploads (BATCHMILL_UPLOADS_DIR, or BATCHMILL_DATA_DIR)",
            shared=False,
            read=partial(asyncio.to_thread, disk.read_small, path),
            swap=partial(_swap_file, path),
            holds_unknown=partial(_holds_unknown_uploads, server, folder),
        )
    ]


async def claim(server: ServerContext, found: Sequence[Store], *, adopt: bool = False) -> None:
    """Make sure that stores belong to this database, and mark those that are new.

    `adopt` takes over whatever they are.

    Raises:
        WrongStoreError: a store is another installation's, or newer than the database, or lacks
            its mark and may not be this installation's. Nothing was changed in that one.
        StorageUnavailableError: one is away.
    """
    for store in found:
        for _ in range(_TRIES):
            if await _is_claimed(server, store, adopt=adopt):
                break
        else:
            raise StorageUnavailableError(detail=f"the mark of {store.name} does not stay")


async def claim_when_marked(server: ServerContext) -> None:
    """Make sure, for a worker, that it works in the stores that the servers use.

    Only a server marks a store: a worker may be the first to start, and in the wrong folder.

    Raises:
        WrongStoreError: they are others, or no server has ever started.
        StorageUnavailableError: one is away.
    """
    found = of_batches(server)
    try:
        async with asyncio.timeout(FIRST_SERVER_S):
            await _until_used(server, found)
    except TimeoutError as error:
        raise WrongStoreError(
            "No server has used this database and this storage yet.",
            "Start `batchmill serve` first, with the same BATCHMILL_DATABASE_URL and"
            " BATCHMILL_STORAGE_URL; then start the worker again.",
        ) from error
    await claim(server, found)


async def raise_generation(server: ServerContext, found: Sequence[Store]) -> None:
    """Raise the generation where an hour has passed: in the database first, then in the marks.

    The stores have been claimed: else an older database would be raised to look like new.
    """
    if await server.database.run(stores.raise_generation, older_ms=RAISED_EVERY_MS):
        await claim(server, found)


async def _is_claimed(server: ServerContext, store: Store, *, adopt: bool) -> bool:
    """Look at a store once. False: something was changed, so look again."""
    body = await store.read()
    # Behind the mark: the database is always raised before it.
    known = await server.database.read(stores.read)
    if known.identity is None:
        await server.database.run(stores.begin, ids.installation_id())
        return False
    mark = None if body is None else _mark(body)
    wrong = await _wrong(store, mark, known.identity, is_new=store.name not in known.marked)
    if wrong is not None and not adopt:
        raise wrong
    if _is_newer(mark, known.identity):
        await server.database.run(stores.raise_generation, above=mark.generation if mark else 0)
        return False
    if mark != known.identity:
        if await store.swap(_body(known.identity), body) and mark is None:
            logs.info(Event.STORAGE_MARKED, store=store.name)
        return False
    if store.name not in known.marked:
        await server.database.run(stores.remember, store.name)
    return True


async def _wrong(
    store: Store, mark: Identity | None, known: Identity, *, is_new: bool
) -> WrongStoreError | None:
    if mark is None:
        if store.shared and not is_new:  # or it was marked just after we looked
            return _lost(store) if await store.read() is None else None
        return _strange(store) if await store.holds_unknown() else None
    if mark.installation != known.installation:
        return _foreign(store)
    return _older(store) if _is_newer(mark, known) else None


def _is_newer(mark: Identity | None, known: Identity) -> bool:
    same = mark is not None and mark.installation == known.installation
    return same and mark is not None and mark.generation > known.generation


_ADOPT = "start once with `batchmill serve --adopt-storage`"


def _lost(store: Store) -> WrongStoreError:
    return WrongStoreError(
        f"{store.where} is not the one that this database's batches lie in: its mark is missing.",
        "Correct the address, or mount the disk. If the files have moved there without the file"
        f" {keys.IDENTITY}, or are lost for good, {_ADOPT}.",
    )


def _strange(store: Store) -> WrongStoreError:
    return WrongStoreError(
        f"{store.where} holds files of batches that the database does not know.",
        "Correct BATCHMILL_DATABASE_URL or the storage's address. If this database is the right"
        f" one, {_ADOPT}: what it does not know is removed then, in time.",
    )


def _foreign(store: Store) -> WrongStoreError:
    return WrongStoreError(
        f"{store.where} belongs to another installation than the database.",
        "Correct BATCHMILL_DATABASE_URL or the storage's address; in one bucket each installation"
        f" needs a prefix of its own. If the other installation is gone for good, {_ADOPT}.",
    )


def _older(store: Store) -> WrongStoreError:
    return WrongStoreError(
        f"{store.where} was in use after this backup of the database was made.",
        "Restore the newest backup, or correct BATCHMILL_DATABASE_URL. If there is no newer one,"
        f" {_ADOPT}: what came in after the backup is removed then, in time.",
    )


async def _until_used(server: ServerContext, found: Sequence[Store]) -> None:
    while True:
        known = await server.database.read(stores.read)
        if all([store.name in known.marked or await store.read() for store in found]):
            return
        await asyncio.sleep(_WAIT_S)


def _body(identity: Identity) -> bytes:
    fields = {"installation": identity.installation, "generation": identity.generation}
    return json.dumps(fields).encode() + b"\n"


def _mark(body: bytes) -> Identity:
    """Read a mark; one that can't be read is nobody's, so that nothing is taken for ours."""
    try:
        fields = json.loads(body)
        return Identity(str(fields["installation"]), int(fields["generation"]))
    except (ValueError, TypeError, KeyError):
        return Identity("", 0)


async def _read(server: ServerContext, key: str) -> bytes | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return b"".join([piece async for piece in server.storage.read(key)])
    except NotFoundError:
        return None
    except TimeoutError as error:
        raise StorageUnavailableError(detail=f"no answer within {PATIENCE_S:g} s") from error


async def _swap(server: ServerContext, key: str, body: bytes, expected: bytes | None) -> bool:
    return await server.storage.swap(key, body, expected=expected)


async def _swap_file(path: Path, body: bytes, expected: bytes | None) -> bool:
    return await disk.in_thread(disk.swap, path, body, expected)


async def _holds_unknown_batches(server: ServerContext) -> bool:
    """Ask for a thousand folders at a time, and no further than the first that is unknown."""
    chunk = set[BatchId]()
    async for name in server.storage.list_folders(keys.BATCHES):
        if keys.is_batch(name):
            chunk.add(BatchId(name))
        if len(chunk) == CHUNK_ROWS:
            if chunk - await server.database.read(batches.existing, sorted(chunk)):
                return True
            chunk.clear()
    return bool(chunk - await server.database.read(batches.existing, sorted(chunk)))


async def _holds_unknown_uploads(server: ServerContext, folder: Path) -> bool:
    names = sorted(await asyncio.to_thread(growing.files, folder))
    for start in range(0, len(names), CHUNK_ROWS):
        chunk = names[start : start + CHUNK_ROWS]
        if set(chunk) - await server.database.read(uploads.existing, chunk):
            return True
    return False
