"""Event streams in any pieces, and what a server's refusals become."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.client.endpoints import Request
from batchmill.client.events import ServerEvent, parse
from batchmill.client.transport import Patience, problem
from batchmill.errors.base import BatchmillError
from batchmill.errors.outage import OutageError, ServerUnreachableError, StorageFullError
from batchmill.errors.request import NotFoundError, RateLimitedError, RequestError


def parsed(text: str) -> list[ServerEvent]:
    async def lines() -> AsyncIterator[str]:
        for line in text.split("\n"):
            yield line

    async def collect() -> list[ServerEvent]:
        return [event async for event in parse(lines())]

    return asyncio.run(collect())


TEXT = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))
EVENTS = st.lists(
    st.tuples(st.text("abc.", min_size=1), st.lists(TEXT, min_size=1), st.text("0123456789"))
)


@given(EVENTS)
def test_what_a_server_says_is_what_a_client_hears(
    events: list[tuple[str, list[str], str]],
) -> None:
    text = ""
    for name, lines, number in events:
        data = "".join(f"data: {line}\n" for line in lines)
        text += f": a comment\nevent: {name}\nid: {number}\n{data}\n"

    heard = parsed(text)

    assert [(event.name, event.data, event.id) for event in heard] == [
        (name, "\n".join(lines), number) for name, lines, number in events
    ]


def test_an_event_that_is_cut_off_is_dropped_and_an_id_stays() -> None:
    heard = parsed("id: 7\ndata: one\n\nretry: 3\n\ndata:two\n\nevent: x\ndata: cut")

    assert heard == [ServerEvent("message", "one", "7"), ServerEvent("message", "two", "7")]


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (404, {"code": "not_found", "detail": "There is no batch."}, NotFoundError, "no batch"),
        (507, {"code": "storage_full", "detail": "Full."}, StorageFullError, "Full"),
        (422, {"code": "from_the_future", "detail": "So."}, RequestError, "So"),
        (503, {"code": "from_the_future", "detail": "So."}, OutageError, "So"),
        (429, {"code": "rate_limited", "detail": "Slow."}, RateLimitedError, "Slow"),
        (502, None, OutageError, "answered 502"),
        (418, ["a list"], RequestError, "answered 418"),
    ],
)
def test_a_refusal_becomes_the_error_of_its_code(
    status: int, body: object, kind: type[BatchmillError], sentence: str
) -> None:
    response = httpx.Response(status, json=body, headers={"Retry-After": "7"})

    error = problem(response)

    assert type(error) is kind
    assert sentence in error.message
    if isinstance(error, OutageError | RateLimitedError):
        assert vars(error)["retry_after_s"] == 7


def test_patience_ends() -> None:
    async def wait() -> None:
        patience = Patience(0.2)
        while True:
            await patience.wait(ServerUnreachableError("http://x"))

    with pytest.raises(ServerUnreachableError):
        asyncio.run(wait())


def test_every_change_has_a_key_of_its_own() -> None:
    from batchmill.client import endpoints

    one, other = endpoints.order("bat_1", "pause"), endpoints.order("bat_1", "pause")

    assert one.headers["Idempotency-Key"] != other.headers["Idempotency-Key"]
    assert endpoints.batch("../x").path == "/v1/batches/..%2Fx"
    assert Request("GET", "/").with_headers(Last_Event_ID="3").headers == {"Last-Event-ID": "3"}


def test_a_client_loads_nothing_of_the_server() -> None:
    program = (
        "import sys, batchmill.client.client, batchmill.client.anywhere\n"
        "print(*sorted(each for each in sys.modules if each.count('.') < 2))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "batchmill.client" in loaded
    foreign = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "pyvips", "rawpy"}
    inside = ("api", "db", "service", "storage", "runner", "engines", "bootstrap", "worker")
    assert not loaded & (foreign | {f"batchmill.{each}" for each in inside})
