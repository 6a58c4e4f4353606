"""Budgets that all workers share, and how long a retry waits when it is asked to."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchmill.db.connect import Database
from batchmill.errors.item import BudgetUsedUpError
from batchmill.errors.outage import ModelBusyError
from batchmill.model.item import ItemStatus
from batchmill.service.execution.budget import Budget, DatabaseCallBudget
from batchmill.service.scheduling.transitions import Claimed
from support.server_contexts import items_of, new_context, scripted, send, until, working

HOUR_MS = 3_600_000


def a_purse(database: Database, *, batch: int | None, day: int | None) -> DatabaseCallBudget:
    return DatabaseCallBudget(
        database,
        (Budget("b", "this batch", HOUR_MS, batch), Budget("d", "24 hours", HOUR_MS, day)),
    )


async def granted(
    budget: DatabaseCallBudget, amount: int, *, times: int, most: int | None = None
) -> int:
    """Reserve at the same time; return how many got it."""

    async def one() -> bool:
        try:
            await budget.reserve(amount, most=most)
        except BudgetUsedUpError:
            return False
        return True

    return sum(await asyncio.gather(*(one() for _ in range(times))))


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        ((55, None, None), 5),
        ((None, 35, None), 3),
        ((None, None, 25), 2),
        ((55, 35, 25), 2),
        ((10, 10, 10), 1),
        ((9, None, None), 0),
        ((None, None, None), 20),
    ],
)
def test_reservations_at_the_same_time_never_pass_a_cap(
    database: Database, caps: tuple[int | None, ...], expected: int
) -> None:
    batch, day, most = caps
    budget = a_purse(database, batch=batch, day=day)

    assert asyncio.run(granted(budget, 10, times=20, most=most)) == expected


async def test_what_a_call_did_not_cost_can_be_used_again(database: Database) -> None:
    budget = a_purse(database, batch=30, day=100)
    assert await granted(budget, 10, times=5) == 3
    await budget.settle(10, 4)
    await budget.settle(10, 4)
    assert await granted(budget, 10, times=5) == 1
    await budget.settle(10, 50)  # dearer than thought: what was spent is spent
    assert await granted(budget, 10, times=5) == 0


async def test_a_cap_that_refuses_leaves_the_others_as_they_were(database: Database) -> None:
    assert await granted(a_purse(database, batch=100, day=10), 10, times=5) == 1
    assert await granted(a_purse(database, batch=100, day=None), 10, times=20) == 9


async def test_an_item_is_not_due_before_the_model_asks_for(
    database: Database, tmp_path: Path
) -> None:
    def busy(claimed: Claimed) -> None:
        raise ModelBusyError(claimed.input.name, 120.0)

    context = new_context(database, tmp_path)
    before = datetime.now(UTC)
    async with working(context, scripted(tmp_path, busy)):
        batch_id = await send(context, 1)
        await until(context, batch_id, lambda batch: batch.counts.retrying == 1)
        (item,) = await items_of(context, batch_id)
    assert item.status is ItemStatus.RETRYING
    assert item.due_at is not None
    assert 119 < (item.due_at - before).total_seconds() < 300
