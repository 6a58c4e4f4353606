"""Retries: how often, after how long, under whose ceiling."""

from mutants.mutant import Mutant

_ITEMS = "src/batchmill/db/items.py"
_BATCHES = "src/batchmill/db/batches.py"
_DELIVERY = "src/batchmill/service/scheduling/transitions.py"
_PROCESS = "src/batchmill/service/execution/process_item.py"
_RETRY = "src/batchmill/model/retry.py"
_STORIES = "tests/service/test_delivery_stories.py"
_WHO = "tests/service/test_turns.py"
_BUDGETS = "tests/service/test_budgets.py"

MUTANTS = (
    Mutant(
        "backoff-doubles", _RETRY, "base_s * 2.0 **", "base_s * 1.0 **", "waits double", (_BUDGETS,)
    ),
    Mutant(
        "backoff-cap", _RETRY, "min(cap_s, base_s", "max(0, base_s", "waits have a cap", (_BUDGETS,)
    ),
    Mutant(
        "backoff-first",
        _RETRY,
        "min(failures - 1, 32)",
        "min(failures, 32)",
        "the first wait is the base",
        (_BUDGETS,),
    ),
    Mutant(
        "verdict-boundary",
        _RETRY,
        "used <= getattr(policy, budget)",
        "used < getattr(policy, budget)",
        "a budget is used to its end",
        (_BUDGETS,),
    ),
    Mutant(
        "verdict-retryable",
        _RETRY,
        "if retryable and used",
        "if used",
        "what no retry can mend is not retried",
        (_BUDGETS,),
    ),
    Mutant(
        "verdict-quarantine",
        _RETRY,
        'budget == "crashes" and used > 1',
        'budget == "crashes" and used > 9',
        "a file that kills its child twice is quarantined",
        (_BUDGETS,),
    ),
    Mutant(
        "budget-of-all",
        _DELIVERY,
        "replace(held.spent, **{failed.budget: used})",
        "Spent(**{failed.budget: used})",
        "budgets are counted apart",
        (_STORIES,),
    ),
    Mutant(
        "backoff-of-all",
        _DELIVERY,
        "retry.backoff_s(used))",
        "retry.backoff_s(1))",
        "each failure of a kind waits twice as long",
        (_BUDGETS,),
    ),
    Mutant(
        "retry-after",
        _DELIVERY,
        "max(failed.retry_after_s, retry.backoff_s(used))",
        "retry.backoff_s(used)",
        "a retry waits as long as was asked for",
        (_BUDGETS, _WHO),
    ),
    Mutant(
        "retry-due",
        _ITEMS,
        'return now + part("wait_ms")',
        'return now + 0 * part("wait_ms")',
        "a retry waits",
        (_BUDGETS,),
    ),
    Mutant(
        "ceiling-errors",
        _PROCESS,
        "min(wanted, tier.retries_errors)",
        "wanted",
        "the tier's ceiling holds for errors",
        (_BUDGETS,),
    ),
    Mutant(
        "ceiling-timeouts",
        _PROCESS,
        "min(wanted, tier.retries_timeouts)",
        "wanted",
        "the tier's ceiling holds for timeouts",
        (_BUDGETS,),
    ),
    Mutant(
        "ceiling-crashes",
        _PROCESS,
        "crashes = tier.retries_crashes",
        "crashes = 1",
        "the tier's ceiling holds for crashes",
        (_BUDGETS,),
    ),
    Mutant(
        "ceiling-sequential",
        _PROCESS,
        "crashes = _rules(server, claimed).crash_retries",
        "crashes = None",
        "sequential batches have a ceiling of their own",
        (_BUDGETS,),
    ),
    Mutant(
        "ceiling-of-tier",
        _PROCESS,
        "settings.tier(claimed.tier), pipeline.retries",
        'settings.tier("free"), pipeline.retries',
        "the ceiling is that of the batch's tier",
        (_BUDGETS,),
    ),
    Mutant(
        "budget-of-error",
        _PROCESS,
        "error.budget if isinstance(error, ItemError)",
        '"errors" if isinstance(error, ItemError)',
        "each error uses its own budget",
        (_BUDGETS,),
    ),
)
