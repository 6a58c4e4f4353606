"""Answers a crowd that asks for the same status from one reading, so that reads never delay work.

Below `BUSY` such questions a second each gets a reading of its own. Above it those that are alike,
down to the caller's key and the tag that it has, share an answer that is at most `FRESH_S` old;
those that come while it is being read wait for it. A change that this process makes ends what it
shares.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUSY: Final = 50
FRESH_S: Final = 0.25
MOST: Final = 1_000
"""Different answers that are kept at once."""
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


class Snapshots:
    """Stands before the handlers, behind everything that refuses or measures."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answers: dict[object, asyncio.Future[_Answer]] = {}
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
            self._answers.clear()

    def _is_busy(self) -> bool:
        """Count a question; say whether there are many in this second."""
        second = int(time.monotonic())
        if second != self._second:
            # The first questions of a second are as many as there were in the one before.
            was_busy = self._asked > BUSY and second == self._second + 1
            self._second, self._asked = second, BUSY if was_busy else 0
        self._asked += 1
        return self._asked > BUSY

    async def _share(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        known = self._answers.get(key)
        answer = None if known is None else await _shared(known)
        if answer is None:
            await self._read(key, scope, receive, send)
            return
        scope["route"] = answer.route
        for message in answer.messages:
            await send(message)

    async def _read(self, key: object, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the handler answer, and those who ask the same meanwhile wait for it."""
        if len(self._answers) >= MOST:
            self._answers.clear()
        reading: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._answers[key] = reading
        messages: list[Message] = []

        async def sending(message: Message) -> None:
            messages.append(dict(message))
            await send(message)

        began_s = time.monotonic()
        try:
            await self._app(scope, receive, sending)
        except BaseException:
            reading.cancel()
            raise
        reading.set_result(_Answer(tuple(messages), scope.get("route"), began_s))


async def _shared(known: "asyncio.Future[_Answer]") -> _Answer | None:
    """Return an answer that is young enough, or is just being read; None: it can't be used."""
    if known.done() and (known.cancelled() or _age_s(known.result()) >= FRESH_S):
        return None
    await asyncio.wait({known})
    return None if known.cancelled() or not known.result().is_shared else known.result()


def _age_s(answer: _Answer) -> float:
    return time.monotonic() - answer.read_s


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
