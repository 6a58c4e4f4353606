"""Secrets at rest: sealed for one row, opened by each key, and sealed again at a start."""

import asyncio
import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, String, select
from standardwebhooks.webhooks import Webhook as Verifier

from batchmill.db import webhooks as rows
from batchmill.db.connect import Database
from batchmill.db.schema import webhooks as table
from batchmill.errors.outage import SecretDamagedError, SecretKeyMissingError
from batchmill.model.batch import LOCAL_OWNER
from batchmill.model.webhook import DeliveryStatus, Webhook, WebhookId
from batchmill.outgoing import signed
from batchmill.outgoing.calls import CallRules, Outgoing
from batchmill.service import batch_control, webhook_outbox, webhooks
from batchmill.service.context import ServerContext
from batchmill.service.queries import Reading
from batchmill.service.seals import Seals
from batchmill.worker import background
from support.receiver import Receiver
from support.server_contexts import new_context, send

OLD, NEW = "o" * 32, "n" * 32
HOOK, OTHER = WebhookId("whk_1"), WebhookId("whk_2")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def context(database: Database, tmp_path: Path) -> ServerContext:
    made = new_context(database, tmp_path)
    return replace(made, outgoing=Outgoing(CallRules(http=True, loopback=True)))


def with_keys(context: ServerContext, *keys: str) -> ServerContext:
    return replace(context, seals=Seals(keys))


async def a_webhook(context: ServerContext, url: str = "http://127.0.0.1:9/") -> Webhook:
    return await webhooks.create(context, LOCAL_OWNER, url=url, every_batch=True)


def kept(context: ServerContext) -> dict[str, str]:
    with context.database.engine.begin() as conn:
        return {row.id: row.secret for row in conn.execute(select(table.c.id, table.c.secret))}


def test_a_sealed_secret_opens_with_its_key_and_fits_its_column() -> None:
    secret, seals = signed.new_secret(), Seals([NEW])
    sealed = seals.seal(secret, HOOK)
    assert sealed.startswith("sealed:v1:")
    column = table.c.secret.type
    assert isinstance(column, String)
    assert len(sealed) <= (column.length or 0)
    assert secret.removeprefix("whsec_") not in sealed
    assert seals.open(sealed, HOOK) == secret
    assert seals.seal(secret, HOOK) != sealed, "the nonce is another one each time"


def test_the_first_key_seals_and_each_one_opens() -> None:
    secret = signed.new_secret()
    before = Seals([OLD]).seal(secret, HOOK)
    both = Seals([NEW, OLD])
    assert both.open(before, HOOK) == secret
    assert Seals([NEW]).open(both.seal(secret, HOOK), HOOK) == secret
    with pytest.raises(SecretKeyMissingError):
        Seals([NEW]).open(before, HOOK)
    with pytest.raises(SecretKeyMissingError):
        Seals().open(before, HOOK)


def test_a_sealed_secret_opens_in_no_other_row() -> None:
    seals = Seals([NEW])
    with pytest.raises(SecretDamagedError):
        seals.open(seals.seal(signed.new_secret(), HOOK), OTHER)


def test_a_changed_secret_is_refused_wherever_it_was_changed() -> None:
    seals = Seals([NEW])
    prefix, body = (
        seals.prefixes[0],
        seals.seal(signed.new_secret(), HOOK)[len(seals.prefixes[0]) :],
    )
    sealed = base64.urlsafe_b64decode(body)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SecretDamagedError):
            seals.open(prefix + base64.urlsafe_b64encode(changed).decode(), HOOK)
    for damaged in ("", "A", body[:16], f"{body}A", f" {body}", "ä", f"x:{body}"):
        with pytest.raises(SecretDamagedError):
            seals.open(prefix + damaged, HOOK)


def test_without_a_key_secrets_stay_as_they_are() -> None:
    secret = signed.new_secret()
    assert Seals().seal(secret, HOOK) == Seals().open(secret, HOOK) == secret
    assert Seals([NEW]).open(secret, HOOK) == secret, "of a time before the key"


@pytest.mark.anyio
async def test_a_new_webhook_is_told_in_clear_and_kept_sealed(context: ServerContext) -> None:
    context = with_keys(context, NEW)
    made = await a_webhook(context)
    assert made.secret.startswith("whsec_")
    assert kept(context)[made.id].startswith(context.seals.prefixes[0])
    assert context.seals.open(kept(context)[made.id], made.id) == made.secret


@pytest.mark.anyio
async def test_a_start_seals_clear_secrets_and_those_of_an_older_key(
    context: ServerContext,
) -> None:
    secrets = {}
    for keys in [(), (OLD,), (NEW,)] * 3:
        made = await a_webhook(with_keys(context, *keys))
        secrets[made.id] = made.secret
    start = with_keys(context, NEW, OLD)

    await webhooks.seal_all(start)

    alone, after = Seals([NEW]), kept(context)
    assert {each: alone.open(text, WebhookId(each)) for each, text in after.items()} == secrets
    assert all(text.startswith(alone.prefixes[0]) for text in after.values())
    await webhooks.seal_all(start)
    assert kept(context) == after, "a second start changes nothing"


