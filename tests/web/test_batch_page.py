"""The batch page, by mouse, keyboard and screen reader, against a server that really works."""

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from support.browser import PHONE, OpenPage, axe_violations, look, send, shoot, wait_ended
from support.pictures import scene
from support.portraits import Head, photo
from support.processes import Process

HOSTILE = "<img src=x onerror=document.title='run'>.jpg"
GOOD, BAD = 14, 5


def picture(seed: int) -> bytes:
    return scene(400, 300, seed=seed).jpegsave_buffer(Q=90)


@pytest.fixture(scope="module")
def files() -> list[tuple[str, bytes]]:
    """Pictures, a name that attacks, and files that fail for three different causes."""
    pictures = [(f"summer/photo {n:02}.jpg", picture(n)) for n in range(GOOD - 1)]
    broken = [("cut.jpg", pictures[0][1][:-2_000]), ("empty.png", b"")]
    texts = [(f"notes {n}.jpg", b"no picture") for n in range(3)]
    return [*pictures, (HOSTILE, picture(99)), *broken, *texts]


@pytest.fixture(scope="module")
def batch_id(server: Process, files: list[tuple[str, bytes]]) -> str:
    """A batch that has ended, for tests that only look."""
    batch_id = send(server, files, name="Summer fair")
    wait_ended(server, batch_id)
    return batch_id


@pytest.fixture
def page(open_page: OpenPage, batch_id: str) -> Page:
    page = open_page(f"/batches/{batch_id}")
    row(page, 0).wait_for()
    return page


def row(page: Page, number: int) -> Locator:
    return page.locator(f"#row-{number}")


def names(page: Page) -> list[str]:
    return page.locator(".canvas .cell-name bdi").all_inner_texts()


def test_a_batch_is_watched_to_its_end_without_a_reload(
    server: Process, open_page: OpenPage, files: list[tuple[str, bytes]]
) -> None:
    batch_id = send(server, files, name="Watched", concurrency=1)
    server.client.post(f"/v1/batches/{batch_id}/pause")
    page = open_page(f"/batches/{batch_id}")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page).to_have_title(re.compile(r"^[\d.]+ % · Watched – batchmill$"))
    server.client.post(f"/v1/batches/{batch_id}/resume")
    shoot(page, "batch-running")
    expect(page.locator(".percent")).to_have_text("100 %")
    expect(page).to_have_title("Watched – batchmill")
    expect(page.get_by_role("button", name=f"Done {GOOD}")).to_be_visible()
    expect(page.get_by_role("button", name=f"Failed {BAD}", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name=f"Retry failed ({BAD})")).to_be_visible()
    expect(page.locator(".side .failure")).to_have_count(3)


