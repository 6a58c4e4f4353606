"""Queue, keys, settings and webhooks, and what every page looks like on every kind of screen."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from support.browser import DESKTOP, PHONE, OpenPage, axe_violations, send, shoot
from support.processes import Process, serving

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
PAGES = {
    "home": "/",
    "batch": "/batches/{batch}",
    "queue": "/queue",
    "keys": "/keys",
    "settings": "/settings",
    "sign-in": "/sign-in",
}
LOOKS = {
    "light-desktop": {"dark": False, **DESKTOP},
    "dark-phone": {"dark": True, **PHONE},
    "dark-desktop": {"dark": True, **DESKTOP},
    "light-phone": {"dark": False, **PHONE},
}
"""The first two have each colour and each size once; the long ring has the others too."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server whose work is paused as a whole."""
    with serving(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


def a_key(server: Process, **wanted: Any) -> dict[str, Any]:
    answer = server.client.post("/v1/keys", json=wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def admin(server: Process) -> str:
    """The secret of an administrator's key."""
    return a_key(server, name="the administrator", tier="enterprise", scopes=["admin"])["secret"]


@pytest.fixture(scope="module")
def anna(server: Process) -> str:
    """The secret of an ordinary key, with a name that is no name."""
    return a_key(server, name=f"Anna {HOSTILE}", owner="anna", tier="pro")["secret"]


@pytest.fixture(scope="module")
def waiting(server: Process, anna: str) -> str:
    """A paused queue with batches of several owners; the id of one."""
    reason = {"reason": f"the disk is being changed {HOSTILE}"}
    assert server.client.post("/v1/queue/pause", json=reason).status_code == 200
    named = [(f"{number} {HOSTILE}.jpg", b"x" * 3_000) for number in range(30)]
    batch_id = send(server, named, name=f"Spring {HOSTILE}")
    send(server, named[:3], priority="high", name="Short and urgent")
    held = send(server, named[:5], name="Held back")
    server.client.post(f"/v1/batches/{held}/pause")
    server.client.headers["X-API-Key"] = anna
    send(server, named[:12], pipeline="face-crop")
    del server.client.headers["X-API-Key"]
    a_key(server, name="shop import", owner="shop", tier="premium", scopes=["write"])
    gone = a_key(server, name="left the company", owner="otto")
    server.client.delete(f"/v1/keys/{gone['id']}")
    hook = {"url": "https://hooks.example/finished?shop=1", "every_batch": True}
    assert server.client.post("/v1/webhooks", json=hook).status_code == 201
    return batch_id


@pytest.mark.parametrize(
    "look",
    [*list(LOOKS)[:2], *(pytest.param(each, marks=pytest.mark.long) for each in list(LOOKS)[2:])],
)
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_accessible_and_fits_every_screen(
    open_page: OpenPage, waiting: str, admin: str, *, name: str, look: str
) -> None:
    page = open_page(PAGES[name].format(batch=waiting), key=admin, **LOOKS[look])
    page.locator("main :is(h1, h2)").first.wait_for()
    page.get_by_text("All work is paused").wait_for()
    shoot(page, f"{name}-{look}")

    assert page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look]["width"]
    assert page.title() != "owned"
    assert axe_violations(page) == []


def test_an_administrator_sees_everybodys_batches_and_others_their_own(
    open_page: OpenPage, waiting: str, admin: str, anna: str
) -> None:
    everybodys = open_page("/queue", key=admin).get_by_role("region", name="Batches that have")
    own = open_page("/queue", key=anna)

    expect(everybodys.get_by_role("row")).to_have_count(5)
    expect(everybodys.get_by_text("anna")).to_be_visible()
    expect(own.get_by_role("region", name="Batches that have").get_by_role("row")).to_have_count(2)
    expect(own.get_by_role("button", name="Let all work go on")).to_have_count(0)


def test_everything_on_a_page_is_reached_by_tab_and_seen_to_be(
    open_page: OpenPage, waiting: str, admin: str
) -> None:
    page = open_page("/queue", key=admin)
    page.get_by_role("link", name="face-crop, 12 files").wait_for()
    controls = "document.querySelectorAll('a, button, summary, input, [tabindex=\"0\"]').length"
    reached = set()
    for _ in range(page.evaluate(controls)):
        page.keyboard.press("Tab")
        here = "document.activeElement"
        place, line = page.evaluate(f"[{here}.outerHTML, getComputedStyle({here}).outlineStyle]")
        if place.startswith("<body"):
            break
        assert line != "none", place
        reached.add(place)

    for name in ("Skip to the content", "Let all work go on", "Short and urgent", "wrk_"):
        assert any(name in place for place in reached), name


def test_a_batch_is_paused_and_resumed_in_the_queue(
    open_page: OpenPage, waiting: str, admin: str
) -> None:
    page = open_page("/queue", key=admin)
    row = page.get_by_role("row").filter(has_text="Short and urgent")

    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("Paused: paused by the user")
    row.get_by_role("button", name="Resume").click()

    expect(row).to_contain_text("Waiting")


def test_all_work_goes_on_and_is_paused_with_a_reason_by_keyboard(
    open_page: OpenPage, waiting: str, admin: str
) -> None:
    page = open_page("/queue", key=admin)
    home = open_page("/", key=admin)
    expect(home.get_by_text("All work is paused")).to_be_visible()

    page.get_by_role("button", name="Let all work go on").press("Enter")
    pause = page.get_by_role("button", name="Pause all work")
    expect(pause).to_be_enabled()  # the page may read the queue before the answer is here
    pause.press("Enter")
    assert axe_violations(page) == []
    shoot(page, "queue-asking")
    page.get_by_label("Why").press_sequentially("lunch")
    page.keyboard.press("Enter")

    expect(page.get_by_role("complementary", name="State of the queue")).to_contain_text("lunch")
    expect(page.get_by_role("button", name="Let all work go on")).to_be_visible()


def test_a_worker_is_paused_with_a_reason_and_resumed_by_keyboard(
    open_page: OpenPage, waiting: str, admin: str, anna: str
) -> None:
    page = open_page("/queue", key=admin)
    row = page.get_by_role("region", name="Workers").get_by_role("row").filter(has_text="wrk_")
    row.get_by_role("button", name="Pause").press("Enter")
    assert axe_violations(page) == []
    page.get_by_label("Why").press_sequentially(f"new disk {HOSTILE}")
    page.keyboard.press("Enter")

    expect(row).to_contain_text(f"Paused: new disk {HOSTILE}")
    shoot(page, "queue-worker-paused")
    assert axe_violations(page) == []
    others = open_page("/queue", key=anna).get_by_role("region", name="Workers")
    expect(others).to_contain_text("Paused: new disk")
    expect(others.get_by_role("button")).to_have_count(0)
    row.get_by_role("button", name="Resume").press("Enter")
    expect(row).to_contain_text("Takes files")
    assert page.title() != "owned"


def test_a_key_is_made_copied_used_and_revoked_by_keyboard(
    open_page: OpenPage, server: Process, admin: str
) -> None:
    page = open_page("/keys", key=admin)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="New key").press("Enter")
    page.get_by_label("What it is for").press_sequentially(f"Cron {HOSTILE}")
    page.keyboard.press("Tab")
    page.keyboard.type("night")
    page.get_by_label("Tier").select_option("pro")
    expect(page.get_by_text("Files up to 5 GiB, 1,000 in a request")).to_be_visible()
    assert axe_violations(page) == []
    shoot(page, "keys-asking")
    page.get_by_role("checkbox", name="Write").press("Space")
    page.get_by_role("button", name="Make the key").press("Enter")
    page.get_by_role("button", name="Copy").press("Enter")
    expect(page.get_by_text("Copied.")).to_be_visible()
    secret = page.evaluate("navigator.clipboard.readText()")
    shoot(page, "keys-made")
    page.get_by_role("button", name="I have it").press("Enter")
    expect(page.get_by_text(secret)).to_have_count(0)

    made = server.client.get("/v1/session", headers={"X-API-Key": secret}).json()["key"]
    assert (made["owner"], made["tier"], made["scopes"]) == ("night", "pro", ["read"])

    row = page.get_by_role("row").filter(has_text="Cron <img")
    row.get_by_role("button", name="Revoke").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("cannot be undone")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)  # what is behind one takes no key
    expect(row).to_contain_text("Valid")
    row.get_by_role("button", name="Revoke").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Revoke").press("Enter")
    expect(row).to_contain_text("Revoked")

    assert server.client.get("/v1/session", headers={"X-API-Key": secret}).status_code == 401
    assert page.title() != "owned"


