"""What remote calls of the server's items are made with: budgets in the database, signed addresses.

The copy that a model may fetch lies in its attempt's own folder of the storage. It goes when the
call ends; what a killed worker left goes with its attempt; and the address is dead soon anyway.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final

from batchmill.attempt.context import Remote
from batchmill.db import access
from batchmill.db.connect import Connection, Database
from batchmill.errors.item import BudgetUsedUpError
from batchmill.operations.vision.model import Publish
from batchmill.service.context import ServerContext
from batchmill.service.scheduling.transitions import Claimed
from batchmill.storage import keys

SIGNED: Final = "/signed"
"""Below it the HTTP server has what is signed for a short time."""
_DAY_MS: Final = 86_400_000
_BATCH_MS: Final = 366 * _DAY_MS
"""Longer than any batch is kept."""
_MICROUSD: Final = 1_000_000
_CALLS: Final = 2
"""An answer that can't be used is asked for once more, with the same address."""
_BESIDE_S: Final = 30
"""For what lies between the calls: the copy on its way to the storage, reading the answer."""


def remote_of(server: ServerContext, remote: Remote, claimed: Claimed) -> Remote:
    """Return what one item's calls are made with."""
    budget = DatabaseCallBudget(server.database, _budgets(server, claimed))
    publish = _publisher(server, claimed) if server.settings.public_url else None
    clients = replace(remote.clients, budget=budget, publish=publish)
    return replace(remote, clients=clients)


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap in millionths of a US dollar over a window of time; `whose` is said when it is full."""

    window: str
    whose: str
    window_ms: int
    most: int | None


class DatabaseCallBudget:
    """One attempt's way to budgets that all workers share, the batch's first; see `CallBudget`.

    Without any cap the database is not asked.
    """

    def __init__(self, database: Database, budgets: Sequence[Budget]) -> None:
        self._database = database
        self._budgets = budgets
        self._capped: Sequence[Budget] = ()

    async def reserve(self, amount: int, *, most: int | None) -> None:
        """See CallBudget.reserve."""
        batch, *others = self._budgets
        caps = [cap for cap in (batch.most, most) if cap is not None]
        every = (replace(batch, most=min(caps, default=None)), *others)
        self._capped = [each for each in every if each.most is not None]
        if self._capped:
            await self._database.run(_reserve, self._capped, amount)

    async def settle(self, reserved: int, spent: int) -> None:
        """See CallBudget.settle."""
        if self._capped:
            await self._database.run(_correct, self._capped, spent - reserved)


def _budgets(server: ServerContext, claimed: Claimed) -> tuple[Budget, ...]:
    tier = server.settings.tier(claimed.tier)
    batch, owner = claimed.claim.batch_id, claimed.owner_id
    return (
        Budget(f"llm batch {batch}", "this batch", _BATCH_MS, _microusd(tier.llm_batch_usd)),
        Budget(f"llm day {owner}", "24 hours", _DAY_MS, _microusd(tier.llm_day_usd)),
    )


def _microusd(usd: float | None) -> int | None:
    return None if usd is None else round(usd * _MICROUSD)


def _reserve(conn: Connection, budgets: Sequence[Budget], amount: int) -> None:
    """Set an amount aside in every budget, or in none."""
    for each in budgets:
        most = each.most or 0
        if not access.use_up(conn, each.window, amount, most=most, window_ms=each.window_ms):
            raise BudgetUsedUpError(each.whose, most / _MICROUSD)


def _correct(conn: Connection, budgets: Sequence[Budget], difference: int) -> None:
    for each in budgets:
        access.correct_use(conn, each.window, difference)


def _publisher(server: ServerContext, claimed: Claimed) -> Publish:
    settings, held = server.settings, claimed.claim
    valid_s = min(settings.signed_url_s, ceil(_CALLS * settings.llm_timeout_s) + _BESIDE_S)

    @asynccontextmanager
    async def publish(path: Path, media_type: str) -> AsyncIterator[str]:
        key = keys.copy_key(held.batch_id, held.item_id, held.attempt)
        token = server.signer.sign("GET", key, now_s=int(time.time()), valid_s=valid_s)
        try:
            await server.storage.put(key, path, media_type=media_type)
            yield f"{(settings.public_url or '').rstrip('/')}{SIGNED}/{token}/{key}"
        finally:
            await asyncio.shield(server.storage.delete([key]))

    return publish
