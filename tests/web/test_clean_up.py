"""Leftover files that wait for an administrator are said on the page of the queue."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from batchmill.storage import keys
from support.browser import OpenPage, axe_violations, shoot
from support.processes import Process, serving


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server that looks for leftovers every second."""
    folder = tmp_path_factory.mktemp("server") / "data"
    with serving(folder, BATCHMILL_CLEANUP_INTERVAL_MS="1000") as server:
        yield server


def is_paused(server: Process) -> bool:
    return bool(server.client.get("/v1/storage/cleanup").json()["paused"])


def until(server: Process, *, paused: bool) -> None:
    end_s = time.monotonic() + 60
    while is_paused(server) is not paused:
        assert time.monotonic() < end_s
        time.sleep(0.1)


def test_a_clean_up_that_waits_is_said_until_an_administrator_confirms_it(
    open_page: OpenPage, server: Process
) -> None:
    page = open_page("/queue")
    banner = page.get_by_label("State of the clean-up")
    page.get_by_role("heading").first.wait_for()
    expect(banner).to_have_count(0)
    while not (server.data_dir / "storage" / keys.IDENTITY).exists():
        time.sleep(0.05)
    for number in range(11):
        (server.data_dir / "storage/batches" / f"bat_{number}" / "in").mkdir(parents=True)
    until(server, paused=True)
    page.reload()

    expect(banner).to_contain_text("Leftover files are not removed: 11 folders")
    shoot(page, "clean-up-waits")
    assert axe_violations(page) == []
    assert server.client.post("/v1/storage/cleanup", json={"confirm": True}).status_code == 200
    until(server, paused=False)
    page.reload()
    page.get_by_role("heading").first.wait_for()
    expect(banner).to_have_count(0)
