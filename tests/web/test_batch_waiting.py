"""The batch page while files wait: control, a great many rows, and a server that goes away."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.browser import OpenPage, multiply, send, shoot
from support.processes import Process, serving
from support.served import Server

NUMBER = 100_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server that takes files and works on none."""
    data_dir, more_than_there_is = tmp_path_factory.mktemp("idle") / "data", "900TB"
    with serving(data_dir, BATCHMILL_MEMORY_RESERVE_BYTES=more_than_there_is) as server:
        yield server


@pytest.fixture(scope="module")
def huge_id(server: Process) -> str:
    """A batch of a hundred thousand items that was cancelled when the most were done."""
    batch_id = send(server, [("first.jpg", b"not looked at")], name="Huge")
    server.client.post(f"/v1/batches/{batch_id}/cancel").raise_for_status()
    multiply(server, batch_id, NUMBER)
    return batch_id


def test_a_batch_is_paused_resumed_and_cancelled(server: Process, open_page: OpenPage) -> None:
    batch_id = send(server, [(f"{n}.jpg", b"waits") for n in range(3)])
    page = open_page(f"/batches/{batch_id}")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".state")).to_have_text("Paused: paused by the user")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".state")).not_to_have_text("Paused: paused by the user")
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 files will not be processed")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    page.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator(".state")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Cancelled 3")).to_be_visible()


def test_while_nothing_is_started_every_page_says_why(server: Process, open_page: OpenPage) -> None:
    batch_id = send(server, [("a.jpg", b"waits")])
    page = open_page(f"/batches/{batch_id}")

    expect(page.locator(".state")).to_contain_text("No file is started: only ")
    for path in ("/", "/queue"):
        banner = open_page(path).get_by_label("State of the queue")
        expect(banner).to_contain_text(" MB of memory are free.")


def test_a_batch_whose_model_is_away_says_so_until_it_is_back(
    server: Process, open_page: OpenPage
) -> None:
    batch_id = send(server, [("a.jpg", b"waits")])
    page = open_page(f"/batches/{batch_id}")
    expect(page.locator(".state")).not_to_contain_text("Waiting:")
    _note_outage(server, batch_id, 1)
    expect(page.locator(".state")).to_have_text("Waiting: the model is away")
    shoot(page, "batch-waits-for-model")
    _note_outage(server, batch_id, None)
    expect(page.locator(".state")).not_to_contain_text("Waiting:")


def _note_outage(server: Process, batch_id: str, since_ms: int | None) -> None:
    """Note in the database itself since when a batch's model is away, as its worker does."""
    reason = None if since_ms is None else "the model is away"
    with closing(sqlite3.connect(server.data_dir / "batchmill.sqlite3", timeout=30)) as database:
        database.execute(
            "UPDATE batches SET outage_since = ?, pause_reason = ?, revision = revision + 1"
            " WHERE id = ?",
            (since_ms, reason, batch_id),
        )
        database.commit()


def test_a_batch_whose_sender_is_gone_can_be_closed(server: Process, open_page: OpenPage) -> None:
    batch_id = send(server, [("a.jpg", b"waits")], keep_open=True)
    page = open_page(f"/batches/{batch_id}")
    page.get_by_role("button", name="Take no more files").click()

    expect(page.get_by_text("The batch takes no more files.")).to_be_visible()
    expect(page.get_by_role("button", name="Take no more files")).to_have_count(0)
    assert server.client.get(f"/v1/batches/{batch_id}").json()["open"] is False


def test_a_batch_that_is_removed_meanwhile_is_gone_from_the_page(
    server: Process, open_page: OpenPage
) -> None:
    batch_id = send(server, [("a.jpg", b"waits")])
    page = open_page(f"/batches/{batch_id}")
    page.locator("#row-0").wait_for()
    server.client.delete(f"/v1/batches/{batch_id}")

    expect(page.get_by_role("heading", name="There is no such batch")).to_be_visible()
    expect(page).to_have_title("There is no such batch – batchmill")


def test_a_hundred_thousand_rows_scroll_with_few_nodes(
    server: Process, open_page: OpenPage, huge_id: str
) -> None:
    page = open_page(f"/batches/{huge_id}")
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", str(NUMBER + 1))
    nodes = []
    for share in (0.9, 0.1, 0.5, 1.0, 0.33):
        page.evaluate(
            "share => { const g = document.querySelector('.grid');"
            " g.scrollTop = share * (g.scrollHeight - g.clientHeight) }",
            share,
        )
        first = page.locator(".canvas .row").nth(8)
        expect(first.locator(".cell-status")).to_be_visible()
        nodes.append(page.evaluate("document.querySelectorAll('*').length"))
    assert max(nodes) < 800
    page.evaluate("document.querySelector('.grid').scrollTop = 0")
    grid.focus()
    page.keyboard.press("End")
    expect(page.locator(f"#row-{NUMBER - 1} bdi")).to_have_text("folder 099/0099999.jpg")
    expect(page.locator(f"#row-{NUMBER - 1}")).to_be_in_viewport()
    shoot(page, "batch-huge")
    for _ in range(3):
        page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    expect(page.locator("#row-0 bdi")).to_have_text("first.jpg")


def test_a_filter_over_a_hundred_thousand_rows_goes_on_page_by_page(
    server: Process, open_page: OpenPage, huge_id: str
) -> None:
    page = open_page(f"/batches/{huge_id}")
    page.get_by_role("button", name="Cancelled 2,001").click()
    expect(page.locator("#row-0 bdi")).to_have_text("first.jpg")
    expect(page.locator("#row-1 bdi")).to_have_text("folder 000/0000007.jpg")
    grid = page.get_by_role("grid")
    grid.focus()
    page.keyboard.press("End")
    expect(page.locator("#row-199 bdi")).to_have_text("folder 009/0009907.jpg")
    page.get_by_role("searchbox").fill("folder 042/00427")
    expect(page.locator("#row-0 bdi")).to_have_text("folder 042/0042700.jpg")


def test_a_blocked_stream_leaves_polling(server: Process, open_page: OpenPage) -> None:
    batch_id = send(server, [("a.jpg", b"waits")])
    page = open_page("/")
    page.route("**/v1/events?**", lambda route: route.abort())
    page.goto(f"/batches/{batch_id}")
    expect(page.locator(".live-badge")).to_have_text("Every few seconds")
    server.client.post(f"/v1/batches/{batch_id}/pause")
    expect(page.locator(".state")).to_have_text("Paused: paused by the user")


@pytest.mark.long
def test_a_server_that_goes_away_is_said_to_and_found_again(
    browser: Browser, tmp_path: Path
) -> None:
    with Server(tmp_path / "server") as server:
        page = browser.new_page(base_url=server.url)
        page.goto("/")
        batch_id = page.evaluate(
            "async () => { const form = new FormData(); form.set('pipeline', 'web');"
            " form.set('options', '{\"keep_open\": true}');"
            " form.append('files', new Blob(['none']), 'a.jpg');"
            " return (await (await fetch('/v1/batches', {method: 'POST', body: form})).json()).id }"
        )
        page.goto(f"/batches/{batch_id}")
        expect(page.locator(".live-badge")).to_have_text("Live")
        server.kill()
        expect(page.locator(".live-badge")).to_have_text("Offline")
        expect(page.get_by_role("heading", level=1)).to_have_text("web, 1 file")
        server.start()
        expect(page.locator(".live-badge")).to_have_text("Live")
        page.context.close()
