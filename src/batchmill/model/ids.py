"""New ids: sortable by time, impossible to guess."""

import secrets
import time

from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId, WorkerId
from batchmill.model.upload import UploadId
from batchmill.model.webhook import DeliveryId, WebhookId

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32


def installation_id() -> str:
    """Return a new id for an installation."""
    return _new("ins")


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


def upload_id() -> UploadId:
    """Return a new id for an upload."""
    return UploadId(_new("upl"))


def direct_upload_id() -> UploadId:
    """Return a new id for an upload whose bytes go to the bucket: the id says so."""
    return UploadId(_new("upd"))


def webhook_id() -> WebhookId:
    """Return a new id for a webhook."""
    return WebhookId(_new("whk"))


def delivery_id() -> DeliveryId:
    """Return a new id for a delivery; receivers know a repeat by it."""
    return DeliveryId(_new("msg"))


def worker_id(name: str | None = None) -> WorkerId:
    """Return a new id for a process, also when it is not the first of its name."""
    return WorkerId(f"{name}-{_base32(secrets.randbits(40), 8)}" if name else _new("wrk"))


def _new(prefix: str) -> str:
    """Return prefix, 45 bits of milliseconds and 100 random bits."""
    return f"{prefix}_{_base32(time.time_ns() // 1_000_000, 9)}{_base32(secrets.randbits(100), 20)}"


def _base32(number: int, digits: int) -> str:
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(5 * (digits - 1), -1, -5))
