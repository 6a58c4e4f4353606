"""Webhooks: make, list, delete; look at their notices and send one again."""

from collections.abc import Sequence

from batchmill.db import webhooks
from batchmill.db.connect import Connection
from batchmill.errors.request import ConflictError, InvalidFieldError, NotFoundError
from batchmill.model.batch import OwnerId
from batchmill.model.webhook import Notice, NoticeId, Webhook, WebhookId
from batchmill.outgoing import signed
from batchmill.service import ids
from batchmill.service.mill import Mill

MOST_OF_AN_OWNER = 20


async def create(mill: Mill, owner_id: OwnerId, *, url: str, every_batch: bool) -> Webhook:
    """Make a webhook with a new secret.

    Raises:
        AddressRefusedError: the address is none that is called.
        ConflictError: the owner has as many as one may have.
    """
    mill.outgoing.check(url)
    made = await mill.database.run(_create, owner_id, url, every_batch=every_batch)
    if made is None:
        raise ConflictError(f"There are {MOST_OF_AN_OWNER} webhooks already; delete one first.")
    return made


async def listed(mill: Mill, owner_id: OwnerId) -> Sequence[Webhook]:
    """Return an owner's webhooks, newest first."""
    return await mill.database.read(webhooks.of_owner, owner_id)


async def named(mill: Mill, owner_id: OwnerId, name: str) -> WebhookId:
    """Return the owner's webhook with this id or address.

    Raises:
        InvalidFieldError: the owner has no such webhook.
    """
    for webhook in await listed(mill, owner_id):
        if name in (webhook.id, webhook.url):
            return webhook.id
    raise InvalidFieldError("`webhook` is none of yours; make one with POST /v1/webhooks first.")


async def delete(mill: Mill, webhook: Webhook) -> None:
    """Remove a webhook; notices that have not arrived are not sent any more."""
    await mill.database.run(_delete, webhook.id)


async def resend(mill: Mill, webhook: Webhook, notice_id: str) -> Notice:
    """Send a notice again, whether it has arrived or not; its id stays.

    Raises:
        NotFoundError: the webhook has no such notice.
    """
    known = NoticeId(notice_id)
    if not await mill.database.run(webhooks.resend, known, webhook.id):
        raise NotFoundError("delivery", notice_id)
    return await mill.database.read(webhooks.notice, known)


def _create(conn: Connection, owner_id: OwnerId, url: str, *, every_batch: bool) -> Webhook | None:
    if len(webhooks.of_owner(conn, owner_id)) >= MOST_OF_AN_OWNER:
        return None
    made, secret = ids.webhook_id(), signed.new_secret()
    webhooks.insert(conn, made, owner_id, url=url, secret=secret, every_batch=every_batch)
    return webhooks.get(conn, made)


def _delete(conn: Connection, webhook_id: WebhookId) -> None:
    webhooks.delete(conn, webhook_id)
    webhooks.delete_notices(conn, webhook_id)
