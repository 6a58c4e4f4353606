"""One item, from its claim to its outcome: the heart of the product.

    Claimer ──► attempt ──► Finisher

Each step hands on a value or ends the story. `process_item` never raises but on cancellation: there
is one retry policy, and it stands in the database.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from batchmill import logs
from batchmill.attempt.run import Finished
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import Budget, ItemError, OperationFailedError
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model import pipeline as pipelines
from batchmill.model.item import Failure
from batchmill.model.retry import RetryPolicy
from batchmill.service import outages
from batchmill.service.context import ServerContext
from batchmill.service.execution.store_results import store_results
from batchmill.service.family_rules import FamilyRules
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.finishing import Finisher, discard
from batchmill.service.scheduling.leases import LeaseKeeper, hand_back
from batchmill.service.scheduling.transitions import (
    Claimed,
    Completed,
    EndedAttempt,
    Failed,
    Outcome,
)

Attempt = Callable[[Claimed, Callable[[float], None]], AbstractAsyncContextManager[Finished]]
"""Takes one file through its pipeline; the files live as long as the context.

It reports how far it is: 0 when a child begins, until when it may wait behind other files.

Raises ItemError for a bad file and OutageError when something else is away.
"""


async def process_item(
    server: ServerContext,
    claimed: Claimed,
    attempt: Attempt,
    *,
    keeper: LeaseKeeper,
    finisher: Finisher,
) -> None:
    """Carry a claimed item to the end of its attempt, and pass on what came of it."""
    clock = _Clock()
    try:
        # Who reads a sequential batch is told which file is its turn; what a suspect does next may
        # be to kill this process.
        if claimed.is_sequential or claimed.is_suspect:
            batch_id, held = claimed.claim.batch_id, {claimed.claim: 0}
            await server.database.run(transitions.begin, batch_id, held, by=server.worker_id)
        if claimed.is_sequential:
            logs.info(
                Event.ITEM_STARTED,
                batch=claimed.claim.batch_id,
                item=claimed.claim.item_id,
                place=f"[{claimed.position + 1}/{claimed.total}]",
                name=claimed.input.name,
            )
        async with asyncio.timeout(None) as scope:
            with keeper.running(claimed, scope):
                async with _attempt(server, keeper, attempt, claimed, clock=clock) as outcome:
                    run_ms = round((time.monotonic() - clock.began_s) * 1000)
    except TimeoutError:
        await _give_up(server, claimed)
    except asyncio.CancelledError:
        await asyncio.shield(_return(server, claimed))
        raise
    except OutageError as error:
        keeper.forget(claimed.claim)
        logs.warning(
            Event.ITEM_INTERRUPTED,
            item=claimed.claim.item_id,
            code=error.code,
            detail=error.detail,
        )
        await _hand_back(server, claimed)
        finisher.leave_files(claimed)
    else:
        # Not within the hold: what has ended must not be discarded when its claim is gone.
        await finisher.add(EndedAttempt(claimed, outcome, run_ms))


@dataclass(slots=True)
class _Clock:
    """When the attempt began: on its way here, until a child begins."""

    began_s: float = field(default_factory=time.monotonic)
    is_begun: bool = False


@asynccontextmanager
async def _attempt(
    server: ServerContext,
    keeper: LeaseKeeper,
    attempt: Attempt,
    claimed: Claimed,
    *,
    clock: _Clock,
) -> AsyncIterator[Outcome]:
    def report(fraction: float) -> None:
        if not fraction and not clock.is_begun:
            clock.began_s, clock.is_begun = time.monotonic(), True
        keeper.report(claimed.claim, fraction)

    is_made, began_s = False, time.monotonic()
    try:
        async with attempt(claimed, report) as finished:
            is_made = True
            after = _rules(server, claimed).after_attempt
            if after is not None:
                await after(claimed.claim, claimed.input.name, finished)
            result = await store_results(server, claimed.claim, finished)
    except BatchmillError as error:
        if await outages.is_passing(server, error, began_s=began_s, is_made=is_made):
            raise
        yield _failed(server, claimed, error)
    except Exception as error:  # a fault of ours ends this item, not the worker
        logs.error(Event.INTERNAL_ERROR, exc_info=error, item=claimed.claim.item_id)
        yield _failed(server, claimed, OperationFailedError(claimed.input.name, "batchmill"))
    else:
        server.vitals.storage_failing_since_s = None
        server.vitals.storage_took_s = time.monotonic()
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
    policy = _policy(server, claimed, step)
    wait_s = error.retry_after_s or 0.0 if isinstance(error, OutageError) else 0.0
    return Failed(failure, budget, policy, wait_s, error.holds_up)


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


async def _give_up(server: ServerContext, claimed: Claimed) -> None:
    """Remove what an attempt stored whose claim was lost."""
    try:
        await discard(server, claimed.claim)
    except (OutageError, OSError) as error:
        detail = getattr(error, "detail", str(error))
        logs.warning(Event.ITEM_INTERRUPTED, item=claimed.claim.item_id, detail=detail)


async def _return(server: ServerContext, claimed: Claimed) -> None:
    """Give an item back in the middle of its attempt, as at shutdown."""
    await _hand_back(server, claimed)
    await _give_up(server, claimed)


async def _hand_back(server: ServerContext, claimed: Claimed) -> None:
    """Give an item back; while the database is away, the next check of what is held does so."""
    try:
        await hand_back(server, claimed.claim.batch_id, [claimed.claim])
    except OutageError as error:
        logs.warning(Event.ITEM_INTERRUPTED, item=claimed.claim.item_id, code=error.code)