def test_it_all_fits_on_a_small_laptop(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollHeight") == 800
    for text in ("Pipeline", "Owner", "Speed", "Took", "What failed", "Download"):
        assert page.get_by_text(text, exact=True).first.is_visible(), text
    shoot(page, "batch-done")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_wrong_with_any_part(
    open_page: OpenPage, batch_id: str, dark: bool
) -> None:
    page = open_page(f"/batches/{batch_id}", dark=dark)
    row(page, GOOD).click()
    page.get_by_role("button", name="Try this file again").wait_for()
    assert axe_violations(page) == []
    page.get_by_role("grid").press("Home")
    page.locator(".compare").wait_for()
    shoot(page, f"batch-item-{'dark' if dark else 'light'}")
    assert axe_violations(page, ".item-panel") == []
    for tab in ("Data", "Details"):
        page.get_by_role("tab", name=tab).click()
        assert axe_violations(page, ".item-panel") == []
    page.keyboard.press("Escape")
    page.get_by_text("Download", exact=True).click()
    assert axe_violations(page) == []


def test_parts_of_the_bar_are_filters(page: Page) -> None:
    chip = page.get_by_role("button", name=f"Failed {BAD}")
    chip.click()
    expect(page.locator(".canvas .row")).to_have_count(BAD)
    expect(chip).to_have_attribute("aria-pressed", "true")
    chip.click()
    expect(page.locator(".canvas .row").nth(BAD)).to_be_visible()
    page.locator(".segment.failed").click()
    expect(page.locator(".canvas .row")).to_have_count(BAD)


def test_a_cause_of_failure_is_a_filter(page: Page) -> None:
    group = page.locator(".failure", has_text="3 The file is text/plain")
    expect(group).to_contain_text("Convert the file to a supported type")
    group.get_by_role("button", name="Show the files").click()
    expect(page.locator(".canvas .row")).to_have_count(3)
    assert sorted(names(page)) == ["notes 0.jpg", "notes 1.jpg", "notes 2.jpg"]


def test_files_are_found_by_the_start_of_their_name(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("summer/photo 1")
    expect(page.locator(".canvas .row")).to_have_count(3)
    page.get_by_role("searchbox").fill("nothing like it")
    expect(page.get_by_role("heading", name="No file matches")).to_be_visible()
    page.get_by_role("button", name="Show all").first.click()
    row(page, 3).wait_for()
    assert page.get_by_role("searchbox").input_value() == ""


def test_hostile_names_are_text(page: Page) -> None:
    row(page, GOOD - 1).click()
    expect(page.locator(".item-panel h2")).to_have_text(HOSTILE)
    assert page.locator(".items img[src=x], .side img[src=x]").count() == 0
    assert page.title() == "Summer fair – batchmill"


def test_the_keyboard_alone_does(page: Page) -> None:
    page.get_by_role("grid").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    assert page.get_by_role("grid").get_attribute("aria-activedescendant") == "row-1"
    page.keyboard.press("Enter")
    heading = page.locator(".item-panel h2")
    expect(heading).to_have_text("photo 01.jpg")
    expect(heading).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(heading).to_have_text("photo 02.jpg")
    page.get_by_role("grid").press("End")
    expect(heading).to_have_text("notes 2.jpg")
    page.keyboard.press("Escape")
    expect(heading).to_have_count(0)
    assert page.evaluate("document.activeElement.className") == "grid"


def test_before_and_after_lie_over_each_other(page: Page) -> None:
    row(page, 2).click()
    page.locator(".compare").wait_for()
    pictures = page.locator(".compare img")
    for number in range(2):
        element = pictures.nth(number).element_handle()
        page.wait_for_function("image => image.naturalWidth > 0", arg=element)
    clip = "getComputedStyle(document.querySelector('.compare .over')).clipPath"
    assert page.evaluate(clip) == "inset(0px 50% 0px 0px)"
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    assert page.evaluate(clip) == "inset(0px 0% 0px 0px)"


def test_a_failure_says_what_to_do_and_can_be_tried_again(
    server: Process, open_page: OpenPage
) -> None:
    batch_id = send(server, [("a.jpg", b"no picture"), ("b.jpg", b"neither")])
    wait_ended(server, batch_id)
    page = open_page(f"/batches/{batch_id}")
    row(page, 0).click()
    panel = page.locator(".item-panel")
    expect(panel).to_contain_text("a.jpg is text/plain; resize takes images")
    expect(panel).to_contain_text("Convert the file to a supported type")
    page.get_by_role("button", name="Try this file again").click()
    expect(page.get_by_text("1 file will be tried again.")).to_be_visible()
    assert wait_ended(server, batch_id)["run"] == 2
    page.keyboard.press("Escape")
    for name in ("Retry 2 files", "Retry failed (2)"):
        button = page.get_by_role("button", name=name)
        button.click()
        expect(page.get_by_text("2 files will be tried again.").last).to_be_visible()
        wait_ended(server, batch_id)
        expect(button).to_be_enabled()
    assert look(server, batch_id)["run"] == 4


def test_results_and_reports_can_be_taken(page: Page) -> None:
    found = {}
    for text in ("All results, as ZIP", "Report, as CSV", "Report, as JSON lines"):
        page.get_by_text("Download", exact=True).click()
        with page.expect_download() as download:
            page.get_by_text(text).click()
        found[text] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.startswith("Summer fair.")
    archive, csv, lines = found.values()
    assert len(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == GOOD
    assert csv.count(b"\n") > GOOD + BAD
    assert {json.loads(line)["status"] for line in lines.splitlines()} == {"completed", "failed"}


def test_faces_are_drawn_on_the_picture(server: Process, open_page: OpenPage) -> None:
    people = photo(800, 600, Head(250, 320, 110), Head(570, 320, 90))
    batch_id = send(server, [("pair.png", people.pngsave_buffer())], "face-crop")
    wait_ended(server, batch_id)
    page = open_page(f"/batches/{batch_id}")
    row(page, 0).click()
    expect(page.locator("svg.faces rect")).to_have_count(2)
    shoot(page, "batch-faces")
    box = page.locator("svg.faces rect").first.bounding_box()
    image = page.locator(".picture img").first.bounding_box()
    assert box is not None
    assert image is not None
    assert image["x"] < box["x"] < image["x"] + image["width"] / 2
    page.get_by_role("tab", name="Data").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("2 faces")


def test_tables_of_documents_are_shown(server: Process, open_page: OpenPage) -> None:
    table = b"name,price\n<b>tea</b>,2.5\ncoffee,3\n"
    batch_id = send(server, [("prices.csv", table)], "analyze")
    wait_ended(server, batch_id)
    page = open_page(f"/batches/{batch_id}")
    row(page, 0).click()
    page.get_by_role("tab", name="Data").click()
    expect(page.get_by_role("cell", name="decimal")).to_be_visible()
    page.locator("summary", has_text="First rows").click()
    expect(page.get_by_text("<b>tea</b>", exact=True)).to_be_visible()
    shoot(page, "batch-document")


def test_an_absent_batch_is_said_to_be_absent(open_page: OpenPage) -> None:
    page = open_page("/batches/bat_none")

    expect(page.get_by_role("heading", name="There is no such batch")).to_be_visible()


def test_a_phone_shows_it_all_in_one_column(open_page: OpenPage, batch_id: str) -> None:
    page = open_page(f"/batches/{batch_id}", **PHONE)
    row(page, 2).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    shoot(page, "batch-phone")
    row(page, 2).click()
    panel = page.locator(".item-panel").bounding_box()
    assert panel is not None
    assert (panel["width"], panel["height"]) == (PHONE["width"], PHONE["height"])
    page.locator(".compare").wait_for()
    shoot(page, "batch-phone-item")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".item-panel")).to_have_count(0)
