"""Every statement about webhooks and their deliveries, the outbox of the server.

A delivery is written in the transaction that ends its batch. Sending is a claim: `due_at` moves
behind the time that the call may take, so a process that dies in between loses nothing.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, update

from batchmill.db.schema import notices, webhooks
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import BatchId, OwnerId
from batchmill.model.webhook import SEALED, Delivery, DeliveryId, DeliveryStatus, Webhook, WebhookId


def insert(  # noqa: PLR0913 - the columns of one row
    conn: Connection,
    webhook_id: WebhookId,
    owner_id: OwnerId,
    *,
    url: str,
    secret: str,
    every_batch: bool,
    now: Clock = NOW,
) -> None:
    """Enter a webhook."""
    row = {"url": url, "secret": secret, "every_batch": every_batch, "created_at": now}
    conn.execute(webhooks.insert().values(id=webhook_id, owner_id=owner_id, **row))


def of_owner(conn: Connection, owner_id: OwnerId) -> Sequence[Webhook]:
    """Return an owner's webhooks, newest first."""
    query = _select().where(webhooks.c.owner_id == owner_id).order_by(webhooks.c.id.desc())
    return [_webhook(row) for row in conn.execute(query)]


def get(
    conn: Connection, webhook_id: WebhookId, *, owner_id: OwnerId | None = None
) -> Webhook | None:
    """Read a webhook; somebody else's is as absent as none. `owner_id` None sees all."""
    query = _select().where(webhooks.c.id == webhook_id)
    if owner_id is not None:
        query = query.where(webhooks.c.owner_id == owner_id)
    row = conn.execute(query).one_or_none()
    return None if row is None else _webhook(row)


def delete(conn: Connection, webhook_id: WebhookId) -> bool:
    """Remove the row of a webhook."""
    return conn.execute(webhooks.delete().where(webhooks.c.id == webhook_id)).rowcount == 1


def sealed_otherwise(
    conn: Connection, prefix: str, *, after: WebhookId, limit: int
) -> Sequence[tuple[WebhookId, str]]:
    """Return webhooks whose secrets do not begin with `prefix`, in the order of their ids."""
    query = (
        select(webhooks.c.id, webhooks.c.secret)
        .where(webhooks.c.id > after, ~webhooks.c.secret.startswith(prefix, autoescape=True))
        .order_by(webhooks.c.id)
        .limit(limit)
    )
    return [(WebhookId(row.id), row.secret) for row in conn.execute(query)]


def reseal(conn: Connection, changed: Sequence[tuple[WebhookId, str, str]]) -> int:
    """Replace secrets, each the old one by the new one; return how many were still the old."""
    if conn.dialect.name == "sqlite":  # else the old one stays readable where it lay in the file
        conn.exec_driver_sql("PRAGMA secure_delete=ON")
    total = 0
    for webhook_id, old, new in changed:
        same = update(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.secret == old)
        total += conn.execute(same.values(secret=new)).rowcount
    return total


def count_locked(conn: Connection, prefixes: Collection[str]) -> int:
    """Count webhooks whose secrets are sealed and begin with none of `prefixes`."""
    locked = select(func.count()).select_from(webhooks).where(~_can_open(prefixes))
    return int(conn.execute(locked).scalar_one())


def _can_open(prefixes: Collection[str]) -> ColumnElement[bool]:
    opened = (webhooks.c.secret.startswith(prefix, autoescape=True) for prefix in prefixes)
    return or_(~webhooks.c.secret.startswith(SEALED, autoescape=True), *opened)


def told_of(conn: Connection, owner_id: OwnerId, webhook_id: str | None) -> Sequence[WebhookId]:
    """Name an owner's webhooks that are told of a batch: its own, and those of every batch."""
    wanted = or_(webhooks.c.every_batch.is_(True), webhooks.c.id == webhook_id)
    query = select(webhooks.c.id).where(webhooks.c.owner_id == owner_id, wanted)
    return list(conn.scalars(query))


def announce(
    conn: Connection,
    ids: Sequence[tuple[DeliveryId, WebhookId]],
    batch_id: BatchId,
    *,
    body: dict[str, Any],
    now: Clock = NOW,
) -> None:
    """Write deliveries of a batch, to be sent at once."""
    same: dict[str, Any] = {"batch_id": batch_id, "status": DeliveryStatus.WAITING, "body": body}
    same |= {"created_at": now, "due_at": now}
    for delivery_id, webhook_id in ids:
        conn.execute(notices.insert().values(id=delivery_id, webhook_id=webhook_id, **same))


