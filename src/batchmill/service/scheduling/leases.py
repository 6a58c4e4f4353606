"""What this worker holds: it stops work whose claim is lost, and gives back what is not worked on.

One question a second asks which items the database says are this worker's. The answer decides only
over what was held from before the question until the answer.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from batchmill import logs
from batchmill.db import items
from batchmill.db.items import HeldRow
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import BatchId
from batchmill.model.item import AttemptKey, Claim
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import Claimed

TICK_S: Final = 1.0
"""How often claims are checked: a cancelled item's child is killed within about this time."""
BEGUN_S: Final = 1.0
"""Files that run for longer are shown as processing."""


@dataclass(slots=True)
class _Held:
    claimed: Claimed
    since_s: float = field(default_factory=time.monotonic)
    scope: asyncio.Timeout | None = None
    began_s: float | None = None
    has_ended: bool = False
    is_noted: bool = False
    is_given_up: bool = False
    progress: float = 0.0
    stored: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether its attempt has not begun."""
        return self.began_s is None

    def give_up(self) -> None:
        """End the attempt: `running` raises TimeoutError in the task that runs it.

        Once: a scope that is ending refuses a change, and the end may outlast the next ticks when
        a child dies slowly or a line is dead.
        """
        if not self.is_given_up and self.scope is not None:
            self.scope.reschedule(asyncio.get_running_loop().time())
        self.is_given_up = True


class LeaseKeeper:
    """One per worker process; `run` must be running while items are held."""

    def __init__(self, server: ServerContext) -> None:
        self._server_context = server
        self._held: dict[AttemptKey, _Held] = {}
        self._claims_on_the_way = 0
        self.on_waiting_lost: Callable[[set[AttemptKey]], None] = lambda _: None
        """Hears of items that have not begun and must not."""

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Tell that a claim is on its way: what it brings is not known here yet."""
        self._claims_on_the_way += 1
        try:
            yield
        finally:
            self._claims_on_the_way -= 1

    def take(self, claimed: Sequence[Claimed]) -> None:
        """Hold what was claimed, from the moment of the answer."""
        for each in claimed:
            self._held[each.claim.key] = _Held(each)

    @contextmanager
    def running(self, claimed: Claimed, scope: asyncio.Timeout) -> Iterator[None]:
        """Run an attempt for the length of the block; `scope` times out when the claim is lost."""
        held = self._held.setdefault(claimed.claim.key, _Held(claimed))
        held.scope, held.began_s = scope, time.monotonic()
        held.is_noted = claimed.is_sequential or claimed.is_suspect
        if held.is_given_up:
            scope.reschedule(asyncio.get_running_loop().time())
        try:
            yield
        except BaseException:
            self.forget(claimed.claim)
            raise
        held.has_ended = True

    def forget(self, claim: Claim) -> None:
        """Hold an item no longer: it was finished, handed back or lost."""
        self._held.pop(claim.key, None)

    def begin_no_more(self, batch_id: BatchId) -> None:
        """Let go of what has not begun of a batch that stops; the next check gives it back."""
        held = self._held.items()
        self._drop({key for key, each in held if each.waits and _is_of(each, batch_id)})

    def report(self, claim: Claim, fraction: float) -> None:
        """Note how far an attempt is; stored at the next tick."""
        held = self._held.get(claim.key)
        if held is not None:
            held.progress = max(held.progress, min(1.0, fraction))

    @property
    def unfinished(self) -> int:
        """How many items are held whose attempt has not ended."""
        return sum(not held.has_ended for held in self._held.values())

    def has_more_of(self, batch_id: BatchId) -> bool:
        """Say whether items of a batch are held whose attempt has not ended."""
        held = self._held.values()
        return any(not each.has_ended and _is_of(each, batch_id) for each in held)

    @property
    def has_suspect(self) -> bool:
        """Whether a suspect is held: it waits, is at work, or is not written yet."""
        return any(held.claimed.is_suspect for held in self._held.values())

    def give_up_all(self) -> None:
        """Stop all attempts: this worker's lease is over."""
        waiting = {key for key, held in self._held.items() if held.waits}
        for held in self._held.values():
            if not held.has_ended:
                held.give_up()
        self._drop(waiting)

    async def run(self) -> None:
        """Check every `TICK_S`; runs until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                async with asyncio.timeout(self._left_s()):
                    await self._check()
                    await self._note_begins()
                    await self._store_progress()
            except (OutageError, TimeoutError):
                self._give_up_before_expiry()
            except Exception as error:  # a fault of ours must not end the worker
                logs.error(Event.INTERNAL_ERROR, exc_info=error)

    def _left_s(self) -> float:
        """Return how long a check may take before this worker must stop what it has."""
        settings = self._server_context.settings
        silent_s = time.monotonic() - self._server_context.vitals.renewed_s
        return max(TICK_S, settings.lease_s - settings.renew_s - silent_s)

    def _give_up_before_expiry(self) -> None:
        """Without the database no lease is renewed: stop before another worker may take over."""
        settings = self._server_context.settings
        silent_s = time.monotonic() - self._server_context.vitals.renewed_s
        if settings.lease_s - silent_s < settings.renew_s:
            self.give_up_all()

    async def _check(self) -> None:
        asked = {key: held for key, held in self._held.items() if not held.has_ended}
        claiming = self._claims_on_the_way
        worker_id = self._server_context.worker_id
        rows = await self._server_context.database.read(items.of_worker, worker_id)
        claiming += self._claims_on_the_way
        mine = {row.claim.key: row for row in rows}
        self._give_up_lost(asked, mine)
        paused = {key for key, row in mine.items() if row.waits and self._waits(key)}
        self._drop(paused)
        # What a claim on the way brings is not known here yet.
        unknown = set() if claiming else mine.keys() - self._held.keys()
        await self._hand_back([mine[key].claim for key in paused | unknown])

    def _give_up_lost(
        self, asked: Mapping[AttemptKey, _Held], mine: Mapping[AttemptKey, HeldRow]
    ) -> None:
        lost = [
            key
            for key, held in asked.items()
            if key not in mine and self._held.get(key) is held and not held.has_ended
        ]
        for item_id, attempt in lost:
            logs.info(Event.ITEM_LOST, item=item_id, attempt=attempt)
            asked[item_id, attempt].give_up()
        self._drop({key for key in lost if self._waits(key)})

    def _waits(self, key: AttemptKey) -> bool:
        held = self._held.get(key)
        return held is not None and held.waits

    def _drop(self, waiting: set[AttemptKey]) -> None:
        for key in waiting:
            self._held.pop(key, None)
        if waiting:
            self.on_waiting_lost(waiting)

    async def _hand_back(self, claims: Sequence[Claim]) -> None:
        by_batch: dict[BatchId, list[Claim]] = {}
        for claim in claims:
            by_batch.setdefault(claim.batch_id, []).append(claim)
        for batch_id, own in by_batch.items():
            await _unheld(hand_back(self._server_context, batch_id, own))

    async def _note_begins(self) -> None:
        now_s = time.monotonic()
        by_batch: dict[BatchId, dict[Claim, int]] = {}
        noted = []
        for held in self._held.values():
            if held.is_noted or held.has_ended or held.began_s is None:
                continue
            if now_s - held.began_s >= BEGUN_S:
                claim = held.claimed.claim
                age_ms = round((now_s - held.began_s) * 1000)
                by_batch.setdefault(claim.batch_id, {})[claim] = age_ms
                noted.append(held)
        for batch_id, ages_ms in by_batch.items():
            noting = self._server_context.database.run(
                transitions.begin, batch_id, ages_ms, by=self._server_context.worker_id
            )
            await _unheld(noting)
        for held in noted:
            held.is_noted = True

    async def _store_progress(self) -> None:
        moved = [
            held
            for held in self._held.values()
            if held.is_noted and not held.has_ended and held.progress > held.stored
        ]
        if moved:
            fractions = {held.claimed.claim: held.progress for held in moved}
            await _unheld(self._server_context.database.run(items.report_progress, fractions))
        for held in moved:
            held.stored = max(held.stored, fractions[held.claimed.claim])


def _is_of(held: _Held, batch_id: BatchId) -> bool:
    return held.claimed.claim.batch_id == batch_id


async def _unheld(writing: Coroutine[Any, Any, object]) -> None:
    """Wait for a write, but no longer once cancelled: a dead line must not hold up giving up."""
    await asyncio.shield(writing)


async def hand_back(server: ServerContext, batch_id: BatchId, claims: Sequence[Claim]) -> int:
    """Return items unfinished, and tell those who may take them; return how many there were."""
    number = await server.database.run(transitions.hand_back, batch_id, claims, by=server.worker_id)
    if number:
        logs.info(Event.ITEM_HANDED_BACK, batch=batch_id, items=number)
        await server.notify([batch_id])
    return number
