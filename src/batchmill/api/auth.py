"""Who asks: the one place that turns a request into a caller."""

import ipaddress
from typing import Final

from fastapi import Request

from batchmill.errors.request import UnauthenticatedError
from batchmill.service.mill import Mill
from batchmill.service.submit import Caller

FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""What proxies add: behind one, the nearest address says nothing about the caller."""


async def caller(request: Request) -> Caller:
    """Name the caller. Owner and tier never come from anything else in the request.

    Raises:
        UnauthenticatedError: callers without a key are not served from there.
    """
    mill: Mill = request.app.state.mill
    allowed = mill.settings.anonymous
    if allowed == "on" or (allowed == "loopback" and is_loopback(request)):
        return Caller()
    raise UnauthenticatedError("This server wants an API key from callers like you.")


def is_loopback(request: Request) -> bool:
    """Say whether the request comes from this machine itself, and not through a proxy on it."""
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
