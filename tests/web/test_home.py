"""Sending files from the page: dropped, chosen, pasted, interrupted and gone on with."""

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from support.browser import PHONE, OpenPage, axe_violations, send, shoot, until
from support.pictures import scene
from support.processes import Process, serving

PAINTED = """() => new Promise(done =>
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))"""
GIVE = """([files, pasted]) => {
  const given = new DataTransfer()
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0))
    given.items.add(new File([bytes], name))
  }
  const how = { bubbles: true, cancelable: true }
  if (pasted) {
    document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: given, ...how }))
    return
  }
  const area = document.querySelector('.drop')
  for (const kind of ['dragenter', 'dragover', 'drop']) {
    area.dispatchEvent(new DragEvent(kind, { dataTransfer: given, ...how }))
  }
}"""
LOOK_MS = 10_000
"""How often the page looks whether others have sent something."""
HOSTILE = [
    "<img src=x onerror=alert(1)>.jpg",
    "\u202egpj.exe",
    "'; DROP TABLE items;--.jpg",
    "=cmd|calc.jpg",
    "a" * 200 + ".jpg",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twenty photos, which only have to look like some, and one that is broken."""
    folder = tmp_path_factory.mktemp("home") / "holiday"
    (folder / "beach").mkdir(parents=True)
    for number in range(20):
        place = folder / "beach" if number % 2 else folder
        body = scene(160, 120, seed=number).jpegsave_buffer(Q=85)
        (place / f"{number:02}.jpg").write_bytes(body)
    return folder


def choose(page: Page, *paths: Path | str, folder: bool = False) -> None:
    page.locator(".drop input[type=file]").nth(int(folder)).set_input_files(list(paths))
    page.locator(".order").wait_for()


def start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".order").wait_for(state="detached")


def newest(server: Process) -> dict[str, Any]:
    return server.client.get("/v1/batches?limit=1").json()["data"][0]


def wait_ended(page: Page, server: Process) -> dict[str, Any]:
    """Wait until nothing is being sent and nothing runs; return the newest batch."""
    expect(page.locator(".sending")).to_have_count(0, timeout=60_000)
    expect(page.get_by_role("heading", name="Running")).to_have_count(0, timeout=60_000)
    until(lambda: newest(server)["ended_at"])  # between the two the page shows neither
    return newest(server)


def paths(server: Process, batch: dict[str, Any]) -> list[str]:
    items = server.client.get(f"/v1/batches/{batch['id']}/items?limit=100").json()["data"]
    return sorted(item["input"]["path"] for item in items)


def drop(page: Page, *files: tuple[str, bytes], paste: bool = False) -> None:
    sent = [[name, base64.b64encode(body).decode()] for name, body in files]
    page.evaluate(PAINTED)  # it listens from then on
    page.evaluate(GIVE, [sent, paste])
    page.locator(".order").wait_for()


def test_a_first_visit_says_what_to_do(open_page: OpenPage) -> None:
    nothing = {"data": [], "has_more": False, "next_cursor": None}
    page, phone = open_page("/keys"), open_page("/keys", dark=True, **PHONE)
    for each in (page, phone):
        each.route("**/v1/batches*", lambda route: route.fulfill(json=nothing))
        each.goto("/")
        each.get_by_role("heading", name="No batches yet").wait_for()
        each.get_by_text("Pictures for a web page").wait_for()
    assert axe_violations(page) == []
    shoot(page, "home-first")
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    shoot(phone, "home-first-phone")


def test_a_folder_of_twenty_photos_is_sent_in_two_clicks_and_its_results_taken(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    page = open_page("/")
    choose(page, photos, folder=True)
    assert page.get_by_text("20 files").is_visible()
    assert page.locator("input[name=preset]:checked").get_attribute("value") == "web"
    assert axe_violations(page) == []
    shoot(page, "home-order")
    start(page)

    batch = wait_ended(page, server)

    assert (batch["status"], batch["counts"]["completed"]) == ("completed", 20)
    assert (batch["name"], batch["pipeline"]["name"]) == ("holiday", "web")
    assert paths(server, batch)[-1] == "holiday/beach/19.jpg"
    assert axe_violations(page) == []
    shoot(page, "home-ended")
    page.get_by_role("link", name="holiday").click()
    page.get_by_text("Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="All results, as ZIP").click()
    with zipfile.ZipFile(download.value.path()) as results:
        assert len(results.namelist()) == 20


def test_dropped_pasted_and_chosen_files_go_together_and_none_twice(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    page = open_page("/")
    body = (photos / "00.jpg").read_bytes()
    drop(page, ("dropped.jpg", body))
    drop(page, ("pasted.jpg", body), paste=True)
    choose(page, photos / "02.jpg")
    choose(page, photos / "02.jpg")
    expect(page.locator("#order-title")).to_contain_text("3 files")
    start(page)

    assert paths(server, wait_ended(page, server)) == ["02.jpg", "dropped.jpg", "pasted.jpg"]


def test_a_zip_becomes_one_item_for_each_of_its_files(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("00.jpg", "02.jpg", "04.jpg"):
            archive.write(photos / name, f"in/{name}")
    page = open_page("/")
    drop(page, ("photos.zip", packed.getvalue()))
    start(page)

    assert paths(server, wait_ended(page, server)) == ["in/00.jpg", "in/02.jpg", "in/04.jpg"]


def test_options_are_those_of_the_schema_and_only_changed_ones_are_sent(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    page = open_page("/")
    choose(page, photos / "00.jpg")
    page.get_by_role("radio", name="compress").check()
    page.get_by_role("radio", name="web Pictures").check()
    page.get_by_text("Options", exact=True).click()
    width = page.get_by_label("Width (px)")
    assert (width.input_value(), width.get_attribute("max")) == ("1024", "30000")
    width.fill("100")
    page.get_by_label("Format", exact=True).select_option("png")
    page.get_by_label("Enlarge").check()
    page.get_by_label("Name of the batch").fill("By hand")
    assert axe_violations(page) == []
    shoot(page, "home-options")
    start(page)

    batch = wait_ended(page, server)

    resize, convert = batch["pipeline"]["steps"]
    assert (resize["with"]["width"], resize["with"]["enlarge"]) == (100, True)
    assert (convert["with"]["format"], convert["with"]["quality"]) == ("png", 80)
    assert batch["name"] == "By hand"


def test_a_number_out_of_range_is_not_sent(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    page = open_page("/")
    choose(page, photos / "00.jpg")
    page.get_by_text("Options", exact=True).click()
    quality = page.get_by_role("spinbutton", name="Quality")
    quality.fill("101")
    sent = "/v1/batches?limit=1000"
    before = server.client.get(sent).json()["data"]
    page.get_by_text("Options", exact=True).click()
    expect(quality).to_be_hidden()
    page.get_by_role("button", name="Start", exact=True).click()

    expect(quality).to_be_visible()
    assert quality.evaluate("field => field.validity.rangeOverflow")
    assert page.locator(".order").is_visible()
    assert server.client.get(sent).json()["data"] == before


def test_hostile_names_are_text(open_page: OpenPage, server: Process, photos: Path) -> None:
    page = open_page("/")
    page.on("dialog", lambda _: pytest.fail("a file name ran as code"))
    body = (photos / "00.jpg").read_bytes()
    drop(page, *((name, body) for name in HOSTILE), ("bad.jpg", b"no picture"))
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Name of the batch").fill(HOSTILE[0])
    start(page)

    batch = wait_ended(page, server)

    assert page.get_by_text(HOSTILE[0]).first.is_visible()
    assert page.locator(".home img").count() == 0
    assert batch["counts"]["total"] == len(HOSTILE) + 1
    page.get_by_role("heading", name="What failed lately").wait_for()
    assert axe_violations(page) == []


def test_a_batch_can_be_sent_again_with_the_pipeline_of_another(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    pipeline = {"steps": [{"use": "resize", "with": {"width": 50}}, {"use": "convert"}]}
    like = send(server, [("a.jpg", (photos / "00.jpg").read_bytes())], pipeline)
    page = open_page(f"/?like={like}")
    choose(page, photos / "02.jpg")
    page.get_by_text("As that batch").wait_for()
    start(page)

    batch = wait_ended(page, server)

    assert batch["id"] != like
    assert batch["pipeline"]["steps"][0]["with"]["width"] == 50


def test_tiles_and_running_batches_are_live(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    page = open_page("/keys")
    page.clock.install()
    page.goto("/")
    page.locator(".tile").first.wait_for()
    body = (photos / "00.jpg").read_bytes()
    send(server, [(f"{n}.jpg", body) for n in range(10)], name="from elsewhere")
    page.clock.fast_forward(LOOK_MS)

    page.get_by_text("from elsewhere").wait_for()
    expect(page.locator(".tile", has_text="Workers")).to_contain_text("1 (")
    expect(page.locator(".tile", has_text="Free space")).to_contain_text("GB")
    expect(page.locator(".tile", has_text="Files in 24 h").locator("dd")).not_to_have_text("–")


def throttled(page: Page, bytes_per_second: int) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": bytes_per_second == 0,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": bytes_per_second or -1,
        },
    )


SLOW = 400_000
"""Bytes a second at which `large` takes ten seconds."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A photo that takes a while on a slow line."""
    path = tmp_path / "large.png"
    path.write_bytes(scene(1400, 1100, seed=3).pngsave_buffer(compression=0))
    return path


@pytest.mark.long
def test_an_upload_goes_on_after_the_server_was_killed(
    open_page: OpenPage, tmp_path: Path, large: Path
) -> None:
    page = open_page("/")
    with serving(tmp_path / "data") as first:
        address = first.client.base_url
        page.goto(str(address))
        choose(page, large)
        throttled(page, SLOW)
        start(page)
        expect(page.locator(".sending")).to_contain_text("kB/s")
        wait_arriving(first)
        first.kill()
        page.get_by_text("Nothing is lost: it goes on by itself.").wait_for()
        page.get_by_role("button", name="Close").click()
        shoot(page, "home-offline")
        (arrived,) = open_uploads(first)
    assert 0 < arrived < large.stat().st_size
    throttled(page, 50_000_000)
    with serving(tmp_path / "data", "--port", str(address.port)) as second:
        batch = wait_ended(page, second)
        assert batch["counts"]["completed"] == batch["counts"]["total"] == 1
        assert open_uploads(second) == []


def open_uploads(server: Process) -> list[int]:
    """Return the sizes of the files that grow on the server."""
    return [path.stat().st_size for path in (server.data_dir / "uploads").glob("upl_*")]


def wait_arriving(server: Process) -> None:
    """Wait until a part of a file is on the server's disk: it writes whole MiB."""
    until(lambda: any(open_uploads(server)))


@pytest.mark.long
def test_an_upload_goes_on_after_a_reload_when_its_files_are_chosen_again(
    open_page: OpenPage, server: Process, large: Path, photos: Path
) -> None:
    page = open_page("/")
    page.on("dialog", lambda dialog: dialog.accept())
    choose(page, large, photos / "00.jpg")
    throttled(page, SLOW)
    start(page)
    expect(page.locator(".sending")).to_contain_text("kB/s")
    wait_arriving(server)
    page.get_by_role("link", name="Queue").click()
    page.get_by_role("complementary", name="Sending").get_by_role("link").click()
    page.get_by_role("button", name="Pause").click()
    arrived = max(open_uploads(server))
    throttled(page, 50_000_000)
    page.reload()
    page.get_by_text("had not arrived when this page was closed").wait_for()
    assert axe_violations(page) == []
    shoot(page, "home-reloaded")
    again = page.locator(".again input[type=file]")
    again.set_input_files(photos / "02.jpg")
    page.get_by_text("None of these is one of the missing files").wait_for()
    starts = []
    page.on("request", lambda request: starts.append(request.headers.get("upload-offset", "")))
    again.set_input_files([large, photos / "00.jpg"])

    batch = wait_ended(page, server)

    assert batch["counts"]["completed"] == batch["counts"]["total"] == 2
    assert any(offset.isdecimal() and int(offset) >= arrived > 0 for offset in starts)
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('sending'))") == []


