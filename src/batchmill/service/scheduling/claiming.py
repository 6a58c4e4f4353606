"""Claims chunks of items for this worker's slots, and gives back what they do not get to."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from batchmill import logs
from batchmill.db import shares
from batchmill.db.turns import Passed
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import Batch, BatchId, OwnerId
from batchmill.model.item import AttemptKey, Claim
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import claims
from batchmill.service.scheduling.leases import LeaseKeeper, hand_back
from batchmill.service.scheduling.transitions import Asking, Claimed
from batchmill.service.scheduling.usage import AHEAD_S, CHUNK_S, SlotUsage

TELL_S: Final = 1.0
"""How old what the others know of this worker's slots may be."""
POLL_S: Final = 0.5
"""How often a worker asks that has nothing to do and is not notified."""
LOOKED_AT: Final = 50
"""Most files among which one of another owner is looked for."""
PATIENCE_S: Final = 4.0
"""What waits here for longer goes back: a long file is in its way."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A claimed file that has not begun, and how long it will probably take."""

    claimed: Claimed
    expected_s: float
    since_s: float = field(default_factory=time.monotonic)


def next_place(waiting: Iterable[Waiting], at_work: Collection[OwnerId]) -> int:
    """Return the place of the first file of an owner who has no slot here; where all have, 0.

    A child works for one owner: so those who take turns start fewer of them. What has waited for a
    second is passed over no more, and no more than `LOOKED_AT` files are.
    """
    young_s = time.monotonic() - CHUNK_S
    for place, each in enumerate(islice(waiting, LOOKED_AT)):
        if each.claimed.owner_id not in at_work:
            return place
        if each.since_s < young_s:
            break
    return 0


