"""Who a browser is: signing in with a key or the one-time link, signing out, other sites' pages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchmill.service import api_keys
from support import server as servers

FOREIGN = {"Origin": "https://bad.example"}


@pytest.fixture
def browser(running_server: servers.Server) -> Iterator[httpx.Client]:
    """A client that keeps cookies, as a browser does."""
    with httpx.Client(base_url=running_server.client.base_url, timeout=30) as client:
        yield client


def a_key(server: servers.Server, **wanted: object) -> dict[str, Any]:
    answer = server.client.post("/v1/keys", json={"name": "a key", **wanted})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_caller_without_a_key_at_the_machine_is_its_administrator(
    server: servers.Server, browser: httpx.Client
) -> None:
    session = browser.get("/v1/session").json()

    assert session == {
        "owner": "local",
        "tier": "anonymous",
        "admin": True,
        "lists": True,
        "key": None,
    }


def test_a_key_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(
    server: servers.Server, browser: httpx.Client
) -> None:
    made = a_key(server, owner="anna", tier="pro")

    signed_in = browser.post("/v1/session", json={"key": f" {made['secret']}\n"})
    cookie = signed_in.headers["set-cookie"]
    session = browser.get("/v1/session").json()

    assert signed_in.status_code == 204
    assert "HttpOnly" in cookie
    assert f"Max-Age={30 * 86_400};" in cookie
    assert "SameSite=strict" in cookie
    assert (session["owner"], session["tier"], session["admin"]) == ("anna", "pro", False)
    assert session["key"]["name"] == "a key"
    assert made["secret"] not in str(session)


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": "https://mill.example"},
        {"trusted_proxies": ["127.0.0.1"]},
        {},
    ],
)
def test_the_cookie_goes_by_tls_alone_where_browsers_come_by_tls(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    with servers.running(tmp_path, **settings) as running:
        database = running.context.database
        token = running.run(api_keys.offer_admin_link(database))
        proxy = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
        cookie = running.client.get("/login", params={"token": token}, headers=proxy).headers
    assert ("; secure" in cookie["set-cookie"].lower()) == bool(settings)


def test_signing_out_forgets_the_key_and_leaves_it_valid(
    server: servers.Server, browser: httpx.Client
) -> None:
    made = a_key(server, owner="anna")
    browser.post("/v1/session", json={"key": made["secret"]})

    assert browser.delete("/v1/session").status_code == 204

    assert browser.get("/v1/session").json()["owner"] == "local"
    held = {"X-API-Key": made["secret"]}
    assert browser.get("/v1/session", headers=held).json()["owner"] == "anna"


def test_a_browser_whose_key_was_revoked_can_sign_out(
    server: servers.Server, browser: httpx.Client
) -> None:
    made = a_key(server, owner="anna")
    browser.post("/v1/session", json={"key": made["secret"]})
    server.client.delete(f"/v1/keys/{made['id']}")

    assert browser.get("/v1/session").status_code == 401
    assert browser.delete("/v1/session").status_code == 204
    assert browser.get("/v1/session").status_code == 200


@pytest.mark.parametrize("wrong", ["bm_wrong", "nonsense"])
def test_a_wrong_key_signs_nobody_in(browser: httpx.Client, wrong: str) -> None:
    answer = browser.post("/v1/session", json={"key": wrong})

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert not browser.cookies


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/session", {"key": "bm_x"}),
        ("DELETE", "/v1/session", None),
        ("POST", "/v1/queue/pause", {}),
        ("POST", "/v1/keys", {"name": "x"}),
    ],
)
def test_a_page_of_another_site_changes_nothing(
    browser: httpx.Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = browser.request(method, path, json=body, headers=FOREIGN)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_the_link_signs_in_once_and_then_sends_a_browser_to_the_form(
    server: servers.Server, browser: httpx.Client
) -> None:
    token = server.run(api_keys.offer_admin_link(server.context.database))
    first = browser.get("/login", params={"token": token})
    session = browser.get("/v1/session").json()
    again = browser.get("/login", params={"token": token}, headers={"Accept": "text/html"})
    program = browser.get("/login", params={"token": token})

    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert (session["admin"], session["key"]["name"]) == (True, "admin")
    assert (again.status_code, again.headers["location"]) == (303, "/sign-in?link=used")
    assert program.status_code == 401


def test_an_admins_key_sees_and_stops_everybodys_batches(server: servers.Server) -> None:
    anna, admin = a_key(server, owner="anna"), a_key(server, scopes=["admin"])
    annas, admins = ({"X-API-Key": each["secret"]} for each in (anna, admin))
    batch_id = server.post_files(b"wait", headers=annas).json()["id"]

    seen = server.client.get(f"/v1/batches/{batch_id}", headers=admins).json()
    listed = server.client.get("/v1/batches", params={"active": True}, headers=admins).json()
    stopped = server.client.post(f"/v1/batches/{batch_id}/cancel", headers=admins)

    assert seen["owner"] == "anna"
    assert batch_id in [each["id"] for each in listed["data"]]
    assert stopped.json()["status"] == "cancelled"
    assert server.client.get(f"/v1/batches/{batch_id}").status_code == 404


def test_an_owner_of_another_form_is_told_the_form_in_words(server: servers.Server) -> None:
    answer = server.client.post("/v1/keys", json={"name": "x", "owner": "Anna Müller"})

    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "`owner` must be 1 to 39 small letters, digits, `_` and `-`."
    )
