"""Keeps the leases of this process's running items, and stops work whose claim is lost."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from batchmill import logs
from batchmill.db import items
from batchmill.db.connect import Connection
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.item import Claim, ItemId
from batchmill.service.context import ServerContext

T = TypeVar("T")

TICK_S = 1.0
"""How often claims are checked: a cancelled item's child is killed within about this time."""


@dataclass(slots=True)
class _Held:
    claim: Claim
    scope: asyncio.Timeout
    progress: float = 0.0
    stored: float = 0.0
    is_given_up: bool = False

    def give_up(self) -> None:
        """End the attempt: `hold` raises TimeoutError in the task that runs it.

        Once: a scope that is ending refuses a change, and the end may outlast the next ticks when
        a child dies slowly or a line is dead.
        """
        if not self.is_given_up:
            self.is_given_up = True
            self.scope.reschedule(asyncio.get_running_loop().time())


class LeaseKeeper:
    """One per worker process; `run` must be running while items are held."""

    def __init__(self, server: ServerContext) -> None:
        self._server_context = server
        self._held: dict[ItemId, _Held] = {}
        self._renewed = time.monotonic()

    @contextmanager
    def hold(self, claim: Claim, scope: asyncio.Timeout) -> Iterator[None]:
        """Keep a claim alive for the length of the block; `scope` times out when it is lost."""
        if all(held.is_given_up for held in self._held.values()):
            self._renewed = time.monotonic()
        self._held[claim.item_id] = _Held(claim, scope)
        try:
            yield
        finally:
            del self._held[claim.item_id]

    def report(self, item_id: ItemId, fraction: float) -> None:
        """Note how far an attempt is; stored at the next tick."""
        held = self._held.get(item_id)
        if held is not None:
            held.progress = max(held.progress, min(1.0, fraction))

    async def run(self) -> None:
        """Check every `TICK_S`, renew every `renew_s`; runs until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            claims = [held.claim for held in self._held.values() if not held.is_given_up]
            if claims:
                await self._tick(claims)

    async def _tick(self, claims: list[Claim]) -> None:
        silent_s = time.monotonic() - self._renewed
        settings = self._server_context.settings
        try:
            async with asyncio.timeout(max(TICK_S, settings.lease_s - settings.renew_s - silent_s)):
                if silent_s >= settings.renew_s - TICK_S / 2:
                    await self._renew(claims)
                else:
                    standing = await self._server_context.database.read(items.held, claims)
                    self._drop_lost(claims, standing)
                await self._store_progress()
        except (OutageError, TimeoutError):
            self._give_up_before_expiry()

    async def _renew(self, claims: list[Claim]) -> None:
        asked = time.monotonic()
        renewing = self._server_context.database.run(
            _renew, claims, lease_ms=self._server_context.lease_ms
        )
        standing = await _unheld(renewing)
        self._renewed = asked
        self._drop_lost(claims, standing)

    async def _store_progress(self) -> None:
        moved = [held for held in self._held.values() if held.progress > held.stored]
        if moved:
            values = [(held.claim, held.progress) for held in moved]
            await _unheld(self._server_context.database.run(_store_progress, values))
        for held in moved:
            held.stored = held.progress

    def _drop_lost(self, asked: list[Claim], standing: set[ItemId]) -> None:
        for claim in asked:
            held = self._held.get(claim.item_id)
            if held is not None and held.claim == claim and claim.item_id not in standing:
                logs.info(Event.ITEM_LOST, item=claim.item_id, attempt=claim.attempt)
                held.give_up()

    def _give_up_before_expiry(self) -> None:
        """Without the database nobody renews: stop before another worker may take over."""
        left_s = self._server_context.settings.lease_s - (time.monotonic() - self._renewed)
        if left_s < self._server_context.settings.renew_s:
            for held in self._held.values():
                held.give_up()


async def _unheld(writing: Coroutine[Any, Any, T]) -> T:
    """Wait for a write, but no longer once cancelled: a dead line must not hold up giving up."""
    return await asyncio.shield(writing)


def _renew(conn: Connection, claims: list[Claim], *, lease_ms: int) -> set[ItemId]:
    items.renew(conn, claims, lease_ms=lease_ms)
    return items.held(conn, claims)


def _store_progress(conn: Connection, values: list[tuple[Claim, float]]) -> None:
    for claim, fraction in values:
        items.report_progress(conn, claim, fraction)
