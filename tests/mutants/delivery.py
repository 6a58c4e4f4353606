"""Delivery: claim, finish, rescue, dispatch, leases, retries, pause and cancel, ends of batches."""

from mutants.mutant import Mutant

_ITEMS = "src/batchmill/db/items.py"
_FENCE = "tests/service/test_fence.py"

MUTANTS = (
    Mutant(
        "fence-of-changes",
        _ITEMS,
        '"attempt": claim.attempt, ',
        "",
        "a worker whose item was taken over settles nothing",
        tests=(_FENCE,),
    ),
)
