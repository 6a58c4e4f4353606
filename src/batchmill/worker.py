"""A worker: takes items from the engine until it is told to stop, then drains."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from batchmill import logs
from batchmill.logs import Event
from batchmill.model.item import ItemId
from batchmill.service import presence, sweep
from batchmill.service.leases import LeaseKeeper
from batchmill.service.mill import Mill
from batchmill.service.process import Attempt, process_item


async def work(mill: Mill, attempt: Attempt, *, slots: int, stopping: asyncio.Event) -> None:
    """Process items, `slots` at once, until `stopping` is set.

    Then running items have `drain_s` to finish; what is left is handed back uncounted.
    """
    keeper = LeaseKeeper(mill)

    async def handle(item_id: ItemId) -> None:
        try:
            await process_item(mill, keeper, attempt, item_id)
        except Exception as error:  # the lease runs out, and the sweep delivers the item again
            logs.error(Event.INTERNAL_ERROR, exc_info=error, item=item_id)

    async with background(keeper.run()):
        logs.info(Event.WORKER_STARTED, worker=mill.process_id, slots=slots)
        async with background(mill.engine.serve(handle, slots=slots, stopping=stopping)) as serving:
            await stopping.wait()
            logs.info(Event.WORKER_DRAINING, worker=mill.process_id)
            await asyncio.wait({serving}, timeout=mill.settings.drain_s)
    logs.info(Event.WORKER_STOPPED, worker=mill.process_id)


@asynccontextmanager
async def upkeep(mill: Mill, *, slots: int) -> AsyncIterator[None]:
    """Keep this process entered and the sweep going for the length of the block."""
    await presence.enter(mill, slots=slots)
    async with (
        background(presence.keep_alive(mill, slots=slots)),
        background(sweep.run(mill)),
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
