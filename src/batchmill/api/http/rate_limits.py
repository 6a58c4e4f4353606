"""How often callers may submit: counts submissions and puts the standing into headers."""

import ipaddress
from collections.abc import Mapping

from fastapi import Request

from batchmill.api.context import RequestContext
from batchmill.service import api_keys
from batchmill.service.api_keys import Allowance

FREE = frozenset({"anonymous", "free"})
MINUTE_S = 60.0
HOUR_S = 3_600.0
_NEIGHBOURS = 64
"""Bits of an IPv6 address that name one customer; the rest is theirs to change at will."""


async def count_anonymous(request: Request, ctx: RequestContext) -> Mapping[str, str]:
    """Count a submission of a caller without a key, by address; return the RateLimit headers.

    Raises:
        RateLimitedError: the window of the address is used up.
    """
    if ctx.caller.key is not None:
        return {}
    settings = ctx.server.settings.images
    name = f"submissions {_address(request)}"
    window_s = settings.rate_window_ms / 1000
    return await _counted(ctx, Allowance(name, settings.rate_requests, window_s))


async def count_submission(request: Request, ctx: RequestContext) -> Mapping[str, str]:
    """Count a submission to /v1, by key owner or address; return the RateLimit headers.

    Raises:
        RateLimitedError: the caller's minute is used up.
    """
    caller = ctx.caller
    who = _address(request) if caller.key is None else caller.owner_id
    limit = ctx.limits.submissions_per_minute
    return await _counted(ctx, Allowance(f"v1 {who}", limit, MINUTE_S))


async def count_upload(request: Request, ctx: RequestContext) -> Mapping[str, str]:
    """Count an upload of documents by an anonymous or free caller; return the RateLimit headers.

    Raises:
        RateLimitedError: the caller's hour is used up.
    """
    caller = ctx.caller
    if caller.tier not in FREE:
        return {}
    who = _address(request) if caller.key is None else caller.owner_id
    limit = ctx.server.settings.documents.uploads_per_hour
    return await _counted(ctx, Allowance(f"uploads {who}", limit, HOUR_S))


async def _counted(ctx: RequestContext, allowance: Allowance) -> Mapping[str, str]:
    usage = await api_keys.count_submission(ctx.server.database, allowance)
    return {
        "RateLimit-Limit": str(usage.limit),
        "RateLimit-Remaining": str(usage.remaining),
        "RateLimit-Reset": str(usage.reset_s),
    }


def _address(request: Request) -> str:
    """Return the caller's address; the server has replaced that of a trusted proxy already."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return host
    return str(ipaddress.ip_network((host, _NEIGHBOURS), strict=False))
