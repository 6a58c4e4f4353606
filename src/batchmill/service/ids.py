"""New ids: sortable by time, impossible to guess."""

import secrets
import time

from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId, WorkerId

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32


def batch_id() -> BatchId:
    """Return a new batch id."""
    return BatchId(_new("bat"))


def item_ids(number: int) -> list[ItemId]:
    """Return new item ids that sort in the order of the list."""
    return [ItemId(_new("itm")) for _ in range(number)]


def archive_id() -> str:
    """Return a new id for a ZIP that is kept as it came."""
    return _new("zip")


def key_id() -> str:
    """Return a new id for an API key."""
    return _new("key")


def worker_id() -> WorkerId:
    """Return a new id for a process."""
    return WorkerId(_new("wrk"))


def _new(prefix: str) -> str:
    """Return prefix, 45 bits of milliseconds and 100 random bits."""
    return f"{prefix}_{_base32(time.time_ns() // 1_000_000, 9)}{_base32(secrets.randbits(100), 20)}"


def _base32(number: int, digits: int) -> str:
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(5 * (digits - 1), -1, -5))
