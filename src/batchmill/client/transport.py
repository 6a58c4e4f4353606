"""Carries requests to a server: streams files, waits out outages, turns problems into errors."""

import asyncio
import io
import ipaddress
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import httpx

from batchmill.client.endpoints import FileUpload, Request
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import InputMissingError, UnreadableFileError
from batchmill.errors.outage import OutageError, ServerUnreachableError
from batchmill.errors.request import QueueFullError, RateLimitedError, RequestError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
CONNECT_S = 5.0
FIND_S = 5.0

LATER = (OutageError, RateLimitedError, QueueFullError)
"""Answers after which the same request may work, once `Retry-After` is over."""

OnBytes = Callable[[int], None]
"""Is told how many more bytes went over the line; negative when they have to go again."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how patient to be with it.

    A server that has answered once may be away for `patience_s`: requests wait for it. One
    that never answered is an error at once.
    """

    url: str
    api_key: str | None = None
    timeout_s: float = 30.0
    patience_s: float = 180.0


class Transport:
    """One connection pool to one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.reached = False  # whether it has ever answered
        headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
        self._http = httpx.AsyncClient(
            base_url=server.url,
            headers={"Accept": "application/json", **headers},
            timeout=httpx.Timeout(server.timeout_s, connect=CONNECT_S),
            trust_env=not _is_loopback(server.url),
        )

    async def send(self, request: Request, *, on_bytes: OnBytes | None = None) -> httpx.Response:
        """Send a request and read the answer; while the server is away, again and again.

        Raises:
            BatchmillError: what the server answered, or ServerUnreachableError.
            InputMissingError, UnreadableFileError: a file to be sent can't be read.
        """
        patience = Patience(self.server.patience_s)
        while True:
            count = _Count(on_bytes)
            try:
                async with self.stream(request, on_bytes=count.add) as response:
                    await response.aread()
                    return response
            except LATER as error:
                if not self.reached:
                    raise
                count.take_back()
                await patience.wait(error)

    @asynccontextmanager
    async def stream(
        self,
        request: Request,
        *,
        on_bytes: OnBytes | None = None,
        accept_errors: bool = False,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request once; the answer's body is to be read inside the block.

        Raises: as `send`; with `accept_errors` not what the server answers.
        """
        with ExitStack() as opened:
            parts = _parts(request, opened, on_bytes)
            built = self._http.build_request(
                request.method,
                request.path,
                params=request.query or None,
                headers=request.headers,
                json=request.body,
                data=request.fields or None,
                files=parts or None,
            )
            try:
                response = await self._http.send(built, stream=True)
                try:
                    self.reached = True
                    if response.is_error and not accept_errors:
                        await response.aread()
                        raise problem(response)
                    yield response
                finally:
                    await response.aclose()
            except httpx.TransportError as error:
                raise ServerUnreachableError(self.server.url) from error

    async def find(self) -> None:
        """Look whether there is a server, without waiting long for one that says nothing.

        Raises:
            ServerUnreachableError: there is none, or it can't take work now.
        """
        try:
            async with (
                asyncio.timeout(min(FIND_S, self.server.timeout_s)),
                self.stream(Request("GET", "/healthz")),
            ):
                return
        except (TimeoutError, BatchmillError) as error:
            raise ServerUnreachableError(self.server.url) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


class _Count:
    """Bytes of one try, which do not count when it fails."""

    def __init__(self, on_bytes: OnBytes | None) -> None:
        self._on_bytes = on_bytes
        self._bytes = 0

    def add(self, number: int) -> None:
        self._bytes += number
        if self._on_bytes is not None:
            self._on_bytes(number)

    def take_back(self) -> None:
        self.add(-self._bytes)


class Patience:
    """Waits longer and longer, `most_s` in all since it was made or last refreshed."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self.refresh()

    def refresh(self) -> None:
        """Begin anew: something was reached."""
        self._until = time.monotonic() + self._most_s
        self._next_s = FIRST_WAIT_S

    async def wait(self, error: BatchmillError) -> None:
        """Wait a while, or raise `error` when that would be too long."""
        wait_s = max(self._next_s, getattr(error, "retry_after_s", None) or 0)
        if time.monotonic() + wait_s > self._until:
            raise error
        self._next_s = min(LONGEST_WAIT_S, self._next_s * 2)
        await asyncio.sleep(wait_s)


def problem(response: httpx.Response) -> BatchmillError:
    """Return the error that an answer describes: the class of its code, the server's sentence."""
    try:
        body = response.json()
        code, sentence = str(body["code"]), str(body["detail"])
    except (ValueError, KeyError, TypeError):
        code, sentence = "", f"The server answered {response.status_code}."
    kind = _class_of(code, response.status_code)
    found = kind.__new__(kind)
    BatchmillError.__init__(found, sentence)
    after = response.headers.get("retry-after", "")
    if isinstance(found, LATER):
        vars(found)["retry_after_s"] = int(after) if after.isdecimal() else 0
    return found


def _class_of(code: str, status: int) -> type[BatchmillError]:
    for kind in _tree(BatchmillError):
        if kind.code == code:
            return kind
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimitedError
    return OutageError if status >= httpx.codes.INTERNAL_SERVER_ERROR else RequestError


def _tree(kind: type[BatchmillError]) -> Iterator[type[BatchmillError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


class _Counted(io.RawIOBase):
    """A file whose reading is told to somebody; what httpx needs of a file, and no more."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        super().__init__()
        self._file = file
        self._on_bytes = on_bytes

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._on_bytes(len(piece))
        return piece


_Part = tuple[str, tuple[str, BinaryIO, str]]


def _parts(request: Request, opened: ExitStack, on_bytes: OnBytes | None) -> list[_Part]:
    return [
        ("files", (each.name, _open(each, opened, on_bytes), "application/octet-stream"))
        for each in request.files
    ]


def _open(upload: FileUpload, opened: ExitStack, on_bytes: OnBytes | None) -> BinaryIO:
    try:
        file = opened.enter_context(upload.path.open("rb"))
    except FileNotFoundError as error:
        raise InputMissingError(upload.name) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it can't be opened"
        raise UnreadableFileError(upload.name, reason) from error
    return cast("BinaryIO", _Counted(file, on_bytes)) if on_bytes else file


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
