"""How often callers may submit in the dialects whose documents limit it."""

from collections.abc import Mapping

from fastapi import Request

from batchmill.api.context import RequestContext
from batchmill.api.http import rate_limits
from batchmill.service.api_keys import Allowance

FREE = frozenset({"anonymous", "free"})
HOUR_S = 3_600.0


async def count_anonymous(request: Request, ctx: RequestContext) -> Mapping[str, str]:
    """Count a submission of a caller without a key, by address; return the RateLimit headers.

    Raises:
        RateLimitedError: the window of the address is used up.
    """
    if ctx.caller.key is not None:
        return {}
    settings = ctx.server.settings.images
    name = f"submissions {rate_limits.address(request)}"
    window_s = settings.rate_window_ms / 1000
    return await rate_limits.counted(ctx, Allowance(name, settings.rate_requests, window_s))


async def count_upload(request: Request, ctx: RequestContext) -> Mapping[str, str]:
    """Count an upload of documents by an anonymous or free caller; return the RateLimit headers.

    Raises:
        RateLimitedError: the caller's hour is used up.
    """
    caller = ctx.caller
    if caller.tier not in FREE:
        return {}
    who = rate_limits.address(request) if caller.key is None else caller.owner_id
    limit = ctx.server.settings.documents.uploads_per_hour
    return await rate_limits.counted(ctx, Allowance(f"uploads {who}", limit, HOUR_S))
