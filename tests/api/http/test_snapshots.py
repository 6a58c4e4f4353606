"""A crowd that asks the same shares an answer, and nobody gets what is not theirs or is old."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from batchmill.api.http.snapshots import BUSY, FRESH_S, MOST_BYTES, Snapshots

BATCH = "/v1/batches/bat_1"


class Handlers:
    """Answers with a number that rises with every reading."""

    def __init__(self) -> None:
        self.readings = 0
        self.status = 200
        self.padding = b""
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.readings += 1
        body = b"%d" % self.readings + self.padding
        await self.gate.wait()
        scope["route"] = "the route"
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Asked:
    """A server with a clock that the test turns; it begins in a second in which it is busy."""

    def __init__(self, *, busy: bool = True) -> None:
        self.now_s = 1_000.0
        self.handlers = Handlers()
        self.snapshots = Snapshots(self.handlers, lambda: self.now_s)
        if busy:
            self.snapshots._second = int(self.now_s)
            self.snapshots._asked = 10**6

    async def ask(self, path: str = BATCH, method: str = "GET", **headers: str) -> bytes:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError("a GET has no body")

        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "http_version": "1.1",
            "client": ("127.0.0.1", 1),
            "headers": named,
        }
        await self.snapshots(scope, receive, send)
        assert scope["route"] == "the route", "it is counted under its own address"
        return b"".join(message.get("body", b"") for message in sent)


async def test_a_crowd_shares_one_reading() -> None:
    asked = Asked()
    asked.handlers.gate.clear()
    crowd = [asyncio.create_task(asked.ask()) for _ in range(200)]
    await asyncio.sleep(0)
    asked.handlers.gate.set()
    assert set(await asyncio.gather(*crowd)) == {b"1"}
    assert await asked.ask() == b"1"
    assert asked.handlers.readings == 1


async def test_below_a_crowd_each_question_is_read_anew() -> None:
    asked = Asked(busy=False)
    answers = [await asked.ask() for _ in range(5)]
    assert answers == [b"1", b"2", b"3", b"4", b"5"]
    assert len(answers) < BUSY


async def test_an_answer_is_read_anew_when_it_is_old() -> None:
    asked = Asked()
    assert await asked.ask() == b"1"
    asked.now_s += FRESH_S / 2
    assert await asked.ask() == b"1"
    asked.now_s += FRESH_S / 2
    assert await asked.ask() == b"2"


async def test_a_crowd_that_goes_on_is_one_in_the_next_second_too() -> None:
    asked = Asked()
    assert await asked.ask() == b"1"
    asked.now_s += 1
    assert [await asked.ask(), await asked.ask()] == [b"2", b"2"]


async def test_nothing_is_kept_once_the_crowd_has_gone() -> None:
    asked = Asked()
    await asked.ask()
    asked.now_s += 2
    assert await asked.ask() == b"2"
    assert not asked.snapshots._answers


async def test_large_answers_do_not_gather() -> None:
    asked = Asked()
    asked.handlers.padding = b"." * (MOST_BYTES // 4)
    for number in range(20):
        await asked.ask(f"{BATCH}{number}")
    assert len(asked.snapshots._answers) <= 5


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer other"},
        {"x-api-key": "other"},
        {"cookie": "batchmill_key=other"},
        {"if-none-match": 'W/"9-0"'},
        {"host": "other"},
        {"x-forwarded-for": "192.0.2.1"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_what_a_caller_or_its_key_or_its_tag_is_told_no_other_is(
    headers: dict[str, str],
) -> None:
    asked = Asked()
    assert await asked.ask() == b"1"
    assert await asked.ask(**headers) == b"2"
    assert await asked.ask("/v1/batches/bat_2") == b"3"


async def test_a_change_through_this_process_is_seen_at_once() -> None:
    asked = Asked()
    assert await asked.ask() == b"1"
    await asked.ask(f"{BATCH}/cancel", "POST")
    assert await asked.ask() == b"3"


async def test_a_refusal_and_a_list_are_not_shared() -> None:
    asked = Asked()
    asked.handlers.status = 503
    assert [await asked.ask(), await asked.ask()] == [b"1", b"2"]
    asked.handlers.status = 200
    assert [await asked.ask("/v1/batches"), await asked.ask("/v1/batches")] == [b"3", b"4"]


async def test_those_who_wait_for_a_caller_who_hangs_up_are_answered_all_the_same() -> None:
    asked = Asked()
    asked.handlers.gate.clear()
    first = asyncio.create_task(asked.ask())
    await asyncio.sleep(0)
    second = asyncio.create_task(asked.ask())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    asked.handlers.gate.set()
    assert await second == b"2"
