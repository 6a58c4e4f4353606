"""A worker: takes items from the engine until it is told to stop, then drains."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from batchmill import logs
from batchmill.logs import Event
from batchmill.model.item import ItemId
from batchmill.service import sweep, webhook_outbox
from batchmill.service.context import ServerContext
from batchmill.service.execution.process_item import Attempt, process_item
from batchmill.service.scheduling import heartbeat
from batchmill.service.scheduling.leases import LeaseKeeper


class Places:
    """Lets the next item come when one needs this worker no more than to wait for another server.

    Such an item goes on beside the engine's slots; at most `remote_slots` of them wait at once.
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


async def work(
    server: ServerContext,
    attempt: Attempt,
    *,
    slots: int,
    stopping: asyncio.Event,
    places: Places | None = None,
) -> None:
    """Process items, `slots` at once, until `stopping` is set.

    Then running items have `drain_s` to finish; what is left is handed back uncounted.
    """
    keeper, held = LeaseKeeper(server), places or Places()
    carried: set[asyncio.Task[None]] = set()

    async def carry(item_id: ItemId) -> None:
        try:
            await process_item(server, keeper, attempt, item_id)
        except Exception as error:  # the lease runs out, and the sweep delivers the item again
            logs.error(Event.INTERNAL_ERROR, exc_info=error, item=item_id)

    async def handle(item_id: ItemId) -> None:
        task = group.create_task(carry(item_id))
        carried.add(task)
        task.add_done_callback(carried.discard)
        await held.hold(item_id, task)

    async with background(keeper.run()), asyncio.TaskGroup() as group:
        logs.info(Event.WORKER_STARTED, worker=server.process_id, slots=slots)
        async with background(
            server.engine.serve(handle, slots=slots, stopping=stopping)
        ) as serving:
            await stopping.wait()
            logs.info(Event.WORKER_DRAINING, worker=server.process_id)
            await heartbeat.announce_drain(server)
            await asyncio.wait({serving, *carried}, timeout=server.settings.drain_s)
        for task in carried:
            task.cancel()
    logs.info(Event.WORKER_STOPPED, worker=server.process_id)


@asynccontextmanager
async def upkeep(server: ServerContext, *, slots: int) -> AsyncIterator[None]:
    """Keep this process entered, and sweep and deliveries going, for the length of the block."""
    await heartbeat.enter(server, slots=slots)
    async with (
        background(heartbeat.keep_alive(server, slots=slots)),
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
