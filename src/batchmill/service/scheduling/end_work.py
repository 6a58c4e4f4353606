"""Does what is left for a batch once its items have ended; until then it is `finalizing`.

    last finish ─► finalizing ─► claim ─► work ─► final status and webhook

The work is claimed like an item: one worker has it, a lease that ends gives it to another, and the
finish of an older attempt changes nothing. An outage uses up nothing; after `MOST_ERRORS` errors
the batch ends without it, and says so.
"""

import asyncio
import contextlib
import time
from typing import Final

from batchmill import logs
from batchmill.db import ends
from batchmill.db.ends import EndClaim
from batchmill.db.types import NOW
from batchmill.errors.base import BatchmillError
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model import retry
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import endings

POLL_S, RARELY_S = 0.5, 5.0
"""How often a worker asks whether a batch waits for its end work, and where no family has any."""
TICK_S: Final = 1.0
"""How often it asks whether the work that it does is still its own."""
PAUSE_S: Final = 5.0
"""Time between two tries while something is away."""
MOST_ERRORS: Final = 5


class EndWorker:
    """One per worker process; `run` must be running for batches to get through their end."""

    def __init__(self, server: ServerContext) -> None:
        self._server_context = server
        self._working: asyncio.Task[None] | None = None
        self.is_draining = False

    async def run(self) -> None:
        """Take what waits, one batch after the other; runs until cancelled."""
        while True:
            try:
                if await self.take_next():
                    continue
            except OutageError as error:
                logs.warning(Event.ITEM_INTERRUPTED, code=error.code, detail=error.detail)
            except Exception as error:  # a fault of ours must not end the worker
                logs.error(Event.INTERNAL_ERROR, exc_info=error)
            await asyncio.sleep(POLL_S if self._server_context.has_end_work else RARELY_S)

    async def stop(self) -> None:
        """Stop what is at work: its claim is lost."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})

    async def take_next(self) -> bool:
        """Claim and carry what waits longest; False: nothing waits."""
        server = self._server_context
        if server.vitals.holding or self.is_draining:
            return False
        held = await server.database.run(ends.claim, server.worker_id)
        if held is None:
            return False
        working = self._working = asyncio.create_task(self._carry(held))
        try:
            await self._watch(working, held)
        finally:
            await asyncio.shield(self.stop())
            self._working = None
        if not working.cancelled():
            working.result()  # raises what kept its end from being written
        return True

    async def _watch(self, working: asyncio.Task[None], held: EndClaim) -> None:
        """Wait for the work; stop it once its claim is lost, or may be."""
        while not (await asyncio.wait({working}, timeout=TICK_S))[0]:
            with contextlib.suppress(OutageError, TimeoutError):
                async with asyncio.timeout(TICK_S):
                    is_held = await self._server_context.database.read(ends.is_held, held)
                if not is_held:
                    logs.info(Event.ITEM_LOST, batch=held.batch.id)
                    return
            settings, vitals = self._server_context.settings, self._server_context.vitals
            if time.monotonic() - vitals.renewed_s > settings.lease_s - settings.renew_s:
                return

    async def _carry(self, held: EndClaim) -> None:
        """Do the work and write what came of it."""
        server, batch = self._server_context, held.batch
        work = server.rules_for(batch.family).end_work
        if held.errors >= MOST_ERRORS:  # workers were lost with it
            await self._end(held, note="its last step failed: workers were lost with it")
            return
        try:
            if work is not None:
                await work(server.database, server.storage, batch)
        except asyncio.CancelledError:
            await asyncio.shield(self._put_off(held, errors=0, wait_s=0.0))
            raise
        except OutageError as error:
            logs.warning(Event.ITEM_INTERRUPTED, batch=batch.id, code=error.code)
            await self._put_off(held, errors=0, wait_s=error.retry_after_s or PAUSE_S)
        except Exception as error:
            logs.error(Event.INTERNAL_ERROR, exc_info=error, batch=batch.id)
            if held.errors + 1 < MOST_ERRORS:
                wait_s = retry.backoff_s(held.errors + 1)
                await self._put_off(held, errors=1, wait_s=wait_s)
                return
            said = error.message if isinstance(error, BatchmillError) else "a fault of the server"
            await self._end(held, note=f"its last step failed: {said}")
        else:
            await self._end(held)

    async def _put_off(self, held: EndClaim, *, errors: int, wait_s: float) -> None:
        due = {"end_due_at": NOW + round(wait_s * 1000), "end_errors": held.errors + errors}
        with contextlib.suppress(OutageError):  # then the lease runs out
            await self._server_context.database.run(ends.change, held, **due)

    async def _end(self, held: EndClaim, *, note: str | None = None) -> None:
        server = self._server_context
        retention_ms = server.settings.retention_s * 1000
        endings.tell(
            await server.database.run(endings.end, held, retention_ms=retention_ms, note=note)
        )
