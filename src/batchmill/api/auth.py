"""Who asks: the one place that turns a request into a caller."""

import ipaddress
from urllib.parse import urlsplit

from fastapi import Request

from batchmill.errors.request import ForbiddenError, UnauthenticatedError
from batchmill.model.access import Scope
from batchmill.model.batch import LOCAL_OWNER, OwnerId
from batchmill.service import api_keys
from batchmill.service.context import ServerContext
from batchmill.service.submission.submit import Caller
from batchmill.settings.fields import Settings

COOKIE = "batchmill_key"
READING = frozenset({"GET", "HEAD", "OPTIONS"})
FORWARDED = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("cf-connecting-ip", "true-client-ip"),
)
"""What proxies add: behind one, the nearest address says nothing about the caller."""
ANONYMOUS = OwnerId("anonymous")
"""The one owner of all that callers without a key send from other machines."""


async def caller(request: Request) -> Caller:
    """Name the caller. Owner and tier never come from anything but the key.

    Raises:
        UnauthenticatedError: the key is not valid, or callers without one are not served.
        ForbiddenError: the key does not permit this.
    """
    server: ServerContext = request.app.state.server
    secret = _secret(request)
    if secret is not None:
        return await _of_key(server, secret, request.method)
    allowed = server.settings.anonymous
    if allowed != "off" and is_at_the_machine(request, server.settings):
        return Caller()
    if allowed == "on":
        return Caller(owner_id=ANONYMOUS, may_list=False)
    raise UnauthenticatedError("This server wants an API key from callers like you.")


def is_at_the_machine(request: Request, settings: Settings) -> bool:
    """Say whether the request comes from this machine itself, and not through a proxy on it.

    A proxy may add no header at all. So nobody counts as being here once the settings say that
    there is one, and no request in HTTP/1.0, which little else than nginx still speaks.
    """
    if settings.trusted_proxies or not _is_here(urlsplit(settings.public_url or "").hostname):
        return False
    if request.scope["http_version"] == "1.0" or any(name in request.headers for name in FORWARDED):
        return False
    return request.client is not None and _is_here(request.client.host)


def _is_here(host: str | None) -> bool:
    """Say whether a name or address is this machine's own; no name at all is."""
    try:
        return host in {None, "localhost"} or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def refuse_lists(caller: Caller) -> None:
    """Refuse a list to callers who share an owner with strangers.

    Raises:
        UnauthenticatedError: the caller has no key.
    """
    if not caller.may_list:
        raise UnauthenticatedError("Lists are for callers with an API key.")


def is_admin(caller: Caller) -> bool:
    """Say whether the caller has an admin's key, or sits at the machine itself without any."""
    if caller.key is None:
        return caller.owner_id == LOCAL_OWNER
    return caller.key.permits(Scope.ADMIN)


def refuse_unless_admin(caller: Caller) -> None:
    """Refuse what concerns the whole server.

    Raises:
        ForbiddenError: the caller is no administrator.
    """
    if not is_admin(caller):
        raise ForbiddenError("This is for administrators: it needs a key with the scope `admin`.")


async def _of_key(server: ServerContext, secret: str, method: str) -> Caller:
    key = await api_keys.authenticate(server.database, secret)
    if key is None:
        raise UnauthenticatedError("This API key is not valid; it may have been revoked.")
    needed = Scope.READ if method in READING else Scope.WRITE
    if not key.permits(needed):
        raise ForbiddenError(f"This API key does not have the scope `{needed}`.")
    return Caller(key.owner_id, key.tier, key)


def _secret(request: Request) -> str | None:
    """Return the key of `Authorization: Bearer`, `X-API-Key` or the page's cookie."""
    kind, _, credentials = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return credentials.strip()
    return request.headers.get("x-api-key") or request.cookies.get(COOKIE)
