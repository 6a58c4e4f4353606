"""Which ring of tests runs: the short one, or all that there is, with BATCHMILL_TEST_ALL set."""

import os

ALL = bool(os.environ.get("BATCHMILL_TEST_ALL"))


def examples(number: int) -> int:
    """Return how many examples of a property to try: ten times as many in the long ring."""
    return number * 10 if ALL else number