@pytest.mark.anyio
async def test_more_secrets_than_one_chunk_are_all_sealed(context: ServerContext) -> None:
    more = webhooks.CHUNK_ROWS + 3

    def insert(conn: Connection) -> None:
        for number in range(more):
            named: dict[str, Any] = {"url": "http://127.0.0.1:9/", "secret": signed.new_secret()}
            hook = WebhookId(f"whk_{number:05}")
            rows.insert(conn, hook, LOCAL_OWNER, every_batch=False, **named)

    await context.database.run(insert)
    await webhooks.seal_all(with_keys(context, NEW))
    assert sum(text.startswith("sealed:v1:") for text in kept(context).values()) == more


@pytest.mark.anyio
async def test_a_start_leaves_what_it_can_not_open_as_it_is(context: ServerContext) -> None:
    locked = await a_webhook(with_keys(context, OLD))
    damaged = await a_webhook(with_keys(context, NEW, OLD))
    broken = Seals([OLD, NEW]).prefixes[1] + "AAAA"

    def damage(conn: Connection) -> None:
        conn.execute(table.update().where(table.c.id == damaged.id).values(secret=broken))

    await context.database.run(damage)
    before = kept(context)
    await webhooks.seal_all(with_keys(context, "t" * 32, NEW))
    assert kept(context) == before
    start = with_keys(context, NEW)
    assert await context.database.read(rows.count_locked, start.seals.prefixes) == 1
    assert await context.database.read(rows.count_locked, Seals([OLD, NEW]).prefixes) == 0
    assert await context.database.read(rows.count_locked, ()) == 2
    assert locked.id in before


@pytest.mark.anyio
async def test_a_secret_changed_since_it_was_read_is_not_sealed_over(
    context: ServerContext,
) -> None:
    made = await a_webhook(context)
    stale = [(made.id, "whsec_other", "sealed:v1:00000000:x")]
    assert await context.database.run(rows.reseal, stale) == 0
    assert kept(context)[made.id] == made.secret


@pytest.mark.anyio
async def test_notices_wait_uncounted_for_the_key_and_go_out_once_it_is_back(
    context: ServerContext,
) -> None:
    with Receiver() as locked_receiver, Receiver() as clear_receiver:
        locked = await a_webhook(with_keys(context, OLD), locked_receiver.url)
        clear = await a_webhook(context, clear_receiver.url)
        batch_id = await send(context, 0, keep_open=True)
        await batch_control.close(context, batch_id, owner_id=None)
        for keys in ((), (NEW,)):
            async with background(webhook_outbox.run(with_keys(context, *keys))):
                await until_ended(context, clear)
            assert not await webhook_outbox._send_next(with_keys(context, *keys), locked.id)
            (waiting,) = (await Reading(context, None).deliveries(locked, limit=9)).data
            assert (waiting.status, waiting.tries) == (DeliveryStatus.WAITING, 0)
            assert (waiting.error, waiting.due_at) == (None, waiting.created_at)
            asked = Seals(keys).prefixes
            found = await context.database.read(rows.due, without=(), limit=9, prefixes=asked)
            assert found == [], "the locked one takes no other's place"
        assert locked_receiver.got == []

        async with background(webhook_outbox.run(with_keys(context, NEW, OLD))):
            await until_ended(context, locked)

        (delivery,) = (await Reading(context, None).deliveries(locked, limit=9)).data
        assert (delivery.status, delivery.tries) == (DeliveryStatus.DELIVERED, 1)
        (got,) = locked_receiver.got
        Verifier(locked.secret).verify(got.body, got.headers)


@pytest.mark.anyio
async def test_no_notice_is_signed_with_a_damaged_secret(context: ServerContext) -> None:
    context = with_keys(context, NEW)
    with Receiver() as receiver:
        first, second = (
            await a_webhook(context, receiver.url),
            await a_webhook(context, receiver.url),
        )
        moved = kept(context)[first.id]

        def copy(conn: Connection) -> None:
            conn.execute(table.update().where(table.c.id == second.id).values(secret=moved))

        await context.database.run(copy)
        batch_id = await send(context, 0, keep_open=True)
        await batch_control.close(context, batch_id, owner_id=None)
        assert not await webhook_outbox._send_next(context, second.id)
        (failed,) = (await Reading(context, None).deliveries(second, limit=9)).data
        assert (failed.status, failed.tries) == (DeliveryStatus.WAITING, 1)
        assert failed.error == webhook_outbox.DAMAGED
        assert receiver.got == []


async def until_ended(context: ServerContext, webhook: Webhook) -> None:
    async with asyncio.timeout(60):
        while (await Reading(context, None).deliveries(webhook, limit=9)).data[0].ended_at is None:
            await asyncio.sleep(0.02)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 characters"):
        Seals(["k" * 31])


def test_what_is_no_secret_of_ours_is_not_sealed() -> None:
    with pytest.raises(SecretDamagedError):
        Seals([NEW]).seal("no secret of ours", HOOK)
