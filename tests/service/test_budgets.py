"""How often an item is tried, how long it waits in between, and whose ceiling holds."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.db.connect import Database
from batchmill.db.types import from_ms
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import (
    AttemptTimeoutError,
    Budget,
    ChildCrashedError,
    UnreadableFileError,
)
from batchmill.errors.outage import ModelBusyError, StorageDamagedError
from batchmill.model.families import SEQUENTIAL
from batchmill.model.item import ItemStatus, Spent
from batchmill.model.priority import RANKS, TIER_PRIORITY, engine_priority
from batchmill.model.retry import RetryPolicy, backoff_s, verdict
from batchmill.service.scheduling.transitions import Failed
from batchmill.settings.compat import SequentialSettings
from batchmill.settings.fields import TierLimits, Tiers
from support.rows import AWAY, BATCH, CRASHED, SLOW, Rows
from support.server_contexts import Script, carry, new_context, scripted

TIERS = Tiers(
    free=TierLimits(retries_errors=2, retries_timeouts=1, retries_crashes=1),
    premium=TierLimits(retries_errors=3, retries_timeouts=2, retries_crashes=0),
)
OUT = StorageDamagedError(detail="a byte was changed")
LATE = AttemptTimeoutError("0.jpg", 30)
DEAD = ChildCrashedError("0.jpg", "SIGSEGV")


@pytest.mark.parametrize(
    ("error", "tier", "wanted", "attempts", "status"),
    [
        (OUT, "free", None, 3, "failed"),
        (OUT, "free", 9, 3, "failed"),
        (OUT, "free", 1, 2, "failed"),
        (OUT, "free", 0, 1, "failed"),
        (OUT, "premium", None, 4, "failed"),
        (LATE, "free", None, 2, "failed"),
        (LATE, "free", 9, 2, "failed"),
        (LATE, "free", 0, 1, "failed"),
        (LATE, "premium", 9, 3, "failed"),
        (DEAD, "free", None, 2, "quarantined"),
        (DEAD, "free", 0, 2, "quarantined"),
        (DEAD, "premium", 9, 1, "failed"),
        (UnreadableFileError("0.jpg", "it ends early"), "free", 9, 1, "failed"),
    ],
)
def test_an_item_is_tried_as_often_as_its_pipeline_wants_and_its_tier_allows(  # noqa: PLR0913
    database: Database,
    tmp_path: Path,
    *,
    error: BatchmillError,
    tier: str,
    wanted: int | None,
    attempts: int,
    status: str,
) -> None:
    def script(_claimed: object) -> None:
        raise error

    pipeline: dict[str, Any] = {"name": "p", "steps": [{"use": "resize"}]}
    pipeline |= {} if wanted is None else {"retries": wanted}
    assert tried(database, tmp_path, script, tier=tier, pipeline=pipeline) == (attempts, status)


def tried(database: Database, folder: Path, script: Script, **order: Any) -> tuple[int, str]:
    """Work on an item until it ends; return its attempts and its status."""
    rows = Rows(database)
    (item_id,) = rows.batch(**order)
    context = new_context(database, folder, tiers=TIERS, sequential=SequentialSettings(crashes=2))

    while rows.batch_row()["ended_at"] is None:
        (claimed,) = rows.take()  # in the year 2027: every wait is over
        asyncio.run(carry(context, claimed, scripted(folder, script)))
    item = rows.item(item_id)
    return item["begun"], item["status"]


def test_crashes_in_a_sequential_batch_have_a_ceiling_of_their_own(
    database: Database, tmp_path: Path
) -> None:
    def script(_claimed: object) -> None:
        raise DEAD

    pipeline = {"name": "p", "family": SEQUENTIAL, "steps": [{"use": "resize"}]}
    assert tried(database, tmp_path, script, pipeline=pipeline) == (3, "quarantined")


async def test_a_file_is_not_tried_again_before_what_was_away_asks_for(
    database: Database, tmp_path: Path
) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    context = new_context(database, tmp_path)

    def busy(_claimed: object) -> None:
        raise ModelBusyError("m", retry_after_s=700.0)

    (claimed,) = rows.take()
    await carry(context, claimed, scripted(tmp_path, busy))
    item = rows.item(item_id)
    assert (item["due_at"] - item["started_at"]).total_seconds() >= 700


def test_waits_double_from_two_seconds_up_to_ten_minutes() -> None:
    waits = [backoff_s(n) for n in range(1, 12)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert backoff_s(10**6) == 600


@given(st.integers(1, 2_000), st.floats(0.01, 10), st.floats(10, 10_000))
def test_a_wait_is_twice_the_one_before_it_or_the_longest(
    failures: int, base_s: float, cap_s: float
) -> None:
    first, second = (backoff_s(n, base_s=base_s, cap_s=cap_s) for n in (failures, failures + 1))
    assert second in (2 * first, cap_s)
    assert base_s <= first <= second <= cap_s


@pytest.mark.parametrize("outcome", [AWAY, SLOW])
def test_each_failure_of_a_kind_waits_twice_as_long_as_the_one_before(
    database: Database, outcome: Failed
) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    policy = RetryPolicy(errors=4, timeouts=4)
    patient = type(outcome)(outcome.failure, outcome.budget, policy)
    waits = []
    for _ in range(4):
        rows.finish(rows.claimed(item_id), patient)
        due_at = rows.item(item_id)["due_at"]
        waits.append((due_at - from_ms(rows.now)).total_seconds())
        rows.now += 3_600_000
    assert waits == [2, 4, 8, 16]
    assert all(second == 2 * first for first, second in pairwise(waits))


def test_a_failure_of_another_kind_waits_as_the_first_of_its_kind(database: Database) -> None:
    rows = Rows(database)
    (item_id,) = rows.batch()
    for outcome, wait_s in ((AWAY, 2), (AWAY, 4), (CRASHED, 2)):
        rows.finish(rows.claimed(item_id), outcome)
        assert rows.item(item_id)["due_at"] == from_ms(rows.now + wait_s * 1_000)
        rows.now += 3_600_000
    assert rows.counts(BATCH) == {"retrying": 1}


@given(
    budget=st.sampled_from(["errors", "crashes", "timeouts"]),
    used=st.integers(1, 6),
    allowed=st.integers(0, 6),
    others=st.integers(0, 6),
    retryable=st.booleans(),
)
def test_a_budget_that_is_used_up_ends_the_item_whatever_the_others_hold(
    *, budget: Budget, used: int, allowed: int, others: int, retryable: bool
) -> None:
    names = {"errors": others, "crashes": others, "timeouts": others}
    spent = Spent(**{**names, budget: used})
    policy = RetryPolicy(**{**names, budget: allowed})
    status = verdict(spent, budget, policy, retryable=retryable)
    assert (status is ItemStatus.RETRYING) == (retryable and used <= allowed)
    if status is not ItemStatus.RETRYING:
        is_quarantined = budget == "crashes" and used > 1
        assert status is (ItemStatus.QUARANTINED if is_quarantined else ItemStatus.FAILED)


def test_a_caller_moves_within_its_tier_and_never_before_a_better_one() -> None:
    for tier in TIER_PRIORITY:
        numbers = [engine_priority(tier, wish) for wish in ("high", "normal", "low")]
        assert numbers == sorted(set(numbers))
        assert [engine_priority(tier, n) for n in (1, 15)] == [numbers[0], numbers[2]]
        ranked = [engine_priority(tier, n) for n in range(1, 16)]
        assert ranked == sorted(set(ranked))
    order = ["enterprise", "premium", "test_premium", "free", "anonymous"]
    for better, worse in pairwise(order):
        assert engine_priority(better, "low") < engine_priority(worse, "high")
    assert engine_priority("pro") == engine_priority("premium") == 200 + RANKS["normal"]
