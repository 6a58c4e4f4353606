"""Who calls when proxies stand between: their word counts, what a caller makes up does not."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from batchmill import logs
from batchmill.api.auth import is_at_the_machine
from batchmill.api.http.forwarded import Proxies
from batchmill.errors.request import UsageError
from batchmill.settings.fields import Settings, TierLimits, Tiers
from batchmill.settings.loading import load
from support import server as servers

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
IPAddress = IPv4Address | IPv6Address
Headers = list[tuple[str, str]]


def seen(headers: Headers, *, nearest: str = "10.0.0.1") -> str:
    """Return the caller's address as an application behind `Proxies` sees it."""
    return _scope(headers, nearest=nearest)["client"][0]


def _scope(headers: Headers, *, nearest: str) -> Scope:
    """Return what an application behind `Proxies` is told of a request."""
    found: list[Scope] = []

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        found.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def ask() -> None:
        transport = httpx.ASGITransport(Proxies(application, TRUSTED), client=(nearest, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://mill") as client:
            await client.get("/", headers=headers)

    asyncio.run(ask())
    return found[0]


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ([], "10.0.0.1"),
        ([("X-Forwarded-For", "203.0.113.7")], "203.0.113.7"),
        ([("X-Forwarded-For", "1.1.1.1, 203.0.113.7")], "203.0.113.7"),
        ([("X-Forwarded-For", "203.0.113.7, 10.9.9.9")], "203.0.113.7"),
        ([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.7")], "203.0.113.7"),
        ([("X-Forwarded-For", "203.0.113.7:51812")], "203.0.113.7"),
        ([("X-Forwarded-For", "[2a00::7]:51812, 2001:db8::1")], "2a00::7"),
        ([("X-Forwarded-For", "::ffff:203.0.113.7")], "203.0.113.7"),
        ([("X-Forwarded-For", "10.2.2.2, 10.3.3.3")], "10.2.2.2"),
        ([("X-Forwarded-For", "1.1.1.1, unknown, 10.3.3.3")], "10.3.3.3"),
        ([("X-Forwarded-For", "")], "10.0.0.1"),
        ([("Forwarded", "for=203.0.113.7;proto=https")], "203.0.113.7"),
        ([("Forwarded", 'for=1.1.1.1, For="[2a00::7]:4711";by=10.0.0.1')], "2a00::7"),
        ([("Forwarded", "for=1.1.1.1, for=_hidden")], "10.0.0.1"),
        ([("Forwarded", "proto=https")], "10.0.0.1"),
        ([("X-Real-IP", "203.0.113.7")], "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_names_the_caller(headers: Headers, caller: str) -> None:
    assert seen(headers) == caller


def test_two_headers_count_only_where_they_agree() -> None:
    same = [("Forwarded", "for=203.0.113.7"), ("X-Forwarded-For", "203.0.113.7")]
    made_up = [("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "203.0.113.7")]
    assert (seen(same), seen(made_up)) == ("203.0.113.7", "10.0.0.1")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
def test_a_stranger_is_believed_nothing(name: str) -> None:
    assert seen([(name, "for=10.0.0.9")], nearest="203.0.113.7") == "203.0.113.7"


@given(made_up=st.lists(st.text(st.characters(codec="ascii", exclude_categories=["C"]))))
def test_whatever_a_caller_makes_up_its_own_address_counts(made_up: list[str]) -> None:
    assert seen([("X-Forwarded-For", ", ".join([*made_up, "203.0.113.7"]))]) == "203.0.113.7"


@given(hops=st.lists(st.ip_addresses()))
def test_the_caller_is_the_last_address_that_is_no_proxy(hops: list[IPAddress]) -> None:
    def trusted(hop: IPAddress) -> bool:
        return any(hop in network for network in TRUSTED)

    hops = [getattr(hop, "ipv4_mapped", None) or hop for hop in hops]
    strangers = [hop for hop in hops if not trusted(hop)]
    expected = (strangers or hops[:1] or [ip_address("10.0.0.1")])[-1]
    assert seen([("X-Forwarded-For", ",".join(map(str, hops)))]) == str(expected)


# ---------------------------------------------------------------- in the whole server


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.set_up(style="json", stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.basicConfig(force=True)


@pytest.mark.parametrize("trusted", [["127.0.0.0/8"], []])
def test_limits_and_logs_go_by_the_caller_that_a_trusted_proxy_names(
    tmp_path: Path, log: io.StringIO, trusted: list[str]
) -> None:
    twice = Tiers(anonymous=TierLimits(submissions_per_minute=2))
    settings: dict[str, Any] = {"trusted_proxies": trusted, "anonymous": "on", "tiers": twice}
    with servers.running(tmp_path, **settings) as server:
        answers = [
            server.post_files(b"x", headers={"X-Forwarded-For": f"198.51.100.{made_up}, {real}"})
            for made_up, real in enumerate(["203.0.113.1"] * 3 + ["203.0.113.2"])
        ]
    written = [json.loads(line) for line in log.getvalue().splitlines()]
    callers = {line["client"] for line in written if line["event"] == "batch.accepted"}
    statuses = [answer.status_code for answer in answers]
    if trusted:
        assert (statuses, callers) == ([202, 202, 429, 202], {"203.0.113.1", "203.0.113.2"})
    else:
        assert (statuses, callers) == ([202, 202, 429, 429], {"127.0.0.1"})


def test_a_network_of_ipv6_is_one_caller_and_the_next_another(tmp_path: Path) -> None:
    twice = Tiers(anonymous=TierLimits(submissions_per_minute=2))
    settings: dict[str, Any] = {
        "trusted_proxies": ["127.0.0.0/8"],
        "anonymous": "on",
        "tiers": twice,
    }
    callers = ("2a00:1:2:3::1", "2a00:1:2:3:ffff::2", "2a00:1:2:3::3", "2a00:1:2:4::1")
    with servers.running(tmp_path, **settings) as server:
        answers = [
            server.post_files(b"x", headers={"X-Forwarded-For": caller}) for caller in callers
        ]
    assert [answer.status_code for answer in answers] == [202, 202, 429, 202]


def test_a_stranger_neither_lists_nor_administers(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"trusted_proxies": ["127.0.0.0/8"], "anonymous": "on"}
    with servers.running(tmp_path, **settings) as server:
        stranger = {"X-Forwarded-For": "203.0.113.7"}
        server.post_files(b"x", headers=stranger)
        batches = server.client.get("/v1/batches", headers=stranger).json()["data"]
        listed = server.client.get("/v1/webhooks", headers=stranger)
        made = server.client.post("/v1/keys", json={"name": "mine"}, headers=stranger)
    assert (batches, listed.status_code, made.status_code) == ([], 401, 403)


@pytest.mark.parametrize(("nearest", "scheme"), [("10.0.0.1", "https"), ("203.0.113.7", "http")])
def test_only_a_proxy_says_that_a_caller_came_by_tls(nearest: str, scheme: str) -> None:
    headers = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")]
    assert _scope(headers, nearest=nearest)["scheme"] == scheme


@pytest.mark.parametrize(
    "name",
    [
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        *("x-real-ip", "cf-connecting-ip", "true-client-ip"),
    ],
)
def test_every_header_that_a_proxy_adds_says_that_one_stands_between(name: str) -> None:
    assert is_at_the_machine(asks(), Settings())
    assert not is_at_the_machine(asks("1.1", name), Settings())


def test_a_caller_behind_a_proxy_on_this_machine_is_still_not_the_machine(tmp_path: Path) -> None:
    with servers.running(tmp_path, trusted_proxies=["127.0.0.1"]) as server:
        for claimed in ("127.0.0.1", "::1"):
            answer = server.client.get("/v1/batches", headers={"X-Forwarded-For": claimed})
            assert answer.status_code == 401


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.1/8", "10.0.0.0/8,*"])
def test_a_proxy_that_is_no_address_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(UsageError) as refused:
        load({"BATCHMILL_TRUSTED_PROXIES": value})
    assert refused.value.message == (
        f"BATCHMILL_TRUSTED_PROXIES is '{value}', but must be addresses or networks separated by"
        " commas."
    )


def test_proxies_are_addresses_and_networks_separated_by_commas() -> None:
    settings = load({"BATCHMILL_TRUSTED_PROXIES": "10.0.0.7, 192.168.0.0/16,fd00::/8"})
    assert list(map(str, settings.trusted_proxies)) == ["10.0.0.7/32", "192.168.0.0/16", "fd00::/8"]


def asks(version: str = "1.1", *headers: str, nearest: str = "127.0.0.1") -> Request:
    given = [(name.encode(), b"x") for name in headers]
    scope = {"type": "http", "http_version": version, "client": (nearest, 4711), "headers": given}
    return Request(scope)


@pytest.mark.parametrize("public_url", [None, "http://localhost:3001", "http://[::1]:3001/"])
def test_who_sits_at_the_machine_counts_as_being_there(public_url: str | None) -> None:
    settings = Settings(public_url=public_url)
    assert is_at_the_machine(asks(), settings)
    assert is_at_the_machine(asks(nearest="::1"), settings)
    assert not is_at_the_machine(asks(nearest="203.0.113.7"), settings)


@pytest.mark.parametrize(
    ("settings", "request_"),
    [
        (Settings(public_url="https://mill.example"), asks()),
        (Settings(public_url="http://192.0.2.7:3001"), asks()),
        (Settings.model_validate({"trusted_proxies": ["127.0.0.1"]}), asks()),
        (Settings(), asks("1.0")),  # as nginx speaks where only proxy_pass was written
        (Settings(), asks("1.1", "x-forwarded-proto")),
    ],
)
def test_nobody_is_at_the_machine_where_a_proxy_may_stand_between(
    settings: Settings, request_: Request
) -> None:
    assert not is_at_the_machine(request_, settings)
