"""Answers a crowd that asks for the same status from one reading, so that reads never delay work.

Below `BUSY` such questions a second each gets a reading of its own. Above it those that are alike,
down to the caller's key and the tag that it has, share an answer that is at most `FRESH_S` old;
those that come while it is being read wait for it. A change that this process makes ends what it
shares.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUSY: Final = 50
FRESH_S: Final = 0.25
MOST_ANSWERS: Final = 1_000
"""How many different answers are kept at once; all of them go when there would be more."""
MOST_BYTES: Final = 8 << 20
"""How much all the answers that are kept may hold; so much together, they all go."""
SHARED: Final = frozenset({200, 304})
_STATUS: Final = re.compile(r"/v1/(batches|items)/[0-9a-z_]+")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a handler sent, and the route that it belongs to."""

    messages: tuple[Message, ...]
    route: Any
    read_s: float

    @property
    def is_shared(self) -> bool:
        return self.messages[0].get("status") in SHARED

    @property
    def size_bytes(self) -> int:
        return sum(len(message.get("body", b"")) for message in self.messages)


class Snapshots:
    """Stands before the handlers, behind everything that refuses or measures."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._answers: dict[object, asyncio.Future[_Answer]] = {}
        self._bytes = 0
        self._second = 0
        self._asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request from a snapshot, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] not in _SAFE:
            await self._change(scope, receive, send)
        elif scope["method"] == "GET" and _STATUS.fullmatch(scope["path"]) and self._is_busy():
            await self._share(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            self._forget()

    def _forget(self) -> None:
        self._answers.clear()
        self._bytes = 0

    def _is_busy(self) -> bool:
        """Count a question; say whether there are many in this second."""
        second = int(self._clock())
        if second != self._second:
            # The first questions of a second are as many as there were in the one before.
            was_busy = self._asked > BUSY and second == self._second + 1
            self._second, self._asked = second, BUSY if was_busy else 0
            if not was_busy:
                self._forget()
        self._asked += 1
        return self._asked > BUSY

    async def _share(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        known = self._answers.get(key)
        answer = None if known is None else await self._shared(known)
        if answer is None:
            await self._read(key, scope, receive, send)
            return
        scope["route"] = answer.route
        for message in answer.messages:
            await send(message)

    async def _read(self, key: object, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the handler answer, and those who ask the same meanwhile wait for it."""
        if len(self._answers) >= MOST_ANSWERS or self._bytes >= MOST_BYTES:
            self._forget()
        reading: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._answers[key] = reading
        messages: list[Message] = []

        async def sending(message: Message) -> None:
            messages.append(dict(message))
            await send(message)

        began_s = self._clock()
        try:
            await self._app(scope, receive, sending)
        except BaseException:
            reading.cancel()
            raise
        answer = _Answer(tuple(messages), scope.get("route"), began_s)
        reading.set_result(answer)
        self._bytes += answer.size_bytes

    async def _shared(self, known: asyncio.Future[_Answer]) -> _Answer | None:
        """Return an answer that is young enough, or is just being read; None: it can't be used."""
        if known.done() and (known.cancelled() or self._is_old(known.result())):
            return None
        await asyncio.wait({known})
        return None if known.cancelled() or not known.result().is_shared else known.result()

    def _is_old(self, answer: _Answer) -> bool:
        return self._clock() - answer.read_s >= FRESH_S


def _key(scope: Scope) -> object:
    """Return all that an answer can depend on; of the caller's address whether it is here."""
    return (
        scope["path"],
        scope["query_string"],
        scope["http_version"],
        _is_here(scope["client"]),
        tuple(scope["headers"]),
    )


def _is_here(client: tuple[str, int] | None) -> bool | None:
    try:
        return client and ip_address(client[0]).is_loopback
    except ValueError:
        return None
