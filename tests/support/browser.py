"""A real Chromium on the real page of a real server; import the fixtures into a conftest.

    from support.browser import browser, chromium, open_page, server  # noqa: F401

Nothing leaves the machine: a request to any other host, an error in the console or a breach of
the page's content security policy fails the test that caused it.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from batchmill.api.auth import COOKIE
from batchmill.web.page import STATIC
from support import parts, ring
from support.processes import Process, serving

ROOT = Path(__file__).parents[2]
AXE = ROOT / "build" / "page" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = ROOT / "build" / "screenshots"
"""Where tests of the long ring leave pictures of what they saw."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-site-isolation-trials",
]
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
PATIENCE_MS = 60_000
"""How long anything may take on a busy machine before a test gives up."""
expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; the one without windows, where it is there, takes less time."""
    path = parts.program("chromium-headless-shell", "chromium", part="Chromium")
    if not (STATIC / "index.html").exists():
        parts.missing("the built page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        _leave_loop()
        yield browser
        _enter_loop(browser)
        browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, which all tests of a process share; each opens contexts of its own.

    Playwright's event loop counts as running in this thread from its start to its end, and tests
    without a browser run loops of their own: so it counts as running during a test's turn alone.
    """
    _enter_loop(chromium)
    yield chromium
    _leave_loop()


def _enter_loop(browser: Browser) -> None:
    asyncio._set_running_loop(browser._loop)


def _leave_loop() -> None:
    asyncio._set_running_loop(None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`batchmill serve` in a process of its own, for all tests that mind no batches of others."""
    with serving(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


@pytest.fixture
def open_page(browser: Browser, server: Process) -> Iterator[OpenPage]:
    """Return what opens an address of the server: `open_page("/queue", dark=True, **PHONE)`.

    With `key=SECRET` the browser is signed in already.
    """
    contexts, troubles = [], []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            troubles.append(message.text)

    def open_one(
        path: str,
        *,
        dark: bool = False,
        width: int = 1280,
        height: int = 800,
        key: str | None = None,
    ) -> Page:
        context = browser.new_context(
            base_url=str(server.client.base_url),
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        contexts.append(context)
        if key is not None:
            context.add_cookies([_cookie(key, str(server.client.base_url))])
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", note)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: _refuse_foreign(request.url, troubles))
        page.goto(path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not troubles, troubles


def _cookie(key: str, url: str) -> Any:
    """Return a cookie as Playwright takes it, whose type has no public name."""
    named = {"name": COOKIE, "value": key, "url": url}
    return {**named, "httpOnly": True, "sameSite": "Strict"}


def send(
    server: Process, files: list[tuple[str, bytes]], pipeline: Any = "web", **options: Any
) -> str:
    """Submit files as one batch and return its id."""
    named = [("files", file) for file in files]
    chosen = pipeline if isinstance(pipeline, str) else json.dumps(pipeline)
    fields = {"pipeline": chosen, "options": json.dumps(options)}
    answer = server.client.post("/v1/batches", files=named, data=fields)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def look(server: Process, batch_id: str) -> Any:
    """Return a batch as the API has it."""
    return server.client.get(f"/v1/batches/{batch_id}").json()


def until(true: Callable[[], object]) -> None:
    """Wait until a condition holds, a minute at most."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_ended(server: Process, batch_id: str) -> Any:
    """Wait until a batch has ended, and return it."""
    for _ in range(3_000):
        batch = look(server, batch_id)
        if batch["ended_at"]:
            return batch
        time.sleep(0.02)
    raise AssertionError(f"the batch never ended: {batch}")


def multiply(server: Process, batch_id: str, number: int) -> None:
    """Make `number` ended items of a cancelled batch's first one, in its SQLite database itself.

    It is as if the batch had been cancelled when the most were done, all of them duplicates.
    """
    with closing(sqlite3.connect(server.data_dir / "batchmill.sqlite3", timeout=30)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(items)")]
        changed = {
            "id": "printf('itm_%020d', n) || substr(batch_id, -12)",
            "position": "n",
            "name": "printf('folder %03d/%07d.jpg', n / 1000, n)",
            "status": "CASE n % 50 WHEN 7 THEN 'cancelled' ELSE 'skipped' END",
            "skip_reason": "CASE n % 50 WHEN 7 THEN NULL ELSE 'duplicate' END",
            "outputs": "'[]'",
        }
        values = ", ".join(changed.get(name, name) for name in columns)
        cancelled = (number + 42) // 50
        database.execute(
            f"INSERT INTO items ({', '.join(columns)}) WITH RECURSIVE counter(n) AS"  # noqa: S608
            " (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < ?)"
            f" SELECT {values} FROM items, counter WHERE batch_id = ? AND position = 0",
            (number - 1, batch_id),
        )
        database.execute(
            "UPDATE batches SET n_skipped = n_skipped + ?, n_cancelled = n_cancelled + ?,"
            " revision = revision + 1 WHERE id = ?",
            (number - 1 - cancelled, cancelled, batch_id),
        )
        database.commit()


def shoot(page: Page, name: str) -> None:
    """Leave a picture of what is seen now, in the long ring."""
    if not ring.ALL:
        return
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def axe_violations(page: Page, part: str = "html") -> list[str]:
    """Return what axe-core finds wrong with a page, or a part of it, a sentence for each.

    It is not asked to tell what is right, nor where: that takes it half of its time.
    """
    if not AXE.exists():
        parts.missing("the page's packages")
    if not page.evaluate("'axe' in window"):
        # Evaluated by the debugger, which the page's policy does not bind.
        page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"], "selectors": False}
    found = page.evaluate("([part, options]) => axe.run(part, options)", [part, options])
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def _refuse_foreign(url: str, troubles: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:")):
        troubles.append(f"the page asked another host: {url}")
