"""Deliveries: one signed message to a webhook when a batch ends, sent at least once.

    announce (in the transaction that ends the batch) ──► claim ──► call ──► record

Every process that keeps up the server sends; a claim decides who. Each webhook gets one call at
a time, so one that hangs holds up nobody but itself.

A process leaves deliveries alone whose webhook's secret it can't open: they stay due until one with
the right key comes.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from batchmill import logs
from batchmill.db import batches, webhooks
from batchmill.db.connect import Connection
from batchmill.db.types import NOW
from batchmill.errors.outage import CallFailedError, OutageError, SecretDamagedError
from batchmill.errors.request import AddressRefusedError
from batchmill.logs import Event
from batchmill.model import ids
from batchmill.model.batch import Batch, BatchId
from batchmill.model.item import ItemStatus
from batchmill.model.webhook import Delivery, DeliveryStatus, Webhook, WebhookId
from batchmill.outgoing import signed
from batchmill.service.context import ServerContext
from batchmill.service.seals import Seals

CALLED_AT_ONCE = 32
"""Webhooks that one process calls side by side."""
BACKOFF_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Waits between the calls of one delivery, as Standard Webhooks suggests: three days in all."""
GONE = 410
DAMAGED = "its secret was damaged on the server; make the webhook again"
SPARE_MS = 5_000
"""How long after its time limit a call counts as lost with its process."""


def announce(conn: Connection, batch_id: BatchId) -> None:
    """Write the deliveries of a batch that has just ended, in the transaction that ended it."""
    batch = batches.get(conn, batch_id, owner_id=None)
    if batch is None:
        return
    told = webhooks.told_of(conn, batch.owner_id, batch.webhook_id)
    if told:
        written = [(ids.delivery_id(), webhook_id) for webhook_id in told]
        webhooks.announce(conn, written, batch_id, body=_body(batch))


async def run(server: ServerContext) -> None:
    """Send what is due, again and again; runs until cancelled."""
    busy: set[WebhookId] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            try:
                room = CALLED_AT_ONCE - len(busy)
                found = await server.database.read(
                    webhooks.due, without=busy, limit=room, prefixes=server.seals.prefixes
                )
            except OutageError as error:
                logs.warning(Event.SWEEP_INTERRUPTED, code=error.code, detail=error.detail)
                found = ()
            for webhook_id in found:
                busy.add(webhook_id)
                group.create_task(_serve(server, webhook_id, busy))
            await asyncio.sleep(server.settings.sweep_s)


async def _serve(server: ServerContext, webhook_id: WebhookId, busy: set[WebhookId]) -> None:
    """Send the due deliveries of one webhook, one after the other, until a call fails."""
    try:
        while await _send_next(server, webhook_id):
            pass
    except OutageError as error:
        logs.warning(Event.SWEEP_INTERRUPTED, code=error.code, detail=error.detail)
    except Exception as error:  # a fault of ours must not end the process; the claim runs out
        logs.error(Event.INTERNAL_ERROR, exc_info=error, webhook=webhook_id)
    finally:
        busy.discard(webhook_id)


async def _send_next(server: ServerContext, webhook_id: WebhookId) -> bool:
    """Send one delivery. False: there was none, or it did not arrive."""
    limit_ms = round(server.settings.webhook_timeout_s * 1000)
    claimed = await server.database.run(
        _claim, server.seals, webhook_id, for_ms=limit_ms + SPARE_MS
    )
    if claimed is None:
        return False
    webhook, delivery = claimed
    try:
        answered = await _call(server, webhook, delivery)
    except AddressRefusedError as error:
        values = _failed(delivery, error.reason, None)
    except SecretDamagedError:
        logs.error(Event.SECRET_DAMAGED, webhook=webhook_id)
        values = _failed(delivery, DAMAGED, None)
    except CallFailedError as error:
        values = _failed(delivery, error.reason, error.answered)
    else:
        values = {**_ended(DeliveryStatus.DELIVERED), "answered": answered, "error": None}
    await server.database.run(webhooks.record, delivery.id, tries=delivery.tries + 1, **values)
    _log(delivery, values)
    return values["error"] is None


def _claim(
    conn: Connection, seals: Seals, webhook_id: WebhookId, *, for_ms: int
) -> tuple[Webhook, Delivery] | None:
    webhook = webhooks.get(conn, webhook_id)
    delivery = webhooks.next_due(conn, webhook_id)
    if webhook is None or delivery is None or not seals.can_open(webhook.secret):
        return None
    won = webhooks.claim(conn, delivery.id, tries=delivery.tries, for_ms=for_ms)
    return (webhook, delivery) if won else None


async def _call(server: ServerContext, webhook: Webhook, delivery: Delivery) -> int:
    """Call the webhook and return the status of its answer, of which nothing else is read."""
    secret = server.seals.open(webhook.secret, webhook.id)
    body = json.dumps(delivery.body, ensure_ascii=False, separators=(",", ":"))
    async with server.outgoing.call(
        "POST",
        webhook.url,
        timeout_s=server.settings.webhook_timeout_s,
        headers=signed.headers(secret, delivery.id, body),
        body=body.encode(),
    ) as answer:
        return answer.status


def _failed(delivery: Delivery, reason: str, answered: int | None) -> dict[str, Any]:
    """Return the columns after a call that failed: when the next one is due, or that none is."""
    values = {"answered": answered, "error": reason}
    if delivery.tries >= len(BACKOFF_S) or answered == GONE:
        return {**values, **_ended(DeliveryStatus.GIVEN_UP)}
    return {**values, "due_at": NOW + BACKOFF_S[delivery.tries] * 1000}


def _ended(status: DeliveryStatus) -> dict[str, Any]:
    return {"status": status, "ended_at": NOW}


def _log(delivery: Delivery, values: Mapping[str, Any]) -> None:
    named = {"notice": delivery.id, "webhook": delivery.webhook_id, "batch": delivery.batch_id}
    if values["error"] is None:
        logs.info(Event.WEBHOOK_DELIVERED, **named)
    elif "status" in values:
        logs.error(Event.WEBHOOK_GIVEN_UP, **named, reason=values["error"])
    else:
        logs.warning(Event.WEBHOOK_FAILED, **named, reason=values["error"])


def _body(batch: Batch) -> dict[str, Any]:
    """Return the message: how the batch has ended, without anything of its files."""
    counts = {str(status): getattr(batch.counts, status) for status in ItemStatus}
    described = {
        "id": batch.id,
        "status": str(batch.status),
        "name": batch.name,
        "tag": batch.tag,
        "metadata": batch.metadata,
        "run": batch.run_no,
        "counts": {"total": batch.counts.total, **counts},
        "bytes_in": batch.bytes_in,
        "bytes_out": batch.bytes_out,
    }
    for name in ("created_at", "started_at", "ended_at"):
        instant = getattr(batch, name)
        described[name] = instant and instant.isoformat()
    return {"type": "batch.completed", "timestamp": described["ended_at"], "data": described}
