"""How often callers may submit in the dialects whose documents limit it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

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
    advice = "An API key lifts this limit, and BATCHMILL_IMAGES_RATE_REQUESTS raises it."
    return await rate_limits.counted(ctx, Allowance(name, settings.rate_requests, window_s, advice))


@asynccontextmanager
async def counted_upload(request: Request, ctx: RequestContext) -> AsyncIterator[Mapping[str, str]]:
    """Count an upload of documents by an anonymous or free caller; yield the RateLimit headers.

    One that is refused within the block uses up nothing.

    Raises:
        RateLimitedError: the caller's hour is used up.
    """
    caller = ctx.caller
    if caller.tier not in FREE:
        yield {}
        return
    who = rate_limits.address(request) if caller.key is None else caller.owner_id
    limit = ctx.server.settings.documents.uploads_per_hour
    advice = (
        "A key of the tier premium lifts this limit, and BATCHMILL_DOCUMENTS_UPLOADS_PER_HOUR"
        " raises it."
    )
    allowance = Allowance(f"uploads {who}", limit, HOUR_S, advice)
    async with rate_limits.counted_if_taken(ctx, allowance) as usage:
        yield usage