class Claimer:
    """One per worker process; `run` claims for those who call `next`."""

    def __init__(self, server: ServerContext, keeper: LeaseKeeper, usage: SlotUsage) -> None:
        self._server_context = server
        self._keeper = keeper
        self._usage = usage
        self._waiting: deque[Waiting] = deque()
        self._filled = asyncio.Condition()
        self._woken = asyncio.Event()
        self._notified = True
        self._nothing_until_s = 0.0
        self._told_s = 0.0
        self._rests = False
        self._stopped = False
        keeper.on_waiting_lost = self._remove

    async def next(self) -> Claimed | None:
        """Wait for the next item; it has a slot from now until `left`. None: there are no more."""
        async with self._filled:
            await self._filled.wait_for(lambda: self._waiting or self._stopped)
            if self._stopped:
                return None
            place = next_place(self._waiting, self._usage.at_work)
            claimed = self._waiting[place].claimed
            del self._waiting[place]
        self._usage.begin(claimed)
        self._woken.set()
        return claimed

    def beside(self, first: Claimed, room: int) -> Sequence[Claimed]:
        """Return up to `room` items that may share the slot of `first`: small ones of its batch."""
        batch_id = first.claim.batch_id
        if room < 1 or first.is_alone or not self._usage.is_small(batch_id):
            return ()
        taken: list[Claimed] = []
        while len(taken) < room and self._waiting:
            claimed = self._waiting[0].claimed
            if claimed.claim.batch_id != batch_id or claimed.is_alone:
                break
            taken.append(claimed)
            self._waiting.popleft()
        if taken:
            self._woken.set()
        return taken

    def left(self, claimed: Claimed, *, files: int = 1) -> None:
        """Note that an item has left its slot, after it and others beside it had that."""
        self._usage.end(claimed, files=files)
        self._rests = False
        self._woken.set()

    def wake(self, *, ask: bool) -> None:
        """Look whether more is needed; `ask` even if there was nothing a moment ago."""
        if ask:
            self._notified = True
        self._woken.set()

    async def stop(self) -> None:
        """Claim nothing more, end every wait, and give back what has not begun."""
        async with self._filled:
            self._stopped = True
            self._filled.notify_all()
        await self._give_back(self._take_out(lambda _: True))

    async def run(self) -> None:
        """Claim whenever a slot is short of work, until `stop` was called."""
        while not self._stopped:
            self._woken.clear()
            try:
                if await self._step():
                    continue
                await self._tell_usage()
            except OutageError as error:
                logs.warning(Event.ITEM_INTERRUPTED, code=error.code, detail=error.detail)
                self._nothing_until_s = time.monotonic() + POLL_S
            except Exception as error:  # a fault of ours must not end the worker
                logs.error(Event.INTERNAL_ERROR, exc_info=error)
                self._nothing_until_s = time.monotonic() + POLL_S
            try:
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _step(self) -> bool:
        """Give back or claim, where there is reason to; return whether something was claimed."""
        if self._server_context.vitals.holding:
            await self._give_back(self._take_out(lambda _: True))
            return False
        late_s = time.monotonic() - PATIENCE_S
        late = self._take_out(lambda each: each.since_s < late_s)
        if late:
            self._rests = True
            await self._give_back(late)
        notified, self._notified = self._notified, False
        if self._rests:
            return False
        slots = self._short()
        if slots and (notified or time.monotonic() >= self._nothing_until_s):
            claimed = await self._claim(slots, Passed())
            if not claimed:
                self._nothing_until_s = time.monotonic() + POLL_S
            await self._put(claimed, first=False)
            return bool(claimed)
        if notified and not slots:
            owners = self._usage.owners_of([each.claimed for each in self._waiting])
            passed = Passed(owners=tuple(owners), only_unserved=True)
            claimed = await self._claim(1, passed)
            await self._put(claimed, first=True)
            return bool(claimed)
        return False

    def _short(self) -> int:
        """Return how many slots have too little work ahead."""
        slots = self._usage.free_soon
        ahead_s = 0.0
        for each in self._waiting:
            ahead_s += each.expected_s
        return slots if ahead_s < AHEAD_S * slots else 0

    async def _claim(self, slots: int, passed: Passed) -> Sequence[Claimed]:
        vitals, changes = self._server_context.vitals, self._usage.changes()

        def most(batch: Batch) -> int:
            return self._usage.most(batch, slots=slots, workers=vitals.workers)

        asking = Asking(
            worker_id=self._server_context.worker_id,
            slots=vitals.slots,
            most=most,
            caps=self._server_context.caps,
            passed=passed,
            usage=changes,
            here=self._usage.recent,
            has_suspect=self._keeper.has_suspect,
        )
        with self._keeper.claiming():
            answer = await self._server_context.database.run(claims.claim, asking)
            while answer.passed is not None and not self._stopped and not vitals.holding:
                asking = replace(asking, passed=answer.passed, usage=())
                answer = await self._server_context.database.run(claims.claim, asking)
            self._keeper.take(answer.claimed)
        self._usage.written(changes)
        self._told_s = time.monotonic()
        for first in answer.claimed[:1]:
            if files := first.opens_run_of:
                logs.info(
                    Event.BATCH_STARTED,
                    batch=first.claim.batch_id,
                    family=first.pipeline.get("family"),
                    message=f"[Queue] Processing {files} file{'s' if files > 1 else ''}...",
                )
        return answer.claimed

    async def _tell_usage(self) -> None:
        """Write what owners have here, where no claim has done so."""
        changes = self._usage.changes()
        if changes and time.monotonic() - self._told_s >= TELL_S:
            worker_id = self._server_context.worker_id
            await self._server_context.database.run(shares.write, worker_id, changes)
            self._usage.written(changes)
            self._told_s = time.monotonic()

    async def _put(self, claimed: Sequence[Claimed], *, first: bool) -> None:
        if not claimed:
            return
        expected_s = self._usage.expected_s
        new = [Waiting(each, expected_s(each.claim.batch_id, each.pipeline)) for each in claimed]
        async with self._filled:
            if self._stopped:
                await self._give_back(new)
                return
            if first:
                self._waiting.extendleft(reversed(new))
            else:
                self._waiting.extend(new)
            self._filled.notify(len(new))

    def _remove(self, lost: Collection[AttemptKey]) -> None:
        self._take_out(lambda each: each.claimed.claim.key in lost)

    def _take_out(self, wanted: Callable[[Waiting], bool]) -> Sequence[Waiting]:
        taken = list(filter(wanted, self._waiting))
        if taken:
            self._waiting = deque(each for each in self._waiting if not wanted(each))
        return taken

    async def _give_back(self, waiting: Sequence[Waiting]) -> None:
        by_batch: dict[BatchId, list[Claim]] = {}
        for each in waiting:
            by_batch.setdefault(each.claimed.claim.batch_id, []).append(each.claimed.claim)
        try:
            for batch_id, claims in by_batch.items():
                await hand_back(self._server_context, batch_id, claims)
        finally:  # where the database is away, what is forgotten here goes back later
            for each in waiting:
                self._keeper.forget(each.claimed.claim)
