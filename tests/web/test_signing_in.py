"""Who somebody is on the page: without a key, with one, with a wrong one; a server that is away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from support import preloaded
from support.browser import PHONE, OpenPage, axe_violations, shoot
from support.environment import environment
from support.processes import Process, serving

SLOW_MS = 3_000
"""Longer than the queue's page waits before it reads again."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server without batches."""
    with serving(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def anna(server: Process) -> dict[str, Any]:
    """An ordinary key with its secret."""
    return server.client.post("/v1/keys", json={"name": "Anna", "owner": "anna"}).json()


@pytest.mark.parametrize("path", ["/queue", "/keys", "/settings", "/sign-in"])
def test_an_empty_server_says_so_in_plain_words(open_page: OpenPage, path: str) -> None:
    page = open_page(path)
    page.get_by_role("heading", level=1).wait_for()

    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert axe_violations(page) == []
    shoot(page, f"empty-{path.strip('/')}")


def test_a_key_signs_in_and_out(open_page: OpenPage, anna: dict[str, Any]) -> None:
    page = open_page("/sign-in")
    expect(page.get_by_text("You are at the server’s own machine")).to_be_visible()
    page.get_by_label("API key").press_sequentially(anna["secret"])
    page.keyboard.press("Enter")

    page.get_by_text("Anna", exact=True).click()
    expect(page.get_by_text("owner anna, tier free")).to_be_visible()
    assert anna["secret"] not in page.evaluate("document.cookie + JSON.stringify(localStorage)")
    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_text("You are at the server’s own machine")).to_be_visible()


def test_a_wrong_key_is_refused_in_a_sentence(open_page: OpenPage) -> None:
    page = open_page("/sign-in")
    page.get_by_label("API key").fill("bm_wrong")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_contain_text("This API key is not valid")
    assert axe_violations(page) == []


def test_a_link_that_was_used_leads_to_the_form(open_page: OpenPage) -> None:
    page = open_page("/login?token=used-before")

    expect(page.get_by_text("This link was used before")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_visible()


def test_pages_for_administrators_tell_others_why_and_where_to_go_on(
    open_page: OpenPage, anna: dict[str, Any]
) -> None:
    page = open_page("/settings", key=anna["secret"])
    page.get_by_role("tab", name="Server").click()
    expect(page.get_by_text("Your key may read and write.")).to_be_visible()
    expect(page.get_by_role("link", name="Sign in with another key")).to_be_visible()
    assert axe_violations(page) == []
    shoot(page, "settings-not-admin")

    page.get_by_role("link", name="Keys").click()
    expect(page.get_by_text("Only an administrator makes and revokes keys.")).to_be_visible()
    expect(page.get_by_role("button", name="New key")).to_have_count(0)
    page.get_by_role("link", name="Queue").click()
    expect(page.get_by_text("The figures and batches are your own.")).to_be_visible()
    expect(page.get_by_role("button", name="Pause all work")).to_have_count(0)


def test_a_server_that_wants_a_key_asks_for_it_on_every_page(
    browser: Browser, tmp_path: Path
) -> None:
    command = ["keys", "create", "--name", "me", "--admin", "--data-dir", tmp_path / "data"]
    made = preloaded.run(command, env=environment(), cwd=tmp_path)
    with serving(tmp_path / "data", BATCHMILL_ANONYMOUS="off") as server:
        page = browser.new_page(base_url=str(server.client.base_url), viewport=PHONE)
        page.goto("/queue")
        expect(page.get_by_text("This server wants an API key")).to_be_visible()
        assert axe_violations(page) == []
        shoot(page, "key-wanted")
        page.get_by_label("API key").fill(made.stdout.strip())
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("API key")).to_have_count(0)
        page.goto("/settings")

        expect(page.get_by_text("BATCHMILL_ANONYMOUS").first).to_be_visible()
        page.close()


def test_a_revoked_key_leads_to_the_form_and_out_of_it(
    open_page: OpenPage, server: Process
) -> None:
    made = server.client.post("/v1/keys", json={"name": "short", "owner": "otto"}).json()
    server.client.delete(f"/v1/keys/{made['id']}")
    page = open_page("/keys", key=made["secret"])

    expect(page.get_by_text("it may have been revoked")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    expect(page.get_by_text("it may have been revoked")).to_have_count(0)


def test_a_server_that_answers_slowly_is_waited_for(open_page: OpenPage) -> None:
    page = open_page("/sign-in")
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)

    page.route("**/v1/workers", hold)
    page.clock.install()
    page.get_by_role("link", name="Queue").click()
    while not asked:
        page.wait_for_timeout(10)
    page.clock.fast_forward(SLOW_MS)
    asked[0].continue_()  # none of those that may have followed is ever answered

    expect(page.get_by_text("Takes files")).to_be_visible()
    page.unroute_all(behavior="ignoreErrors")


@pytest.mark.long
def test_the_queue_says_that_the_server_is_away_and_recovers(
    browser: Browser, tmp_path: Path
) -> None:
    with serving(tmp_path / "data") as server:
        base_url = str(server.client.base_url)
        page = browser.new_page(base_url=base_url)
        page.goto("/queue")
        expect(page.get_by_text("Takes files")).to_be_visible()
        server.kill()
        expect(page.get_by_text("Offline")).to_be_visible()
        expect(page.get_by_text("Takes files")).to_be_visible()
        shoot(page, "queue-away")
        assert axe_violations(page) == []
        page.goto("about:blank")
    port = str(urlsplit(base_url).port)
    with serving(tmp_path / "data", "--port", port):
        page.goto("/queue")
        expect(page.get_by_text("Nothing waits or runs")).to_be_visible()
        page.close()