def due(
    conn: Connection,
    *,
    without: Collection[WebhookId],
    limit: int,
    prefixes: Collection[str] = (),
    now: Clock = NOW,
) -> Sequence[WebhookId]:
    """Name webhooks that have a delivery to be sent now, the longest overdue first.

    Where the secret is sealed and begins with none of `prefixes`, the delivery is left to a process
    that can open it.
    """
    query = (
        select(notices.c.webhook_id)
        .join(webhooks, webhooks.c.id == notices.c.webhook_id)
        .where(_can_open(prefixes))
        .where(notices.c.status == DeliveryStatus.WAITING, notices.c.due_at <= now)
        .where(notices.c.webhook_id.not_in(sorted(without)))
        .group_by(notices.c.webhook_id)
        .order_by(func.min(notices.c.due_at))
        .limit(limit)
    )
    return list(conn.scalars(query))


def next_due(conn: Connection, webhook_id: WebhookId, *, now: Clock = NOW) -> Delivery | None:
    """Return the delivery of a webhook that is to be sent next."""
    query = _select_deliveries().where(
        notices.c.webhook_id == webhook_id,
        notices.c.status == DeliveryStatus.WAITING,
        notices.c.due_at <= now,
    )
    row = conn.execute(query.order_by(notices.c.due_at, notices.c.id).limit(1)).one_or_none()
    return None if row is None else _delivery(row)


def delivery(conn: Connection, delivery_id: DeliveryId) -> Delivery:
    """Read a delivery that is there."""
    return _delivery(conn.execute(_select_deliveries().where(notices.c.id == delivery_id)).one())


def claim(
    conn: Connection, delivery_id: DeliveryId, *, tries: int, for_ms: int, now: Clock = NOW
) -> bool:
    """Take a delivery for one call of up to `for_ms`. False: another process has."""
    statement = update(notices).where(
        notices.c.id == delivery_id,
        notices.c.tries == tries,
        notices.c.status == DeliveryStatus.WAITING,
    )
    return conn.execute(statement.values(tries=tries + 1, due_at=now + for_ms)).rowcount == 1


def record(
    conn: Connection,
    /,
    delivery_id: DeliveryId,
    *,
    tries: int,
    **values: Any,  # noqa: ANN401
) -> bool:
    """Write what became of call number `tries`. False: it was sent again meanwhile."""
    statement = update(notices).where(notices.c.id == delivery_id, notices.c.tries == tries)
    return conn.execute(statement.values(**values)).rowcount == 1


def page(
    conn: Connection, webhook_id: WebhookId, *, limit: int, before: DeliveryId | None = None
) -> Sequence[Delivery]:
    """Return the deliveries of a webhook, newest first."""
    query = _select_deliveries().where(notices.c.webhook_id == webhook_id)
    if before is not None:
        query = query.where(notices.c.id < before)
    return [
        _delivery(row) for row in conn.execute(query.order_by(notices.c.id.desc()).limit(limit))
    ]


def resend(
    conn: Connection, delivery_id: DeliveryId, webhook_id: WebhookId, *, now: Clock = NOW
) -> bool:
    """Send a delivery again at once, with all its tries. False: the webhook has none such."""
    known = update(notices).where(notices.c.id == delivery_id, notices.c.webhook_id == webhook_id)
    fresh = {"status": DeliveryStatus.WAITING, "due_at": now, "tries": 0, "ended_at": None}
    return conn.execute(known.values(**fresh)).rowcount == 1


def delete_deliveries(conn: Connection, webhook_id: WebhookId) -> None:
    """Remove the deliveries of a webhook."""
    conn.execute(notices.delete().where(notices.c.webhook_id == webhook_id))


def forget_older(conn: Connection, *, age_ms: int, now: Clock = NOW) -> int:
    """Remove deliveries of this age, arrived or not; return how many."""
    return conn.execute(notices.delete().where(notices.c.created_at < now - age_ms)).rowcount


_WEBHOOK = ("id", "owner_id", "url", "every_batch", "created_at", "secret")


def _select() -> Any:  # noqa: ANN401 - a Select
    return select(*(webhooks.c[name] for name in _WEBHOOK))


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(**dict(zip(_WEBHOOK, row, strict=True)))


def _select_deliveries() -> Any:  # noqa: ANN401 - a Select
    return select(*(notices.c[name] for name in Delivery.__slots__))


def _delivery(row: Row[Any]) -> Delivery:
    shown = dict(zip(Delivery.__slots__, row, strict=True))
    return Delivery(**{**shown, "status": DeliveryStatus(shown["status"])})
