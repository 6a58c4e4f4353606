"""API keys: make, list, revoke; and the one-time link that makes a browser the admin."""

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from batchmill.api import answers, auth, submissions
from batchmill.api.context import Asking, Context
from batchmill.api.problems import checked
from batchmill.errors.request import ForbiddenError
from batchmill.model.access import ApiKey, KeyId, Scope
from batchmill.model.batch import LOCAL_OWNER, OwnerId
from batchmill.service import keys
from batchmill.service.keys import Grant
from batchmill.service.mill import Mill
from batchmill.wire import asked, told

router = APIRouter(tags=["keys"])

COOKIE_S = 30 * 86_400


@router.post("/v1/keys", status_code=201, response_model=told.NewKey)
async def create(request: Request, asking: Asking) -> Response:
    """Make a key; the answer is the only place where its secret is ever shown."""
    by = _admin(asking)
    sent = await submissions.read_json(request, asking)
    wanted: asked.NewKey = checked(asked.NewKey, sent.value, "The request")
    owner_id = OwnerId(wanted.owner) if wanted.owner else asking.caller.owner_id
    scopes = tuple(Scope(scope) for scope in wanted.scopes)
    grant = Grant(wanted.name, owner_id, wanted.tier, scopes)
    made, secret = await keys.create(asking.mill.database, grant, by=by)
    return answers.answer(told.NewKey(**_shown(made), secret=secret), 201)


@router.get("/v1/keys", response_model=told.Listing[told.Key])
async def browse(request: Request, asking: Asking) -> Response:
    """List your keys, revoked ones too; an admin sees everybody's."""
    auth.refuse_lists(asking.caller)
    found = await keys.listed(asking.mill.database, _visible(asking))
    listing = told.Listing[told.Key](data=[told.Key(**_shown(key)) for key in found])
    return answers.conditional(request, listing)


@router.delete("/v1/keys/{key_id}", status_code=204)
async def revoke(key_id: str, asking: Asking) -> Response:
    """End a key for good."""
    _admin(asking)
    await keys.revoke(asking.mill.database, KeyId(key_id), owner_id=_visible(asking))
    return Response(status_code=204)


@router.get("/login", include_in_schema=False)
async def login(request: Request, token: str = Query(max_length=200)) -> Response:
    """Exchange the link that `serve` printed for a cookie; it works once."""
    mill: Mill = request.app.state.mill
    secret = await keys.redeem_admin_link(mill.database, token)
    response = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
    response.set_cookie(
        auth.COOKIE,
        secret,
        max_age=COOKIE_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


def _admin(asking: Context) -> ApiKey | None:
    """Return the key that may manage keys; None for somebody at the machine itself.

    Raises:
        ForbiddenError: the caller may not.
    """
    key = asking.caller.key
    if key is None and asking.caller.owner_id != LOCAL_OWNER:
        raise ForbiddenError("Making keys needs a key with the scope `admin`.")
    if key is not None and not key.permits(Scope.ADMIN):
        raise ForbiddenError("Only a key with the scope `admin` can manage keys.")
    return key


def _visible(asking: Context) -> OwnerId | None:
    key = asking.caller.key
    sees_all = key is None or key.permits(Scope.ADMIN)
    return None if sees_all and asking.caller.may_list else asking.caller.owner_id


def _shown(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "owner": key.owner_id,
        "tier": key.tier,
        "scopes": [str(scope) for scope in key.scopes],
        "created_at": key.created_at,
        "used_at": key.used_at,
        "revoked_at": key.revoked_at,
    }
