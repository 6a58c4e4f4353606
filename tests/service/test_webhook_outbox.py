"""Notices of ended batches, on every database: written with the end, sent at least once."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from standardwebhooks.webhooks import Webhook as Verifier

from batchmill.db import webhooks as rows
from batchmill.db.connect import Database
from batchmill.db.types import Clock, at, to_ms
from batchmill.model import ids
from batchmill.model.batch import LOCAL_OWNER, BatchId, OwnerId
from batchmill.model.webhook import Delivery, DeliveryStatus, Webhook
from batchmill.outgoing.calls import CallRules, Outgoing
from batchmill.service import batch_control, webhook_outbox, webhooks
from batchmill.service.batch_control import RetryScope
from batchmill.service.context import ServerContext
from batchmill.service.queries import Reading
from batchmill.service.submission.submit import Caller
from batchmill.worker import background
from support import receiver as receivers
from support.receiver import Receiver, answer
from support.server_contexts import (
    new_context,
    nothing_special,
    scripted,
    send,
    until_ended,
    working,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def context(database: Database, tmp_path: Path) -> ServerContext:
    made = new_context(database, tmp_path)
    return replace(made, outgoing=Outgoing(CallRules(http=True, loopback=True)))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


async def a_webhook(
    context: ServerContext, receiver: Receiver, *, every_batch: bool = True, **more: Any
) -> Webhook:
    owner_id = more.get("owner_id", LOCAL_OWNER)
    return await webhooks.create(context, owner_id, url=receiver.url, every_batch=every_batch)


async def notices_of(context: ServerContext, webhook: Webhook) -> list[Delivery]:
    page = await Reading(context, None).deliveries(webhook, limit=1_000)
    return list(reversed(page.data))


async def until(
    context: ServerContext, webhook: Webhook, holds: Callable[[list[Delivery]], object]
) -> list[Delivery]:
    async with asyncio.timeout(60):
        while not holds(found := await notices_of(context, webhook)):
            await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def sending(context: ServerContext) -> AsyncIterator[None]:
    async with background(webhook_outbox.run(context)):
        yield


async def ended_batch(context: ServerContext, **order: Any) -> BatchId:
    """Make a batch that has ended without any work."""
    batch_id = await send(context, 0, keep_open=True, **order)
    await batch_control.close(context, batch_id, owner_id=None)
    return batch_id


async def test_the_end_of_a_batch_is_told_once_and_signed(
    context: ServerContext, receiver: Receiver, tmp_path: Path
) -> None:
    webhook = await a_webhook(context, receiver)
    batch_id = await send(context, 3, metadata={"order": "ä 7"}, tag="shop")
    async with working(context, scripted(tmp_path, nothing_special)):
        await until_ended(context, batch_id)
        (delivery,) = await until(context, webhook, lambda all_: all_ and all_[0].ended_at)

    (got,) = receiver.got
    message = Verifier(webhook.secret).verify(got.body, got.headers)
    assert message["type"] == "batch.completed"
    assert message["data"]["id"] == batch_id
    assert message["data"]["status"] == "completed"
    assert message["data"]["counts"]["completed"] == message["data"]["counts"]["total"] == 3
    assert message["data"]["metadata"] == {"order": "ä 7"}
    assert message["timestamp"] == message["data"]["ended_at"]
    assert got.headers["webhook-id"] == delivery.id
    assert got.headers["content-type"] == "application/json"
    assert (delivery.status, delivery.answered, delivery.tries) == (
        DeliveryStatus.DELIVERED,
        200,
        1,
    )


async def test_a_batch_that_is_cancelled_closed_or_run_again_is_told_each_time(
    context: ServerContext, receiver: Receiver, tmp_path: Path
) -> None:
    webhook = await a_webhook(context, receiver)
    cancelled = await send(context, 2)
    await batch_control.cancel(context, cancelled, owner_id=None)
    closed = await ended_batch(context)
    await batch_control.close(context, closed, owner_id=None)
    scope = RetryScope(cancelled=True)
    await batch_control.retry(context, cancelled, scope, owner_id=None)
    async with working(context, scripted(tmp_path, nothing_special)):
        await until_ended(context, cancelled)
        found = await until(context, webhook, lambda all_: len(all_) == 3)

    told = [
        (each.batch_id, each.body["data"]["status"], each.body["data"]["run"]) for each in found
    ]
    assert told == [
        (cancelled, "cancelled", 1),
        (closed, "completed", 1),
        (cancelled, "completed", 2),
    ]
    assert len({each.id for each in found}) == 3


async def test_a_notice_and_the_end_are_one_transaction(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    batch_id = await send(context, 0, keep_open=True)

    def broken_off(conn: Connection) -> None:
        batch_control._close(conn, batch_id, retention_ms=1_000)
        assert rows.page(conn, webhook.id, limit=1)
        raise LookupError("the process dies before the commit")

    with pytest.raises(LookupError):
        await context.database.run(broken_off)
    assert await notices_of(context, webhook) == []
    await batch_control.close(context, batch_id, owner_id=None)
    assert len(await notices_of(context, webhook)) == 1


async def test_a_webhook_hears_of_batches_that_name_it_and_of_no_other_owners(
    context: ServerContext, receiver: Receiver
) -> None:
    anna = Caller(owner_id=OwnerId("anna"))
    named = await a_webhook(context, receiver, every_batch=False)
    every = await a_webhook(context, receiver)
    annas = await a_webhook(context, receiver, owner_id=anna.owner_id)
    first = await ended_batch(context, webhook=named.id)
    second = await ended_batch(context)
    third = await ended_batch(context, caller=anna)

    def told(found: list[Delivery]) -> list[str]:
        return [each.batch_id for each in found]

    assert told(await notices_of(context, named)) == [first]
    assert told(await notices_of(context, every)) == [first, second]
    assert told(await notices_of(context, annas)) == [third]


async def test_a_receiver_that_comes_back_gets_the_same_message(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    receiver.behave = lambda guest: answer(guest, 503)
    await ended_batch(context)
    async with sending(context):
        (failed,) = await until(context, webhook, lambda all_: all_[0].error)
        assert (failed.status, failed.answered) == (DeliveryStatus.WAITING, 503)
        assert failed.error == "it answers 503"
        waits = failed.due_at - failed.created_at
        assert timedelta(seconds=4) < waits < timedelta(seconds=30)
        receiver.behave = answer
        await webhooks.resend(context, webhook, failed.id)
        (delivery,) = await until(context, webhook, lambda all_: all_[0].ended_at)

    assert (delivery.status, delivery.error) == (DeliveryStatus.DELIVERED, None)
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery.id
    assert first.body == second.body
    Verifier(webhook.secret).verify(second.body, second.headers)


async def test_a_notice_that_never_arrives_is_given_up_after_all_tries(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    receiver.stop()
    await ended_batch(context)
    waits = []
    for _ in range(len(webhook_outbox.BACKOFF_S) + 1):
        (before,) = await notices_of(context, webhook)
        await _make_due(context, before)
        assert not await webhook_outbox._send_next(context, webhook.id)
        (after,) = await notices_of(context, webhook)
        waits.append(round((after.due_at - after.created_at).total_seconds()))

    assert after.status is DeliveryStatus.GIVEN_UP
    assert after.tries == len(webhook_outbox.BACKOFF_S) + 1
    assert waits[:-1] == sorted(waits[:-1])
    assert waits[-2] >= 86_400
    assert await context.database.read(rows.due, without=(), limit=9, now=_later(after)) == []


async def _make_due(context: ServerContext, delivery: Delivery) -> None:
    await context.database.run(rows.record, delivery.id, tries=delivery.tries, due_at=at(0))


def _later(delivery: Delivery) -> Clock:
    return at(to_ms(delivery.created_at + timedelta(days=30)))


async def test_a_receiver_that_says_gone_is_not_called_again(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    receiver.behave = lambda guest: answer(guest, 410)
    await ended_batch(context)
    assert not await webhook_outbox._send_next(context, webhook.id)
    (delivery,) = await notices_of(context, webhook)
    assert (delivery.status, delivery.tries, delivery.answered) == (DeliveryStatus.GIVEN_UP, 1, 410)


async def test_a_sender_that_dies_after_its_claim_loses_nothing(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    await ended_batch(context)
    claimed = await context.database.run(
        webhook_outbox._claim, context.seals, webhook.id, for_ms=60_000
    )
    assert claimed is not None

    assert (
        await context.database.run(webhook_outbox._claim, context.seals, webhook.id, for_ms=60_000)
        is None
    )
    later = _later(claimed[1])
    assert await context.database.read(rows.due, without=(), limit=9, now=later) == [webhook.id]
    again = await context.database.read(rows.next_due, webhook.id, now=later)
    assert again is not None
    assert again.id == claimed[1].id


async def test_processes_side_by_side_send_each_notice_once(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    for _ in range(20):
        await ended_batch(context)
    other = replace(context, process_id=ids.worker_id())
    async with sending(context), sending(other):
        found = await until(context, webhook, lambda all_: all(each.ended_at for each in all_))

    assert {each.status for each in found} == {DeliveryStatus.DELIVERED}
    sent = [got.headers["webhook-id"] for got in receiver.got]
    assert sorted(sent) == sorted(each.id for each in found)


@pytest.mark.parametrize("behave", [receivers.hang, receivers.drip, receivers.flood_headers])
async def test_a_receiver_that_hangs_or_floods_holds_up_nobody_else(
    context: ServerContext, receiver: Receiver, behave: receivers.Behave
) -> None:
    receiver.behave = behave
    patient = context.settings.model_copy(update={"webhook_timeout_s": 120})
    context = replace(context, settings=patient)
    bad = await a_webhook(context, receiver)
    with Receiver() as good_receiver:
        good = await a_webhook(context, good_receiver)
        for _ in range(3):
            await ended_batch(context)
        async with sending(context):
            found = await until(context, good, lambda all_: all(each.ended_at for each in all_))
            await until(context, bad, lambda all_: all_[0].tries)

    assert {each.status for each in found} == {DeliveryStatus.DELIVERED}
    assert len(good_receiver.got) == 3


async def test_a_name_that_leads_inside_is_a_failed_call(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    await ended_batch(context)
    strict = replace(context, outgoing=Outgoing(CallRules(http=True)))
    async with sending(strict):
        (delivery,) = await until(context, webhook, lambda all_: all_[0].error)
    assert delivery.error == "it does not lead to the public internet"
    assert receiver.got == []


async def test_notices_of_a_removed_webhook_are_gone_and_old_ones_are_forgotten(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    other = await a_webhook(context, receiver)
    await ended_batch(context)
    await webhooks.delete(context, webhook)
    assert await notices_of(context, webhook) == []
    (delivery,) = await notices_of(context, other)

    young = at(to_ms(delivery.created_at) + 999)
    assert await context.database.run(rows.forget_older, age_ms=1_000, now=young) == 0
    old = at(to_ms(delivery.created_at) + 1_001)
    assert await context.database.run(rows.forget_older, age_ms=1_000, now=old) == 1


async def test_a_message_stays_as_it_was_written(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    batch_id = await ended_batch(context, metadata={"b": 1, "a": [1.5, None, "x"]})
    (before,) = await notices_of(context, webhook)
    await batch_control.delete(context, batch_id, owner_id=None)
    async with sending(context):
        await until(context, webhook, lambda all_: all_[0].ended_at)
    assert json.loads(receiver.got[0].body) == before.body


async def test_the_webhook_of_a_running_batch_that_is_deleted_is_told_that_it_was_cancelled(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    batch_id = await send(context, 3)
    await batch_control.delete(context, batch_id, owner_id=None)
    (told,) = await notices_of(context, webhook)
    assert told.body["data"]["status"] == "cancelled"
    assert told.body["data"]["counts"]["pending"] == 3


async def test_a_webhook_has_nothing_due_until_the_instant_that_its_notice_names(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    await ended_batch(context)
    (delivery,) = await notices_of(context, webhook)
    await context.database.run(rows.claim, delivery.id, tries=0, for_ms=500, now=at(1_000))

    early, on_time = at(1_499), at(1_500)
    assert await context.database.read(rows.due, without=(), limit=9, now=early) == []
    assert await context.database.read(rows.due, without=(), limit=9, now=on_time) == [webhook.id]


async def test_the_longest_overdue_webhook_comes_first_and_a_busy_one_not_at_all(
    context: ServerContext, receiver: Receiver
) -> None:
    webhooks_ = [await a_webhook(context, receiver) for _ in range(2)]
    await ended_batch(context)
    for first, second in (webhooks_, reversed(webhooks_)):
        for due_ms, webhook in ((1, first), (2, second)):
            (delivery,) = await notices_of(context, webhook)
            await context.database.run(rows.record, delivery.id, tries=0, due_at=at(due_ms))
        assert await context.database.read(rows.due, without=(), limit=1) == [first.id]
        assert await context.database.read(rows.due, without={first.id}, limit=9) == [second.id]


async def test_a_call_that_is_under_way_is_repeated_only_after_its_time_limit(
    context: ServerContext, receiver: Receiver
) -> None:
    webhook = await a_webhook(context, receiver)
    receiver.behave = receivers.hang
    await ended_batch(context)
    async with sending(context):
        (delivery,) = await until(context, webhook, lambda all_: all_[0].tries)
    limit_ms = context.settings.webhook_timeout_s * 1000
    assert to_ms(delivery.due_at) - to_ms(delivery.created_at) >= limit_ms + webhook_outbox.SPARE_MS
