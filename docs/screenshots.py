"""Renew the pictures of the web page in docs/images: `python docs/screenshots.py FOLDER_OF_PHOTOS`.

Needs Debian's chromium and the built page. The photos are those of `make build/photos`, which two
packages ship; every picture is looked at before it is committed.
"""

import io
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import ARGUMENTS, DESKTOP, PHONE, send, wait_ended  # noqa: E402
from support.processes import Process, serving  # noqa: E402

IMAGES = ROOT / "docs" / "images"
COPIES = 6
"""How often each photo is sent, so that there is something to scroll."""
COLOURS = 256
"""Enough for photos this small, in a file of a third of the size."""


def main(folder: Path) -> None:
    """Send the photos, look at the batch in both colours and sizes, and leave the pictures."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Path(scratch) / "data") as server,
        sync_playwright() as playwright,
    ):
        path = "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        for name, page in shots(server, browser, folder):
            page.wait_for_timeout(1_000)  # pictures of rows come when scrolling rests
            save(page.screenshot(), IMAGES / f"page-{name}.png")
            page.context.close()
        browser.close()


def shots(server: Process, browser: Browser, folder: Path) -> Iterator[tuple[str, Page]]:
    """Yield pages as they are to be shown."""
    running = send(server, photos(folder, COPIES * 8), name="Summer fair")
    page = opened(server, browser, running)
    page.wait_for_timeout(15_000)  # for a line of speed
    yield "running", page
    done = send(server, [*photos(folder, COPIES), *broken(folder)], name="Autumn catalogue")
    wait_ended(server, done)
    yield "failures", opened(server, browser, done)
    for name, dark in (("item", False), ("item-dark", True)):
        page = opened(server, browser, done, dark=dark)
        page.locator("#row-1").click()
        page.locator(".compare").wait_for()
        yield name, page
    page = opened(server, browser, done, phone=True)
    yield "phone", page
    people = [(path.name, path.read_bytes()) for path in folder.glob("astronaut*")]
    faces = send(server, people, "face-crop", name="Staff")
    wait_ended(server, faces)
    page = opened(server, browser, faces)
    page.locator("#row-0").click()
    page.locator("svg.faces").wait_for()
    yield "faces", page


def opened(
    server: Process, browser: Browser, batch_id: str, *, dark: bool = False, phone: bool = False
) -> Page:
    """Open a batch's page and wait for its first row."""
    context = browser.new_context(
        base_url=str(server.client.base_url),
        viewport=PHONE if phone else DESKTOP,
        color_scheme="dark" if dark else "light",
    )
    page = context.new_page()
    page.goto(f"/batches/{batch_id}")
    page.locator("#row-0 .cell-status").wait_for()
    return page


def photos(folder: Path, copies: int) -> list[tuple[str, bytes]]:
    """Return every photo several times, in folders of its own, as one archive."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for number in range(copies):
            for path in sorted(folder.iterdir()):
                archive.write(path, f"stand {number + 1}/{path.name}")
    return [("photos.zip", held.getvalue())]


def broken(folder: Path) -> list[tuple[str, bytes]]:
    """Return files that fail, each in the way that people meet."""
    whole = (folder / "coffee.png").read_bytes()
    return [
        ("stand 7/coffee.png", whole[: len(whole) // 2]),
        ("stand 7/prices.txt", b"coffee 2.50"),
        ("stand 7/notes.txt", b"call the printer"),
        ("stand 7/empty.jpg", b""),
    ]


def save(shot: bytes, path: Path) -> None:
    """Write a picture with few colours."""
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
