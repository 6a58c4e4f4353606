"""Who a browser is: it shows a key once and is known by a cookie from then on."""

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx
from batchmill.api.http import json_body
from batchmill.api.http.problems import checked
from batchmill.errors.request import UnauthenticatedError
from batchmill.service import api_keys
from batchmill.service.context import ServerContext
from batchmill.wire import requests, system

router = APIRouter(tags=["keys"])

COOKIE_S = 30 * 86_400
LINK_USED = "/sign-in?link=used"


@router.get("/v1/session", response_model=system.Session)
async def get_session(ctx: Ctx) -> Response:
    """Say who the server takes the caller for."""
    caller = ctx.caller
    found = system.Session(
        owner=caller.owner_id,
        tier=caller.tier,
        admin=auth.is_admin(caller),
        lists=caller.may_list,
        key=serialize.key(caller.key) if caller.key else None,
    )
    return serialize.answer(found)


@router.post("/v1/session", status_code=204)
async def sign_in(request: Request) -> Response:
    """Exchange a key for a cookie that scripts cannot read and other sites cannot use."""
    server: ServerContext = request.app.state.server
    limits = server.settings
    sent = await json_body.read_json(
        request, limit_bytes=limits.json_bytes, silence_s=limits.body_timeout_s
    )
    wanted: requests.SignIn = checked(requests.SignIn, sent.value, "The request")
    secret = wanted.key.strip()
    if await api_keys.authenticate(server.database, secret) is None:
        raise UnauthenticatedError("This API key is not valid; it may have been revoked.")
    return _known_by(Response(status_code=204), request, secret)


@router.delete("/v1/session", status_code=204)
async def sign_out(request: Request) -> Response:
    """Forget the browser's key; the key itself stays valid."""
    response = Response(status_code=204)
    secure = _is_encrypted(request)
    response.delete_cookie(auth.COOKIE, httponly=True, samesite="strict", secure=secure)
    return response


@router.get("/login", include_in_schema=False)
async def follow_link(request: Request, token: str = Query(max_length=200)) -> Response:
    """Exchange the link that `serve` printed for a cookie; it works once."""
    server: ServerContext = request.app.state.server
    try:
        secret = await api_keys.redeem_admin_link(server.database, token)
    except UnauthenticatedError:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        return RedirectResponse(LINK_USED, 303, {"Cache-Control": "no-store"})
    return _known_by(RedirectResponse("/", 303, {"Cache-Control": "no-store"}), request, secret)


def _known_by(response: Response, request: Request, secret: str) -> Response:
    response.set_cookie(
        auth.COOKIE,
        secret,
        max_age=COOKIE_S,
        httponly=True,
        samesite="strict",
        secure=_is_encrypted(request),
    )
    return response


def _is_encrypted(request: Request) -> bool:
    """Tell whether browsers come by TLS: it ends at a proxy, so the request itself can't tell."""
    public_url = request.app.state.server.settings.public_url or ""
    return request.url.scheme == "https" or public_url.lower().startswith("https://")
