"""Sizes, times and numbers in sentences, as people write them."""

from typing import Final

_SIZES: Final = (("GB", 3), ("MB", 2), ("kB", 1))
_ALMOST_A_UNIT: Final = 0.9995
"""From here on three digits would say 1,000 of the smaller unit."""
_SECONDS_UNTIL: Final = 120
_MINUTES_UNTIL: Final = 120


def size(number_bytes: float) -> str:
    """Return bytes in the unit in which they are round: 50 MB are 50 × 1024² or 50 × 1000²."""
    for unit, power in _SIZES:
        for base in (1024**power, 1000**power):
            if number_bytes >= base and number_bytes * 10 % base == 0:
                return f"{number_bytes / base:,g} {unit}"
    for unit, power in _SIZES:
        if number_bytes >= _ALMOST_A_UNIT * 1000**power:
            return f"{number_bytes / 1000**power:,.3g} {unit}"
    return count(round(number_bytes), "byte")


def span(seconds: float) -> str:
    """Return a time in whole seconds, minutes or hours, rounded up: never 0 of them."""
    whole = max(1, -int(-seconds // 1))
    if whole < _SECONDS_UNTIL and whole != 60:  # noqa: PLR2004 - a minute
        return count(whole, "second")
    minutes = -(-whole // 60)
    if minutes < _MINUTES_UNTIL:
        return count(minutes, "minute")
    return count(-(-minutes // 60), "hour")


def count(number: int, noun: str) -> str:
    """Return "1 file" or "12,345 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
