"""A worker: claims items and works on them until it is told to stop, then drains."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from batchmill import logs
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.item import ItemId
from batchmill.sandbox.child_process import AHEAD_JOBS
from batchmill.service import sweep, webhook_outbox
from batchmill.service.context import ServerContext
from batchmill.service.execution.process_item import Attempt, process_item
from batchmill.service.scheduling import heartbeat
from batchmill.service.scheduling.claiming import Claimer
from batchmill.service.scheduling.end_work import EndWorker
from batchmill.service.scheduling.finishing import Finisher
from batchmill.service.scheduling.leases import LeaseKeeper
from batchmill.service.scheduling.transitions import Claimed
from batchmill.service.scheduling.usage import CHUNK_S, SlotUsage


class Places:
    """Lets the next item come when one needs this worker no more than to wait for another server.

    Such an item goes on beside the slots; at most `remote_slots` of them wait at once.
    """

    def __init__(self) -> None:
        self._entered: dict[ItemId, asyncio.Future[None]] = {}

    def leave(self, item_id: ItemId) -> None:
        """Give up an item's place; nothing happens when it has none."""
        left = self._entered.get(item_id)
        if left is not None and not left.done():
            left.set_result(None)

    async def hold(self, item_id: ItemId, carried: asyncio.Task[None]) -> None:
        """Return once `carried`, which carries the item, has ended or its place was given up.

        When cancelled, that has ended too.
        """
        left = self._entered[item_id] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({carried, left}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            carried.cancel()
            await asyncio.wait({carried})
            raise
        finally:
            if self._entered.get(item_id) is left:
                del self._entered[item_id]


class WorkLoop:
    """Claims items for `slots` slots, carries them, and writes what came of them.

    While files are small a slot has several of one batch at once, for a second, so that its child
    need not wait for the next.
    """

    def __init__(
        self,
        server: ServerContext,
        attempt: Attempt,
        *,
        slots: int,
        places: Places | None = None,
    ) -> None:
        self._server_context = server
        self._attempt = attempt
        self._places = places or Places()
        self._usage = SlotUsage(slots)
        self._keeper = LeaseKeeper(server)
        self._finisher = Finisher(server, self._keeper)
        self._claimer = Claimer(server, self._keeper, self._usage)
        self._end_worker = EndWorker(server)
        self._carried: set[asyncio.Task[None]] = set()

    async def run(self, *, stopping: asyncio.Event) -> None:
        """Process items until `stopping` is set.

        Then running items have `drain_s` to finish; what is left is handed back uncounted.
        """
        server, slots = self._server_context, self._usage.slots
        async with background(self._finisher.run()):
            async with (
                background(self._keeper.run()),
                background(self._end_worker.run()),
                background(server.notifier.listen(lambda: self._claimer.wake(ask=True))),
                asyncio.TaskGroup() as carrying,
                background(self._claimer.run()),
                asyncio.TaskGroup() as taking,
            ):
                for _ in range(slots):
                    taking.create_task(self._take_one_by_one(carrying))
                await stopping.wait()
                logs.info(Event.WORKER_DRAINING, worker=server.worker_id)
                self._end_worker.is_draining = True
                await heartbeat.announce_drain(server)
                await self._stop_claiming()
                await self._drain()
            await self._finisher.end()
        logs.info(Event.WORKER_STOPPED, worker=server.worker_id)

    async def stop_all(self) -> None:
        """Stop every attempt: the lease under which items were claimed is over."""
        self._keeper.give_up_all()
        await self._end_worker.stop()
        if self._carried:
            await asyncio.wait(set(self._carried))
        self._usage.forget()

    async def _stop_claiming(self) -> None:
        try:
            await self._claimer.stop()
        except OutageError as error:  # the lease runs out, and others get the items
            logs.warning(Event.ITEM_INTERRUPTED, code=error.code, detail=error.detail)

    async def _drain(self) -> None:
        if self._carried:
            await asyncio.wait(set(self._carried), timeout=self._server_context.settings.drain_s)
        for task in set(self._carried):
            task.cancel()

    async def _take_one_by_one(self, carrying: asyncio.TaskGroup) -> None:
        while (claimed := await self._claimer.next()) is not None:
            number = 1
            try:
                held = {self._begin(claimed, carrying)}
                until_s = time.monotonic() + CHUNK_S
                while held:
                    room = AHEAD_JOBS - len(held) if time.monotonic() < until_s else 0
                    for beside in self._claimer.beside(claimed, room):
                        held.add(self._begin(beside, carrying))
                        number += 1
                    done, held = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
                    for each in done:
                        each.result()
            except asyncio.CancelledError:
                for each in held:
                    each.cancel()
                if held:
                    await asyncio.wait(held)
                raise
            finally:
                self._claimer.left(claimed, files=number)

    def _begin(self, claimed: Claimed, carrying: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Carry an item, and return what ends when it leaves its place."""
        task = carrying.create_task(self._carry(claimed))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return asyncio.create_task(self._places.hold(claimed.claim.item_id, task))

    async def _carry(self, claimed: Claimed) -> None:
        server, keeper, finisher = self._server_context, self._keeper, self._finisher
        try:
            await process_item(server, claimed, self._attempt, keeper=keeper, finisher=finisher)
        except Exception as error:  # a fault of ours: the item is handed back, and tried again
            keeper.forget(claimed.claim)
            logs.error(Event.INTERNAL_ERROR, exc_info=error, item=claimed.claim.item_id)


@asynccontextmanager
async def at_work(
    server: ServerContext, worker: WorkLoop, *, slots: int, stopping: asyncio.Event
) -> AsyncIterator[None]:
    """Run a worker beside the block with all its upkeep; then let it drain.

    Others count on `slots` slots of it.
    """
    await heartbeat.enter(server, slots=slots)
    logs.info(Event.WORKER_STARTED, worker=server.worker_id, slots=slots)
    async with (
        upkeep(server, slots=slots, worker=worker),
        background(worker.run(stopping=stopping)) as running,
    ):
        yield
        stopping.set()
        await asyncio.wait({running})


@asynccontextmanager
async def upkeep(
    server: ServerContext, *, slots: int, worker: WorkLoop | None = None
) -> AsyncIterator[None]:
    """Keep this process entered, and sweep and deliveries going, for the length of the block."""
    on_lost = worker.stop_all if worker else heartbeat.nothing
    async with (
        background(heartbeat.keep_alive(server, slots=slots, on_lost=on_lost)),
        background(sweep.run(server)),
        background(webhook_outbox.run(server)),
    ):
        yield


@asynccontextmanager
async def background(
    running: Coroutine[None, None, None],
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a coroutine beside the block; it is cancelled, and waited for, when the block ends.

    Should it fail first, the block is cancelled. What failed first, the coroutine or the
    block, is raised as it is: a group of one would hide from people what it means.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(running)
            yield task
            task.cancel()
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
