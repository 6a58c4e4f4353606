"""How many different values a column has: exact while few, then a close estimate, flat memory."""

import hashlib
import zlib
from collections.abc import Collection, Iterable

EXACT = 10_000
"""Up to this many different values are counted exactly."""

_LONG_CHARS = 64  # longer values are remembered by their digest, so that memory stays flat
_KEPT = 4_096
_SPAN = 1 << 32
_MIX = 0x9E3779B1  # 2^32 / golden ratio, spreads CRCs of values that differ in few bits


class Distinct:
    """A count of different texts; the order and grouping of `add` make no difference."""

    __slots__ = ("_bound", "_exact", "_least")

    def __init__(self) -> None:
        self._exact: set[str] | None = set()
        self._least: set[int] = set()
        self._bound = _SPAN

    @property
    def is_exact(self) -> bool:
        """Whether `count` is no estimate."""
        return self._exact is not None

    def add(self, values: Collection[str]) -> None:
        """Take in more values; repeats cost nothing but time."""
        if max(map(len, values), default=0) > _LONG_CHARS:
            values = [each if len(each) <= _LONG_CHARS else _digest(each) for each in values]
        if self._exact is None:
            self._sketch(values)
            return
        self._exact.update(values)
        if len(self._exact) > EXACT:
            self._sketch(self._exact)
            self._exact = None

    def count(self) -> int:
        """Return the number of different values; an estimate errs by about 1.6 %.

        The estimate is that of the k least hashes (Bar-Yossef et al. 2002): (k - 1) / k-th least.
        """
        if self._exact is not None:
            return len(self._exact)
        kept = sorted(self._least)[:_KEPT]
        return round((len(kept) - 1) * _SPAN / max(kept[-1], 1))

    def _sketch(self, values: Iterable[str]) -> None:
        bound, mix, span = self._bound, _MIX, _SPAN
        sums = map(zlib.crc32, map(str.encode, values))
        self._least.update([mixed for each in sums if (mixed := each * mix % span) < bound])
        if len(self._least) > 2 * _KEPT:
            self._least = set(sorted(self._least)[:_KEPT])
            self._bound = max(self._least)


def _digest(value: str) -> str:
    return hashlib.blake2b(value.encode(), digest_size=16).hexdigest()
