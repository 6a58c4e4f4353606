"""Who runs first: lower numbers do, and a caller moves only within its tier."""

from typing import Final

TIER_PRIORITY: Final = {
    "enterprise": 1,
    "premium": 2,
    "pro": 2,
    "test_premium": 3,
    "free": 10,
    "anonymous": 15,
}
RANKS: Final = {"high": 10, "normal": 50, "low": 90}


def rank(priority: str | int) -> int:
    """Turn a caller's wish into 10…90: a name of `RANKS`, or a number 1 (first) to 15 (last).

    Raises:
        ValueError: the name is unknown or the number out of range.
    """
    if isinstance(priority, str) and not priority.isdecimal():
        if priority not in RANKS:
            raise ValueError(priority)
        return RANKS[priority]
    number = int(priority)
    if not 1 <= number <= 15:  # noqa: PLR2004 - the range of the reference contract
        raise ValueError(priority)
    return 10 + (number - 1) * 80 // 14


def engine_priority(tier: str, priority: str | int = "normal") -> int:
    """Combine tier and wish into the number that engines sort by."""
    return TIER_PRIORITY[tier] * 100 + rank(priority)


def priority_name(engine_number: int) -> str:
    """Return the name of `RANKS` that is nearest to what `engine_priority` made of a wish."""
    return min(RANKS, key=lambda name: abs(RANKS[name] - engine_number % 100))
