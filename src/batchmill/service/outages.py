"""While the installation's own storage is away no item begins, and none uses up a retry.

A worker that meets the outage gives its items back uncounted, claims nothing more, and asks with
each heartbeat whether the storage answers again. A storage that has taken nothing for a day is
waited for no more: items are tried, and fail.
"""

import asyncio
import time
from typing import Final

from batchmill import logs
from batchmill.errors.base import BatchmillError
from batchmill.errors.outage import (
    DatabaseUnavailableError,
    StorageFullError,
    StorageUnavailableError,
)
from batchmill.errors.request import NotFoundError
from batchmill.logs import Event
from batchmill.service.context import ServerContext

PATIENCE_S: Final = 2.0
"""How long the storage may take to answer: the heartbeat waits for it."""
APART_S: Final = 60.0
"""Failures further apart belong to two outages."""
_PROBE: Final = "probe"
"""An object that there never is."""


async def is_passing(
    server: ServerContext, error: BatchmillError, *, began_s: float, is_made: bool
) -> bool:
    """Say whether an error is an outage of our own that is waited out; if so, begin to wait.

    It is none when the storage answers, and took another file since this attempt began, at
    `began_s` of the monotonic clock: then it refuses this file. `is_made`: the attempt has made
    its files, so that what is full is the storage.
    """
    if isinstance(error, DatabaseUnavailableError):
        return True
    is_storage = isinstance(error, StorageUnavailableError) or (
        is_made and isinstance(error, StorageFullError)
    )
    vitals = server.vitals
    if not is_storage or (vitals.storage_took_s > began_s and await _answers(server)):
        return False
    _note_failure(server)
    if not vitals.storage_is_away:
        vitals.storage_is_away = True
        logs.warning(Event.WORK_PAUSED, reason=error.message, detail=error.detail)
    return not vitals.storage_is_given_up


def _note_failure(server: ServerContext) -> None:
    """Note that the storage fails; what failed long ago was another outage."""
    vitals, now_s = server.vitals, time.monotonic()
    is_new = now_s - vitals.storage_failed_s > APART_S
    if vitals.storage_failing_since_s is None or is_new:
        vitals.storage_failing_since_s = now_s
    vitals.storage_failed_s = now_s


async def still_away(server: ServerContext) -> str | None:
    """Ask a storage that was away; return what to tell of it.

    None: it answers, or has failed for too long to be waited for.
    """
    vitals = server.vitals
    if not vitals.storage_is_away:
        return None
    if await _answers(server):
        vitals.storage_is_away = False
        return None
    _note_failure(server)
    return None if vitals.storage_is_given_up else "the storage does not answer"


async def _answers(server: ServerContext) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ask_storage(server)
    except (BatchmillError, TimeoutError, OSError):
        return False
    return True


async def ask_storage(server: ServerContext) -> str:
    """Return what the storage says of itself.

    Raises:
        StorageUnavailableError: it does not answer.
    """
    free = await server.storage.free_bytes()
    if free is not None:
        return f"{free / 1e9:.1f} GB free"
    try:
        async for _ in server.storage.read(_PROBE, start=0, stop=1):
            break
    except NotFoundError:  # who says that it is not there has answered
        pass
    return "answers"
