"""Connections that bring requests slowly or never, at a server with little patience."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from batchmill.api.server import answer, listening

PATIENCE_S = 0.1
REQUEST = b"GET / HTTP/1.1\r\nHost: mill\r\n\r\n"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """An application whose answers take longer than headers may."""
    if scope["type"] == "http":
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await asyncio.sleep(2 * PATIENCE_S)
        await send({"type": "http.response.body", "body": b"done"})


def talked(talk: Talk, *, app: ASGIApp = slow, silence_s: float = PATIENCE_S) -> bytes:
    """Return all that the server answers until it hangs up."""

    async def main() -> bytes:
        stopping, ready = asyncio.Event(), asyncio.Event()
        with listening("127.0.0.1", 0) as sock:
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                told: dict[str, Any] = {"stopping": stopping, "on_ready": lambda _: ready.set()}
                told["silence_s"] = silence_s  # of type int: only tests want parts of a second
                group.create_task(answer(app, sock, **told))
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


HEAD = b"GET / HTTP/1.1\r\nHost: mill\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: mill\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "a header without end": (HEAD + b"X: ", b"a"),
    "the name of a header": (HEAD, b"a"),
    "long headers": (HEAD, b"X: " + b"a" * 4_000 + b"\r\n"),
    "short headers": (HEAD, b"a:\r\n"),
    "a folded header": (HEAD + b"X: a\r\n", b" a\r\n"),
    "spaces before a value": (HEAD + b"X:", b" "),
    "the method": (b"", b"GET"),
    "the path": (b"GET /", b"a"),
    "the query": (b"GET /?a=", b"a"),
    "cookies": (HEAD + b"Cookie: ", b"a=b; "),
    "empty lines": (b"", b"\r\n"),
    "a second request": (REQUEST + HEAD + b"X: ", b"a"),
    "an upgrade": (HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\nX: ", b"a"),
    "an extension of a chunk": (CHUNKED + b"1;", b"a"),
    "the length of a chunk": (CHUNKED, b"0"),
    "long trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: " + b"a" * 4_000 + b"\r\n"),
    "short trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"a:\r\n"),
}
MOST_BYTES = 64 * 1024


async def patient(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads its request to the end, and answers then."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"done"})


@pytest.mark.parametrize(("begin", "more"), FLOODS.values(), ids=FLOODS)
def test_what_is_no_body_and_does_not_end_is_cut_off(begin: bytes, more: bytes) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Send a little at a time, and no more once the server has hung up."""
        nonlocal sent
        answered = asyncio.ensure_future(heard(reader))
        piece = more * max(1, 512 // len(more))
        for part in chain([begin], repeat(piece, 4 * MOST_BYTES // len(piece))):
            if answered.done() or writer.is_closing():
                break
            sent += len(part)
            writer.write(part)
            for _ in range(4):  # both ends live in this loop: it has its turns
                await asyncio.sleep(0)
        return await answered

    talked(flood, app=slow, silence_s=60)
    assert sent <= MOST_BYTES + 20 * 1024


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 101,
        b"GET /" + b"a" * MOST_BYTES + b" HTTP/1.1\r\n",
        HEAD + b"X: " + b"a" * MOST_BYTES + b"\r\n",
    ],
    ids=["lines", "path", "bytes"],
)
def test_a_request_with_too_large_a_head_is_told_so_and_reaches_nothing(head: bytes) -> None:
    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head + b"\r\n" + REQUEST)
        return await heard(reader)

    told = talked(ask, app=patient, silence_s=60)
    assert told.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in told
    assert b"done" not in told


@pytest.mark.parametrize("piece_bytes", [1, 700, 1_460, 1_000_000])
def test_large_heads_within_the_limits_pass_however_they_arrive(piece_bytes: int) -> None:
    lines = b"".join(b"x-%02d: %b\r\n" % (n, b"a" * 590) for n in range(98))
    lines += b"content-length: 70000\r\n\r\n"
    request = b"POST / HTTP/1.1\r\n" + lines + b"b" * 70_000
    head_bytes = len(request) - 70_000

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for _ in range(3):
            for start in range(0, len(request), piece_bytes):
                writer.write(request[start : start + piece_bytes])
                if piece_bytes > 1:
                    await writer.drain()
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return await heard(reader)

    assert 58_000 < head_bytes < 60_000
    assert talked(ask, app=patient, silence_s=60).count(b"done") == 4


def test_chunks_and_their_lines_may_be_many() -> None:
    body = b"1\r\nx\r\n" * 100_000 + b"5;note=1\r\nhello\r\n0\r\nx: y\r\n\r\n"

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + body)
        return await heard(reader)

    assert talked(ask, app=patient, silence_s=60).count(b"done") == 1


def test_requests_that_wait_for_an_answer_are_few_for_each_connection() -> None:
    begun = 0

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += scope["type"] == "http"
        await patient(scope, receive, send)

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(REQUEST * 1_000)
        return await heard(reader)

    talked(ask, app=counting, silence_s=60)
    assert begun <= 66
