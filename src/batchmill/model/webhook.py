"""A webhook: an address that gets a message when a batch ends, and the deliveries to it.

waiting ──► delivered
   │  ▲
   ▼  └── resend
given_up
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from batchmill.model.batch import BatchId, OwnerId

WebhookId = NewType("WebhookId", str)
DeliveryId = NewType("DeliveryId", str)

SEALED = "sealed:"
"""What a secret begins with that is kept sealed."""


class DeliveryStatus(StrEnum):
    """Whether a delivery has arrived."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address; `every_batch` means those of its owner that name no webhook, too.

    `secret` is what the database keeps, which may be sealed, but where one is just made.
    """

    id: WebhookId
    owner_id: OwnerId
    url: str
    every_batch: bool
    created_at: datetime
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one webhook; `tries` counts calls, `answered` is the last one's status."""

    id: DeliveryId
    webhook_id: WebhookId
    batch_id: BatchId
    status: DeliveryStatus
    body: dict[str, Any]
    tries: int
    created_at: datetime
    due_at: datetime
    ended_at: datetime | None
    answered: int | None
    error: str | None
