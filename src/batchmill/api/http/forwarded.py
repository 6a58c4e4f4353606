"""Finds out who really calls, and how: what trusted proxies have written down."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from batchmill import logs

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^;,\s]*))', re.IGNORECASE)
_PORT: Final = re.compile(r"^(?:\[([^\]]+)\](?::\d+)?|([^:]+):\d+)$")


class Proxies:
    """Puts the caller's address in the place of a trusted proxy's, and into every log line.

    Proxies append who called them, so the list is read from its end: the first address that is
    no trusted proxy is the caller's. What stands before it the caller may have made up.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under its caller's address."""
        if scope["type"] != "http" or scope["client"] is None:
            await self._app(scope, receive, send)
            return
        nearest, port = scope["client"]
        headers = Headers(scope=scope)
        caller = self._caller(nearest, headers)
        if caller != nearest and headers.get("x-forwarded-proto") == "https":
            scope["scheme"] = "https"
        scope["client"] = (caller, port if caller == nearest else 0)
        with logs.bound(client=caller):
            await self._app(scope, receive, send)

    def _caller(self, nearest: str, headers: Headers) -> str:
        """Return the caller's address.

        Many proxies write one of the two headers and hand on the other as it came. So where both
        are there and disagree, neither is believed and the proxy itself is the caller.
        """
        address = _address(nearest)
        if address is None or not self._trusts(address):
            return nearest
        lists = (_x_forwarded_for(headers), _forwarded(headers))
        found = {self._last_untrusted(address, hops) for hops in lists if hops}
        return str(found.pop()) if len(found) == 1 else nearest

    def _last_untrusted(self, nearest: Address, hops: Sequence[str]) -> Address:
        """Return the last address that is no trusted proxy; what is none ends the search."""
        known = nearest
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            known = address
            if not self._trusts(address):
                break
        return known

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _x_forwarded_for(headers: Headers) -> list[str]:
    return _parts(headers, "x-forwarded-for")


def _forwarded(headers: Headers) -> list[str]:
    """Return the `for` of every element (RFC 7239, 4); one without it names nobody."""
    found = map(_FOR.search, _parts(headers, "forwarded"))
    return [(each[1] or each[2] or "") if each else "" for each in found]


def _parts(headers: Headers, name: str) -> list[str]:
    return [part.strip() for line in headers.getlist(name) for part in line.split(",")]


def _address(text: str) -> Address | None:
    """Read an address with or without a port; IPv4 that is written as IPv6 becomes IPv4 again."""
    with_port = _PORT.match(text)
    try:
        address = ip_address((with_port[1] or with_port[2]) if with_port else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