@pytest.mark.long
def test_sending_can_be_stopped_and_what_has_arrived_is_processed(
    open_page: OpenPage, server: Process, large: Path, photos: Path
) -> None:
    page = open_page("/")
    choose(page, photos / "00.jpg", large)
    throttled(page, SLOW)
    start(page)
    expect(page.locator(".sending")).to_contain_text("1 of 2 files sent")
    page.get_by_role("button", name="Stop sending").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop sending").click()

    batch = wait_ended(page, server)

    assert (batch["status"], batch["counts"]["total"], batch["open"]) == ("completed", 1, False)
    until(lambda: not open_uploads(server))


def test_a_file_that_the_server_refuses_says_why_and_the_others_go_on(
    open_page: OpenPage, server: Process, photos: Path
) -> None:
    page = open_page("/")

    def refuse(route: Route) -> None:
        if "aHVnZS5qcGc=" in (route.request.headers.get("upload-metadata") or ""):
            told = {"detail": "huge.jpg is larger than the limit of 50 MB.", "code": "too_large"}
            route.fulfill(status=413, body=json.dumps(told), content_type="application/json")
        else:
            route.continue_()

    page.route("**/v1/uploads", refuse)
    body = (photos / "00.jpg").read_bytes()
    drop(page, ("huge.jpg", body + b"x"), ("fine.jpg", body))
    start(page)
    page.get_by_text("larger than the limit of 50 MB").wait_for()
    assert axe_violations(page) == []
    shoot(page, "home-refused")
    page.unroute("**/v1/uploads")
    page.get_by_role("button", name="Try again").click()

    assert wait_ended(page, server)["counts"]["total"] == 2


@pytest.mark.long
def test_while_the_server_is_away_the_browser_offers_what_it_can_do(
    open_page: OpenPage, tmp_path: Path, photos: Path
) -> None:
    page = open_page("/")
    with serving(tmp_path / "data") as first:
        page.goto(str(first.client.base_url))
        choose(page, photos / "00.jpg")
        first.kill()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("The server is away.").wait_for()
    page.get_by_role("button", name="Do it in this browser").click()
    page.get_by_text("Done in this browser").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="00.webp").click()

    assert Path(download.value.path()).read_bytes()[8:12] == b"WEBP"
    assert axe_violations(page) == []
    shoot(page, "home-browser")
