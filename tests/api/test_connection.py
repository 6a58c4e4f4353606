"""Connections that bring requests slowly or never, at a server with little patience."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import chain, repeat

import pytest

from batchmill.api.server import answer, listening

PATIENCE_S = 0.1
REQUEST = b"GET / HTTP/1.1\r\nHost: mill\r\n\r\n"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def slow(scope, receive, send) -> None:
    """An application whose answers take longer than headers may."""
    if scope["type"] == "http":
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await asyncio.sleep(2 * PATIENCE_S)
        await send({"type": "http.response.body", "body": b"done"})


def talked(talk: Talk) -> bytes:
    """Return all that the server answers until it hangs up."""

    async def main() -> bytes:
        stopping, ready = asyncio.Event(), asyncio.Event()
        with listening("127.0.0.1", 0) as sock:
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                told = {"stopping": stopping, "on_ready": lambda _: ready.set()}
                group.create_task(answer(slow, sock, **told, silence_s=PATIENCE_S))
                await ready.wait()
                reader, writer = await asyncio.open_connection(*sock.getsockname())
                try:
                    return await talk(reader, writer)
                finally:
                    writer.close()
                    stopping.set()

    return asyncio.run(main())


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the end, be it a rude one."""
    found = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(1_000):
            found += piece
    return bytes(found)


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ([], 0),
        (chain([b"GET / HTTP/1.1\r\nX: "], repeat(b"a")), 0),
        (repeat(b"\r\n"), 0),
        (chain([REQUEST], repeat(b"\r\n")), 1),
        (chain([REQUEST + b"GET / HTTP/1.1\r\nX: "], repeat(b"a")), 1),
    ],
    ids=["silence", "endless header", "empty lines", "empty lines later", "second request"],
)
def test_who_completes_no_request_is_hung_up_on(pieces: Iterable[bytes], answers: int) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        answered = asyncio.ensure_future(heard(reader))
        for piece in pieces:
            if answered.done() or writer.is_closing():
                break
            writer.write(piece)
            await asyncio.sleep(PATIENCE_S / 10)
        return await answered

    assert talked(drip).count(b"done") == answers


def test_answers_may_take_longer_than_questions() -> None:
    async def ask_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(REQUEST + REQUEST)
        return await heard(reader)

    assert talked(ask_twice).count(b"done") == 2
