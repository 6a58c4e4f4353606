"""API keys: make, list, revoke."""

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.model.access import KeyId, Scope
from batchmill.model.batch import OwnerId
from batchmill.service import api_keys
from batchmill.service.api_keys import Grant
from batchmill.wire import requests, responses

router = APIRouter(tags=["keys"])


@router.post("/v1/keys", status_code=201, response_model=responses.MadeKey)
async def create(request: Request, ctx: Ctx) -> Response:
    """Make a key; the answer is the only place where its secret is ever shown."""
    auth.refuse_unless_admin(ctx.caller)
    sent = await submissions.read_json(request, ctx)
    wanted: requests.NewKey = checked(requests.NewKey, sent.value, "The request")
    owner_id = OwnerId(wanted.owner) if wanted.owner else ctx.caller.owner_id
    scopes = tuple(Scope(scope) for scope in wanted.scopes)
    grant = Grant(wanted.name, owner_id, wanted.tier, scopes)
    made, secret = await api_keys.create(ctx.server.database, grant, by=ctx.caller.key)
    return serialize.answer(
        responses.MadeKey(**serialize.key(made).model_dump(), secret=secret), 201
    )


@router.get("/v1/keys", response_model=responses.Listing[responses.Key])
async def list_keys(request: Request, ctx: Ctx) -> Response:
    """List your keys, revoked ones too; an admin sees everybody's."""
    auth.refuse_lists(ctx.caller)
    found = await api_keys.listed(ctx.server.database, _visible(ctx))
    listing = responses.Listing[responses.Key](data=[serialize.key(key) for key in found])
    return serialize.conditional(request, listing)


@router.delete("/v1/keys/{key_id}", status_code=204)
async def revoke(key_id: str, ctx: Ctx) -> Response:
    """End a key for good."""
    auth.refuse_unless_admin(ctx.caller)
    await api_keys.revoke(ctx.server.database, KeyId(key_id), owner_id=_visible(ctx))
    return Response(status_code=204)


def _visible(ctx: RequestContext) -> OwnerId | None:
    return None if auth.is_admin(ctx.caller) else ctx.caller.owner_id
