"""Stands before every request: whose name it came under, which page sent it, what may leave."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from batchmill.api.http.problems import problem
from batchmill.errors.request import ForbiddenError
from batchmill.settings.fields import Settings

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Asked by orchestrators under whatever address a machine has; they tell nothing to hide."""
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Added where a handler has not set its own."""


class Guard:
    """Refuses foreign hosts and foreign pages; puts security headers on every answer.

    A browser that visits a bad page can be made to call servers of its own machine: the page's
    name then stands in `Origin`, and after DNS rebinding also in `Host`.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        public = urlsplit(settings.public_url or "")
        self._hosts = LOOPBACK | ({public.hostname} if public.hostname else set())
        self._any_host = settings.anonymous != "loopback" and not public.hostname
        origins = {f"{public.scheme}://{public.netloc}"} if public.hostname else set()
        self._origins = origins | set(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        probed = scope["path"] in PROBES and scope["method"] in SAFE
        refused = None if probed else self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if refused is None else problem(refused, scope["path"])
        await app(scope, receive, with_headers(send, HEADERS))

    def _refusal(self, method: str, headers: Headers) -> ForbiddenError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin in self._origins:  # its question in advance carries no key
            return None
        if not (self._any_host or _name(host) in self._hosts or _has_key(headers)):
            return ForbiddenError(
                "This server does not answer under that host name; BATCHMILL_PUBLIC_URL adds one."
            )
        if method in SAFE or origin is None:
            return None
        if urlsplit(origin).netloc == host and host:
            return None
        return ForbiddenError("A page of another site may not change anything here.")


def _has_key(headers: Headers) -> bool:
    """Tell whether a request is judged by its key alone: no browser sends one by itself."""
    return (
        bool(headers.get("x-api-key")) or headers.get("authorization", "")[:7].lower() == "bearer "
    )


def _name(host: str) -> str:
    """Return a Host header without its port, lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def with_headers(
    send: Send, more: Mapping[str, str]
) -> Callable[[MutableMapping[str, Any]], Awaitable[None]]:
    """Return a `send` that adds headers to an answer where it has not set its own."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in more.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
