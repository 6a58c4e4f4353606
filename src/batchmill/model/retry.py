"""When to try again, and when to give up."""

from dataclasses import dataclass

from batchmill.errors.item import Budget
from batchmill.model.item import ItemStatus, Spent


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many times each kind of failure is retried before the item ends."""

    errors: int = 3
    crashes: int = 1
    timeouts: int = 1


def backoff_s(failures: int, *, base_s: float = 2.0, cap_s: float = 600.0) -> float:
    """Return the seconds to wait after failure number `failures` (1-based): doubling, capped."""
    return min(cap_s, base_s * 2.0 ** min(failures - 1, 32))


def verdict(spent: Spent, budget: Budget, policy: RetryPolicy, *, retryable: bool) -> ItemStatus:
    """Decide what becomes of an item after a failure; `spent` includes that failure.

    A file whose process died more often than `policy.crashes` is quarantined, not failed.
    """
    used = getattr(spent, budget)
    if retryable and used <= getattr(policy, budget):
        return ItemStatus.RETRYING
    return ItemStatus.QUARANTINED if budget == "crashes" and used > 1 else ItemStatus.FAILED
