"""Webhooks: addresses that are told when a batch ends, and what became of each delivery."""

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx
from batchmill.api.http import openapi_bodies
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.api.v1.batches import Cursor, Limit
from batchmill.model.webhook import Delivery, Webhook
from batchmill.service import webhooks
from batchmill.wire import requests, responses

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post(
    "",
    status_code=201,
    response_model=responses.MadeWebhook,
    openapi_extra=openapi_bodies.NEW_WEBHOOK,
)
async def create(request: Request, ctx: Ctx) -> Response:
    """Make a webhook; the answer is the only place where its secret is ever shown."""
    auth.refuse_lists(ctx.caller)
    sent = await submissions.read_json(request, ctx)
    wanted: requests.NewWebhook = checked(requests.NewWebhook, sent.value, "The request")
    made = await webhooks.create(
        ctx.server, ctx.caller.owner_id, url=wanted.url, every_batch=wanted.every_batch
    )
    return serialize.answer(responses.MadeWebhook(**_shown(made), secret=made.secret), 201)


@router.get("", response_model=responses.Listing[responses.Webhook])
async def list_webhooks(request: Request, ctx: Ctx) -> Response:
    """List your webhooks, newest first."""
    auth.refuse_lists(ctx.caller)
    found = await webhooks.listed(ctx.server, ctx.caller.owner_id)
    listing = responses.Listing[responses.Webhook](
        data=[responses.Webhook(**_shown(each)) for each in found]
    )
    return serialize.conditional(request, listing)


@router.delete("/{webhook_id}", status_code=204)
async def delete(webhook_id: str, ctx: Ctx) -> Response:
    """Remove a webhook; what has not arrived is not sent any more."""
    await webhooks.delete(ctx.server, await ctx.reading.webhook(webhook_id))
    return Response(status_code=204)


@router.get("/{webhook_id}/deliveries", response_model=responses.Page[responses.WebhookDelivery])
async def deliveries(
    webhook_id: str, request: Request, ctx: Ctx, *, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List what was sent or is to be sent, newest first, with what became of it."""
    webhook = await ctx.reading.webhook(webhook_id)
    found = await ctx.reading.deliveries(webhook, limit=limit, cursor=cursor)
    return serialize.conditional(request, serialize.page(found, _delivery))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/resend",
    status_code=202,
    response_model=responses.WebhookDelivery,
)
async def resend(webhook_id: str, delivery_id: str, ctx: Ctx) -> Response:
    """Send one again, with the same id; whether it has arrived before does not matter."""
    webhook = await ctx.reading.webhook(webhook_id)
    sent = await webhooks.resend(ctx.server, webhook, delivery_id)
    return serialize.answer(_delivery(sent), 202)


def _shown(webhook: Webhook) -> dict[str, object]:
    return {name: getattr(webhook, name) for name in responses.Webhook.model_fields}


def _delivery(delivery: Delivery) -> responses.WebhookDelivery:
    fields = {name: getattr(delivery, name) for name in responses.WebhookDelivery.model_fields}
    return responses.WebhookDelivery(**fields)
