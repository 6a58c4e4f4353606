"""Webhooks: make, list, delete; send a delivery again; keep their secrets sealed."""

from collections.abc import Sequence
from dataclasses import replace

from batchmill import logs
from batchmill.db import webhooks
from batchmill.db.connect import Connection
from batchmill.errors.outage import SecretDamagedError, SecretKeyMissingError
from batchmill.errors.request import ConflictError, InvalidFieldError, NotFoundError
from batchmill.logs import Event
from batchmill.model import ids
from batchmill.model.batch import OwnerId
from batchmill.model.webhook import Delivery, DeliveryId, Webhook, WebhookId
from batchmill.outgoing import signed
from batchmill.service.context import ServerContext
from batchmill.service.seals import Seals

MOST_OF_AN_OWNER = 20
CHUNK_ROWS = 500


async def create(
    server: ServerContext, owner_id: OwnerId, *, url: str, every_batch: bool
) -> Webhook:
    """Make a webhook with a new secret, which this return alone tells in clear.

    Raises:
        AddressRefusedError: the address is none that is called.
        ConflictError: the owner has as many as one may have.
    """
    server.outgoing.check(url)
    made = await server.database.run(
        _create, owner_id, url, every_batch=every_batch, seals=server.seals
    )
    if made is None:
        raise ConflictError(f"There are {MOST_OF_AN_OWNER} webhooks already; delete one first.")
    return made


async def listed(server: ServerContext, owner_id: OwnerId) -> Sequence[Webhook]:
    """Return an owner's webhooks, newest first."""
    return await server.database.read(webhooks.of_owner, owner_id)


async def named(server: ServerContext, owner_id: OwnerId, name: str) -> WebhookId:
    """Return the owner's webhook with this id or address.

    Raises:
        InvalidFieldError: the owner has no such webhook.
    """
    for webhook in await listed(server, owner_id):
        if name in (webhook.id, webhook.url):
            return webhook.id
    raise InvalidFieldError("`webhook` is none of yours; make one with POST /v1/webhooks first.")


async def delete(server: ServerContext, webhook: Webhook) -> None:
    """Remove a webhook; deliveries that have not arrived are not sent any more."""
    await server.database.run(_delete, webhook.id)


async def resend(server: ServerContext, webhook: Webhook, delivery_id: str) -> Delivery:
    """Send a delivery again, whether it has arrived or not; its id stays.

    Raises:
        NotFoundError: the webhook has no such delivery.
    """
    known = DeliveryId(delivery_id)
    if not await server.database.run(webhooks.resend, known, webhook.id):
        raise NotFoundError("delivery", delivery_id)
    return await server.database.read(webhooks.delivery, known)


async def seal_all(server: ServerContext) -> None:
    """Seal with the first key what lies in clear or under another one; each start does this.

    What can't be opened stays as it is.
    """
    if not server.seals.prefixes:
        return
    after, total = WebhookId(""), 0
    prefix = server.seals.prefixes[0]
    while found := await server.database.read(
        webhooks.sealed_otherwise, prefix, after=after, limit=CHUNK_ROWS
    ):
        changed = [new for each in found if (new := _resealed(server.seals, *each))]
        total += await server.database.run(webhooks.reseal, changed)
        after = found[-1][0]
    if total:
        await server.database.empty_log()
        logs.info(Event.SECRETS_SEALED, webhooks=total)


async def warn_of_locked(server: ServerContext) -> None:
    """Log how many webhooks have a secret that no configured key opens, if any has."""
    if locked := await server.database.read(webhooks.count_locked, server.seals.prefixes):
        logs.error(Event.SECRETS_LOCKED, webhooks=locked, setting="BATCHMILL_SECRET_KEYS")


def _resealed(seals: Seals, webhook_id: WebhookId, kept: str) -> tuple[WebhookId, str, str] | None:
    try:
        return webhook_id, kept, seals.seal(seals.open(kept, webhook_id), webhook_id)
    except SecretKeyMissingError:
        return None
    except SecretDamagedError:
        logs.error(Event.SECRET_DAMAGED, webhook=webhook_id)
        return None


def _create(
    conn: Connection, owner_id: OwnerId, url: str, *, every_batch: bool, seals: Seals
) -> Webhook | None:
    if len(webhooks.of_owner(conn, owner_id)) >= MOST_OF_AN_OWNER:
        return None
    made, secret = ids.webhook_id(), signed.new_secret()
    sealed = seals.seal(secret, made)
    webhooks.insert(conn, made, owner_id, url=url, secret=sealed, every_batch=every_batch)
    webhook = webhooks.get(conn, made)
    return None if webhook is None else replace(webhook, secret=secret)


def _delete(conn: Connection, webhook_id: WebhookId) -> None:
    webhooks.delete(conn, webhook_id)
    webhooks.delete_deliveries(conn, webhook_id)
