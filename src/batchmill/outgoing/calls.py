"""Calls to addresses that users name: webhooks and inputs by URL. Nothing else may make any.

A name is resolved once, all its addresses are checked, and one of these is connected to: a name
server that answers differently the next time is never asked again. Redirects, proxies of the
environment and cookies are not followed, used or kept.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import httpx

from batchmill.errors.outage import CallFailedError
from batchmill.errors.request import AddressRefusedError
from batchmill.outgoing.addresses import may_be_called

CONNECT_S: Final = 5.0
ADDRESSES_TRIED: Final = 4
LONGEST_URL: Final = 2_000
PIECE_BYTES: Final = 2**18
_NO_RETRY: Final = (httpx.ConnectError, httpx.ConnectTimeout)
_HEADERS: Final = {"User-Agent": "batchmill", "Accept": "*/*", "Accept-Encoding": "identity"}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name; raises OSError when it has none."""


@dataclass(frozen=True, slots=True)
class CallRules:
    """What may be called beside https:// on the public internet."""

    http: bool = False
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class OutgoingResponse:
    """What a server answers: its status, and pieces of its body that may be read once."""

    status: int
    pieces: AsyncIterator[bytes]


class Outgoing:
    """Makes calls within the rules."""

    def __init__(self, rules: CallRules = CallRules(), *, resolve: Resolve | None = None) -> None:
        self._rules = rules
        self._resolve = resolve or self._ask_system
        # Threads of its own: a name server that hangs must not hold up those that write files.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="resolve")

    def check(self, url: str) -> httpx.URL:
        """Read an address and check what can be checked without asking a name server.

        Raises:
            AddressRefusedError: it is not an https:// address (or http://, where allowed).
        """
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise AddressRefusedError("it is no address") from error
        schemes = ("https", "http") if self._rules.http else ("https",)
        if parsed.scheme not in schemes or not parsed.host:
            wanted = " or ".join(f"{scheme}://" for scheme in schemes)
            raise AddressRefusedError(f"it must start with {wanted}")
        if parsed.userinfo:
            raise AddressRefusedError("it holds a user name")
        if len(url) > LONGEST_URL:
            raise AddressRefusedError(f"it is longer than {LONGEST_URL:,} characters")
        return parsed

    @asynccontextmanager
    async def call(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AsyncIterator[OutgoingResponse]:
        """Call an address and yield its answer; what is not read of it is left.

        `timeout_s` counts for everything, the block included.

        Raises:
            AddressRefusedError: the rules forbid the address, or one that its name stands for.
            CallFailedError: there was no answer in time, or not one with a status of 2xx.
        """
        parsed = self.check(url)
        try:
            async with (
                asyncio.timeout(timeout_s),
                httpx.AsyncClient(
                    verify=self._tls,
                    trust_env=False,
                    timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
                ) as client,
            ):
                request = client.build_request(
                    method, parsed, headers={**_HEADERS, **(headers or {})}, content=body
                )
                answer = await self._first_answer(client, request)
                try:
                    _refuse(answer)
                    yield OutgoingResponse(answer.status_code, answer.aiter_raw(PIECE_BYTES))
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise CallFailedError(_reason(error), detail=repr(error)) from error
        except TimeoutError as error:
            raise CallFailedError(f"no whole answer within {timeout_s:g} s") from error

    async def _first_answer(
        self, client: httpx.AsyncClient, request: httpx.Request
    ) -> httpx.Response:
        """Send a request to the first of the host's addresses that takes the connection."""
        addresses = await self._addresses(request.url)
        for address in addresses[:-1]:
            try:
                return await client.send(_pinned(request, address), stream=True)
            except _NO_RETRY:
                continue
        return await client.send(_pinned(request, addresses[-1]), stream=True)

    async def _addresses(self, url: httpx.URL) -> Sequence[str]:
        host = url.raw_host.decode("ascii")
        try:
            found = await self._resolve(host, url.port or 443)
        except (OSError, UnicodeError) as error:
            raise CallFailedError("its host name is not known", detail=repr(error)) from error
        if not found or not all(self._allowed(address) for address in found):
            raise AddressRefusedError("it does not lead to the public internet")
        return found[:ADDRESSES_TRIED]

    def _allowed(self, address: str) -> bool:
        return may_be_called(address, loopback=self._rules.loopback)

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


def _pinned(request: httpx.Request, address: str) -> httpx.Request:
    """Return the request as it goes to one address; Host, SNI and certificate stay the name's."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        content=request.content,
        extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode("ascii")},
    )


def _refuse(answer: httpx.Response) -> None:
    """Refuse an answer that is not what was asked for.

    Raises:
        CallFailedError: it is a redirect or an error, or packed.
    """
    if answer.is_redirect:
        raise CallFailedError("it redirects, which is not followed", answered=answer.status_code)
    if not answer.is_success:
        raise CallFailedError(f"it answers {answer.status_code}", answered=answer.status_code)
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise CallFailedError("its answer is packed", answered=answer.status_code)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "it takes no connection"
    return "the connection broke off"
