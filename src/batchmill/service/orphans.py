"""What lies in a store and belongs to nothing that the database knows, and when it may go.

Not knowing is no proof: the database may be the wrong one, or an old one. So what is unknown is
entered when it is first seen and removed a day later; when it is much, an administrator decides.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from batchmill import logs
from batchmill.db import orphans, pauses
from batchmill.db.connect import Connection
from batchmill.db.orphans import BATCHES, DIRECT_UPLOADS, UPLOADS, Entered, OrphanRow
from batchmill.db.pauses import Pause
from batchmill.errors.outage import OutageError
from batchmill.errors.request import WrongStoreError
from batchmill.logs import Event
from batchmill.service import stores
from batchmill.service.context import ServerContext
from batchmill.service.stores import Store

Existing = Callable[[Connection, Collection[str]], set[Any]]
"""Returns those of some names that the database knows."""

DAY_MS = 86_400_000
CHUNK_ROWS = 1_000
FEW = 10
ONE_IN = 100
"""So many at most, or one in so many of all, are removed a day without a confirmation."""


@dataclass(frozen=True, slots=True)
class CleanupState:
    """What is to be removed; `pause` says why an administrator has to confirm it first."""

    pause: Pause | None
    orphans: int
    oldest: Sequence[OrphanRow]


async def state(server: ServerContext, *, shown: int) -> CleanupState:
    """Read what is to be removed, the oldest `shown` by name."""
    return await server.database.read(_state, shown)


def _state(conn: Connection, shown: int) -> CleanupState:
    return CleanupState(
        pauses.of_cleanup(conn), orphans.count(conn), orphans.oldest(conn, limit=shown)
    )


_WHAT = {
    BATCHES: "folders in the storage belong to no batch",
    UPLOADS: "files to no upload",
    DIRECT_UPLOADS: "files in the storage belong to no upload",
}


@dataclass(frozen=True, slots=True)
class StoreKind:
    """One kind of what is kept: where it lies, and how one of it is known and removed."""

    name: str
    stores: Sequence[Store]
    existing: Existing
    delete: Callable[[str], Awaitable[None]]


async def may_be_removed(server: ServerContext, kind: StoreKind) -> bool:
    """Say whether the stores still are this database's: only then does it know what is absent.

    Raises:
        StorageUnavailableError: one is away.
    """
    try:
        await stores.claim(server, kind.stores)
    except WrongStoreError as error:
        await _pause(server, kind, error.fact)
        return False
    await stores.raise_generation(server, kind.stores)
    return True


async def remove(server: ServerContext, kind: StoreKind, names: Collection[str]) -> None:
    """Enter those of all `names` that are not known, and remove those that have waited."""
    entered = await _entered(server, kind, sorted(names))
    most = max(FEW, len(names) // ONE_IN)
    unconfirmed = sum(each.unconfirmed for each in entered)
    if unconfirmed > most:
        reason = f"{unconfirmed} {_WHAT[kind.name]} that is known, more than the {most} of a day"
        await _pause(server, kind, reason)
    else:
        await _resume(server, kind)
    for each in entered:
        ripe = each.ripe_and_confirmed if unconfirmed > most else each.ripe
        known = await server.database.read(kind.existing, ripe)
        for name in sorted(set(ripe) - set(known)):
            await _remove(server, kind, name)


async def _remove(server: ServerContext, kind: StoreKind, name: str) -> None:
    """Remove one; should it fail, it stays entered."""
    try:
        await kind.delete(name)
    except (OutageError, OSError) as error:
        logs.warning(Event.SWEEP_INTERRUPTED, detail=str(error), name=name)
    else:
        await server.database.run(orphans.forget, kind.name, [name])


async def confirm(server: ServerContext) -> None:
    """Let all that is entered now be removed once it has waited, however much it is."""
    confirmed = await server.database.run(_confirm)
    logs.info(Event.CLEANUP_CONFIRMED, orphans=confirmed)


async def _entered(server: ServerContext, kind: StoreKind, names: Sequence[str]) -> list[Entered]:
    """Bring the table to what is seen now; where nothing is unknown, nothing is written."""
    found, any_entered = [], await server.database.read(orphans.count, kind.name)
    for start in range(0, len(names), CHUNK_ROWS):
        chunk = names[start : start + CHUNK_ROWS]
        known = await server.database.read(kind.existing, chunk)
        if any_entered or len(known) < len(chunk):
            found.append(await server.database.run(_enter, kind, chunk))
    if any_entered:
        await server.database.run(orphans.forget_unseen, kind.name, age_ms=2 * DAY_MS)
    return found


def _enter(conn: Connection, kind: StoreKind, names: Sequence[str]) -> Entered:
    known = kind.existing(conn, names)
    orphans.forget(conn, kind.name, known)
    return orphans.enter(conn, kind.name, set(names) - set(known), age_ms=DAY_MS)


def _confirm(conn: Connection) -> int:
    for name in pauses.CLEANUPS.values():
        pauses.end(conn, name)
    return orphans.confirm(conn)


async def _pause(server: ServerContext, kind: StoreKind, reason: str) -> None:
    if await server.database.run(pauses.begin, pauses.CLEANUPS[kind.name], reason):
        logs.error(Event.CLEANUP_PAUSED, kind=kind.name, reason=reason)


async def _resume(server: ServerContext, kind: StoreKind) -> None:
    name = pauses.CLEANUPS[kind.name]
    if await server.database.read(pauses.standing, name) is not None:
        await server.database.run(pauses.end, name)
        logs.info(Event.CLEANUP_RESUMED, kind=kind.name)
