"""How often callers may submit: counts submissions and says in headers how many are left."""

import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import Request

from batchmill.api.context import RequestContext
from batchmill.errors.base import BatchmillError
from batchmill.service import api_keys
from batchmill.service.api_keys import Allowance

MINUTE_S = 60.0
_NEIGHBOURS = 64
"""Bits of an IPv6 address that name one customer; the rest is theirs to change at will."""


async def count_submission(request: Request, ctx: RequestContext) -> Mapping[str, str]:
    """Count a submission to /v1, by key owner or address; return the RateLimit headers.

    Raises:
        RateLimitedError: the caller's minute is used up.
    """
    caller = ctx.caller
    who = address(request) if caller.key is None else caller.owner_id
    limit = ctx.limits.submissions_per_minute
    setting = f"BATCHMILL_TIERS_{caller.tier.upper()}_SUBMISSIONS_PER_MINUTE"
    return await counted(ctx, Allowance(f"v1 {who}", limit, MINUTE_S, f"{setting} raises this."))


@asynccontextmanager
async def counted_if_taken(
    ctx: RequestContext, allowance: Allowance
) -> AsyncIterator[Mapping[str, str]]:
    """Count a submission for the length of the block; one that is refused in it uses up nothing.

    Raises:
        RateLimitedError: the allowance is used up.
    """
    usage = await counted(ctx, allowance)
    try:
        yield usage
    except BatchmillError:
        await api_keys.uncount_submission(ctx.server.database, allowance)
        raise


async def counted(ctx: RequestContext, allowance: Allowance) -> Mapping[str, str]:
    """Count a submission against an allowance; return the RateLimit headers.

    Raises:
        RateLimitedError: the allowance is used up.
    """
    usage = await api_keys.count_submission(ctx.server.database, allowance)
    return {
        "RateLimit-Limit": str(usage.limit),
        "RateLimit-Remaining": str(usage.remaining),
        "RateLimit-Reset": str(usage.reset_s),
    }


def address(request: Request) -> str:
    """Return the caller's address; the server has replaced that of a trusted proxy already."""
    host = request.client.host if request.client else ""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if found.version == 4:  # noqa: PLR2004 - IPv4
        return host
    return str(ipaddress.ip_network((host, _NEIGHBOURS), strict=False))