def test_settings_are_found_and_say_by_what_they_were_set(open_page: OpenPage, admin: str) -> None:
    page = open_page("/settings", key=admin)
    page.get_by_label("Only what was set").check()
    expect(page.get_by_role("row").filter(has_text="BATCHMILL_PORT")).to_contain_text("--port")
    expect(page.get_by_text("BATCHMILL_HOST")).to_have_count(0)
    page.get_by_label("Only what was set").uncheck()

    page.get_by_label("Find a setting").fill("free side px")

    (row,) = page.get_by_role("row").filter(has_text="BATCHMILL_").all()
    expect(row).to_contain_text("BATCHMILL_TIERS_FREE_SIDE_PX")
    expect(row).to_contain_text("30000")
    page.get_by_label("Find a setting").fill("nothing of the kind")
    expect(page.get_by_role("heading", name="No setting matches")).to_be_visible()
    assert axe_violations(page) == []


def test_a_webhook_is_made_and_its_messages_are_sent_again(
    open_page: OpenPage, server: Process
) -> None:
    page = open_page("/settings")
    page.get_by_role("tab", name="Webhooks").click()
    page.get_by_role("button", name="New webhook").click()
    page.get_by_label("Address").fill("https://hooks.example/second")
    shoot(page, "webhooks-asking")
    page.get_by_role("button", name="Make the webhook").click()
    page.get_by_role("button", name="I have it").click()
    server.client.post(f"/v1/batches/{send(server, [('a', b'x')])}/cancel")
    page.reload()
    page.get_by_role("tab", name="Webhooks").click()

    hook = page.get_by_role("region", name="https://hooks.example/second", exact=True)
    hook.get_by_role("button", name="Send again").first.click()
    expect(page.get_by_text("It is sent again, with the same id.")).to_be_visible()
    assert axe_violations(page) == []
    shoot(page, "webhooks-light-desktop")
    hook.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(hook).to_have_count(0)
