"""One item, from claim to finish: the heart of the product.

    claim ──► attempt ──► finish ──► dispatch

Each step hands on a value or ends the story. `process_item` never raises but on cancellation:
an engine that saw an exception would retry on its own terms, and there is one retry policy.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from batchmill import logs
from batchmill.attempt.run import Finished
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import Budget, ItemError, OperationFailedError
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model import pipeline as pipelines
from batchmill.model.batch import Counts
from batchmill.model.item import Claim, Failure, ItemId
from batchmill.model.retry import RetryPolicy
from batchmill.service.context import ServerContext
from batchmill.service.execution.store_results import store_results
from batchmill.service.family_rules import FamilyRules
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.dispatch import dispatch_owner
from batchmill.service.scheduling.leases import LeaseKeeper
from batchmill.service.scheduling.transitions import (
    Claimed,
    Completed,
    Failed,
    FinishedItem,
    Outcome,
)
from batchmill.storage import keys

Attempt = Callable[[Claimed, Callable[[float], None]], AbstractAsyncContextManager[Finished]]
"""Takes one file through its pipeline; the files live as long as the context.

Raises ItemError for a bad file and OutageError when something else is away.
"""


async def process_item(
    server: ServerContext, keeper: LeaseKeeper, attempt: Attempt, item_id: ItemId
) -> None:
    """Carry one item as far as it will go. Safe to call any number of times."""
    try:
        if await _is_short(server):
            logs.debug(Event.ITEM_LEFT, item=item_id)
            return
        claimed = await server.database.run(
            transitions.claim, item_id, worker_id=server.process_id, lease_ms=server.lease_ms
        )
        if claimed is None:
            logs.debug(Event.ITEM_IGNORED, item=item_id)
            return
        done = await _run(server, keeper, attempt, claimed)
        if done is not None and not _is_fed(server, done.counts):
            await dispatch_owner(server, claimed.owner_id)
    except OutageError as error:
        # The lease runs out and the sweep gives the item to whoever can reach the database.
        logs.warning(Event.ITEM_INTERRUPTED, item=item_id, code=error.code, detail=error.detail)


async def _is_short(server: ServerContext) -> bool:
    """Tell whether this machine is short of memory or disk, now and one heartbeat later.

    An item that is not claimed stays queued: the sweep delivers it again, to whoever asks first.
    The wait keeps a machine that is short from going through the queue.
    """
    if server.vitals.short_of is not None:
        await asyncio.sleep(server.settings.renew_s)
    return server.vitals.short_of is not None


def _is_fed(server: ServerContext, counts: Counts) -> bool:
    """Tell whether more is queued than every slot's next item: an end to come dispatches in time.

    So a dispatch queues several items at once; one for every item would cost more than a claim.
    """
    return counts.queued > server.vitals.slots


async def _run(
    server: ServerContext, keeper: LeaseKeeper, attempt: Attempt, claimed: Claimed
) -> FinishedItem | None:
    started = time.monotonic()
    try:
        async with asyncio.timeout(None) as scope:
            with keeper.hold(claimed.claim, scope):
                async with _attempt(server, keeper, attempt, claimed) as outcome:
                    run_ms = round((time.monotonic() - started) * 1000)
    except TimeoutError:
        await _discard(server, claimed)
        return None
    except asyncio.CancelledError:
        await asyncio.shield(_hand_back(server, claimed))
        raise
    # Not within the hold: a settled item has no claim, and what it made must not be discarded.
    return await _finish(server, claimed, outcome, run_ms)


@asynccontextmanager
async def _attempt(
    server: ServerContext, keeper: LeaseKeeper, attempt: Attempt, claimed: Claimed
) -> AsyncIterator[Outcome]:
    def report(fraction: float) -> None:
        keeper.report(claimed.claim.item_id, fraction)

    try:
        async with attempt(claimed, report) as finished:
            after = _rules(server, claimed).after_attempt
            if after is not None:
                await after(claimed.claim.item_id, claimed.input.name, finished.files)
            result = await store_results(server, claimed.claim, finished)
    except BatchmillError as error:
        yield _failed(server, claimed, error)
    except Exception as error:  # a fault of ours ends this item, not the worker
        logs.error(Event.INTERNAL_ERROR, exc_info=error, item=claimed.claim.item_id)
        yield _failed(server, claimed, OperationFailedError(claimed.input.name, "batchmill"))
    else:
        yield Completed(result)


def _failed(server: ServerContext, claimed: Claimed, error: BatchmillError) -> Failed:
    budget: Budget = error.budget if isinstance(error, ItemError) else "errors"
    step = getattr(error, "step", None)
    failure = Failure(error.code, error.message, error.retryable, step)
    logs.warning(
        Event.ITEM_FAILED,
        item=claimed.claim.item_id,
        attempt=claimed.claim.attempt,
        code=error.code,
        detail=error.detail,
    )
    wait_s = error.retry_after_s or 0.0 if isinstance(error, OutageError) else 0.0
    return Failed(failure, budget, _policy(server, claimed, step), wait_s)


def _policy(server: ServerContext, claimed: Claimed, step: str | None) -> RetryPolicy:
    """Return how often to try again: step or pipeline say it, under the ceiling of the tier."""
    settings, pipeline = server.settings, pipelines.parse(claimed.pipeline)
    tier, wanted = settings.tier(claimed.tier), pipeline.retries_in(step)
    errors = tier.retries_errors if wanted is None else min(wanted, tier.retries_errors)
    timeouts = tier.retries_timeouts if wanted is None else min(wanted, tier.retries_timeouts)
    crashes = _rules(server, claimed).crash_retries
    if crashes is None:
        crashes = tier.retries_crashes
    return RetryPolicy(errors=errors, crashes=crashes, timeouts=timeouts)


def _rules(server: ServerContext, claimed: Claimed) -> FamilyRules:
    return server.rules_for(claimed.pipeline.get("family", ""))


async def _finish(
    server: ServerContext, claimed: Claimed, outcome: Outcome, run_ms: int
) -> FinishedItem | None:
    done = await server.database.run(
        transitions.finish,
        claimed,
        outcome,
        run_ms=run_ms,
        retention_ms=server.settings.retention_s * 1000,
    )
    if done is None:
        await _discard(server, claimed)
        return None
    await _remove_earlier(server, claimed.claim)
    _log(claimed, done, run_ms)
    return done


def _log(claimed: Claimed, done: FinishedItem, run_ms: int) -> None:
    """Say which file of how many this was, what came of it, and how the batch ended."""
    logs.info(
        Event.ITEM_FINISHED,
        item=claimed.claim.item_id,
        place=f"{claimed.position + 1}/{claimed.total}",
        name=claimed.input.name,
        status=done.status,
        run_ms=run_ms,
    )
    if done.ended is not None:
        counts = done.counts
        logs.info(
            Event.BATCH_ENDED,
            batch=claimed.claim.batch_id,
            status=done.ended,
            succeeded=counts.completed + counts.skipped,
            failed=counts.unsuccessful,
        )


async def _remove_earlier(server: ServerContext, held: Claim) -> None:
    """Remove what attempts that were killed may have stored before they could settle."""
    for attempt in range(1, held.attempt):
        prefix = keys.attempt_prefix(held.batch_id, held.item_id, attempt)
        await server.storage.delete_prefix(prefix)


async def _discard(server: ServerContext, claimed: Claimed) -> None:
    """Remove what a stale attempt stored; nobody else uses its folder."""
    held = claimed.claim
    logs.info(Event.ITEM_LOST, item=held.item_id, attempt=held.attempt)
    await server.storage.delete_prefix(
        keys.attempt_prefix(held.batch_id, held.item_id, held.attempt)
    )


async def _hand_back(server: ServerContext, claimed: Claimed) -> None:
    if await server.database.run(transitions.hand_back, claimed.claim):
        logs.info(Event.ITEM_HANDED_BACK, item=claimed.claim.item_id)
    await _discard(server, claimed)
