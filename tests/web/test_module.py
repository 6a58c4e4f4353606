"""`batchmill.js` on a page of another origin: over the server, and in the browser without it."""

import base64
import functools
import hashlib
import json
import re
import shutil
import socket
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pyvips
from playwright.sync_api import Browser, FilePayload, Page

from batchmill.web.page import STATIC
from support.pictures import scene
from support.processes import Process, serving

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "browser.html"
PRESETS = ROOT / "src/batchmill/operations/presets"
MODULE = """async ([settings, order, files]) => {
  const { Batchmill } = await import('./batchmill.js')
  const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0))
  const sent = files.map(([name, text, type]) => new File([bytes(text)], name, { type }))
  const told = []
  const onProgress = (each) => told.push(each)
  try {
    const done = await new Batchmill(settings).process(sent, { ...order, onProgress })
    for (const item of done.items) {
      for (const output of item.outputs) {
        const body = new Uint8Array(await (await output.blob()).arrayBuffer())
        output.head = String.fromCharCode(...body.slice(0, 16))
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', body))
        output.sha256 = Array.from(digest, (each) => each.toString(16).padStart(2, '0')).join('')
        delete output.blob
      }
    }
    return { ...done, told }
  } catch (error) {
    return { code: error.code, message: error.message, told }
  }
}"""

CALLED_OFF = """async (server) => {
  const { Batchmill } = await import('./batchmill.js')
  const order = { pipeline: 'web', signal: AbortSignal.abort() }
  const files = [new File(['x'], 'a.jpg')]
  return new Batchmill({ server }).process(files, order).catch((error) => error.name)
}"""


@dataclass
class Site:
    """Somebody's own pages, with a copy of the module, on an origin of their own."""

    url: str
    folder: Path


@contextmanager
def hosting(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(EXAMPLE, folder)
    shutil.copy(STATIC / "batchmill.js", folder)
    with hosting(folder) as url:
        yield Site(url, folder)


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("server") / "data"
    with serving(data, BATCHMILL_CORS_ORIGINS=site.url) as server:
        yield server


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{site.url}/browser.html")
    yield page
    context.close()


def call(
    page: Page, settings: dict[str, Any], order: dict[str, Any], *files: tuple[str, bytes, str]
) -> Any:
    """Process files with the module on a page; return what came out, or the error's code."""
    sent = [[name, base64.b64encode(body).decode(), kind] for name, body, kind in files]
    return page.evaluate(MODULE, [settings, order, sent])


def photo(number: int = 0, width: int = 1100, height: int = 825) -> tuple[str, bytes, str]:
    body = scene(width, height, seed=number).jpegsave_buffer(Q=90)
    return f"{number}.jpg", body, "image/jpeg"


def nowhere() -> str:
    """An address at which nothing listens, and nothing will: it is held."""
    return f"http://127.0.0.1:{_held().getsockname()[1]}"


@cache
def _held() -> socket.socket:
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


def test_the_server_does_the_work_and_says_how_far_it_is(page: Page, server: Process) -> None:
    settings = {"server": str(server.client.base_url)}
    done = call(page, settings, {"pipeline": "web"}, photo(1), ("no.jpg", b"no", "image/jpeg"))

    good, bad = done["items"]
    assert (done["via"], done["reason"]) == ("server", None)
    assert (good["status"], bad["status"]) == ("completed", "failed")
    assert bad["error"]["code"] == "unsupported_type"
    (output,) = good["outputs"]
    assert (output["name"], output["width"], output["height"]) == ("1.webp", 1024, 768)
    items = server.client.get(f"/v1/batches/{done['batchId']}/items").json()["data"]
    assert items[0]["outputs"][0]["sha256"] == output["sha256"]
    for phase in ("sending", "processing"):
        percents = [each["percent"] for each in done["told"] if each["phase"] == phase]
        assert percents == sorted(percents)
        assert percents[-1] == 100


def test_many_files_go_in_several_requests_of_one_batch(page: Page, server: Process) -> None:
    settings = {"server": str(server.client.base_url)}
    files = [photo(number, 160, 120) for number in range(60)]

    done = call(page, settings, {"pipeline": "web"}, *files)

    assert [item["name"] for item in done["items"]] == [name for name, _, _ in files]
    batch = server.client.get(f"/v1/batches/{done['batchId']}").json()
    assert (batch["status"], batch["counts"]["completed"]) == ("completed", 60)


def test_where_events_do_not_get_through_the_module_asks(page: Page, server: Process) -> None:
    page.route("**/events", lambda route: route.abort())
    settings = {"server": str(server.client.base_url), "pollMs": 50}

    done = call(page, settings, {"pipeline": "web"}, photo(2))

    assert (done["via"], done["items"][0]["status"]) == ("server", "completed")


def test_a_key_is_sent_with_every_request(page: Page, server: Process) -> None:
    made = server.client.post("/v1/keys", json={"name": "page", "owner": "page"}).json()
    settings = {"server": str(server.client.base_url), "apiKey": made["secret"]}

    done = call(page, settings, {"pipeline": "web"}, photo(3, 200, 100))

    assert done["items"][0]["status"] == "completed"
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert server.client.get(f"/v1/batches/{done['batchId']}", headers=headers).is_success
    assert server.client.get(f"/v1/batches/{done['batchId']}").status_code == 404


def test_what_the_server_refuses_is_not_done_elsewhere(page: Page, server: Process) -> None:
    settings = {"server": str(server.client.base_url)}
    refused = call(page, settings, {"pipeline": "wev"}, photo())

    assert refused["code"] == "unknown_name"
    assert "Did you mean 'web'?" in refused["message"]


def test_without_a_server_the_browser_does_it_and_says_so(page: Page) -> None:
    done = call(page, {"server": nowhere()}, {"pipeline": "web"}, photo(4), ("x.jpg", b"x", ""))

    good, bad = done["items"]
    assert (done["via"], done["reason"]) == ("browser", "The server does not answer.")
    assert good["outputs"][0]["head"][8:12] == "WEBP"
    assert (good["outputs"][0]["width"], good["outputs"][0]["height"]) == (1024, 768)
    assert (bad["status"], bad["error"]["code"]) == ("failed", "browser_cannot")
    assert [each["percent"] for each in done["told"]] == [50, 100]


@pytest.mark.parametrize("refuse", [503, 507, 429])
def test_a_server_that_takes_nothing_now_counts_as_away(
    page: Page, server: Process, refuse: int
) -> None:
    told = {"detail": "Full.", "code": "x"}
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route(
        "**/v1/batches", lambda route: route.fulfill(status=refuse, json=told, headers=headers)
    )
    settings = {"server": str(server.client.base_url)}

    done = call(page, settings, {"pipeline": "compress"}, photo(5, 300, 200))

    assert (done["via"], done["reason"]) == ("browser", "Full.")


def test_a_batch_that_was_sent_by_half_is_cancelled_there(page: Page, server: Process) -> None:
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route("**/items", lambda route: route.fulfill(status=507, headers=headers))
    files = [photo(number, 80, 60) for number in range(51)]

    done = call(page, {"server": str(server.client.base_url)}, {"pipeline": "web"}, *files)

    assert (done["via"], len(done["items"])) == ("browser", 51)
    half = newest_batch(server)
    while half["status"] == "cancelling":  # until what was at work has stopped
        half = newest_batch(server)
    assert (half["counts"]["total"], half["status"]) == (50, "cancelled")


def newest_batch(server: Process) -> Any:
    return server.client.get("/v1/batches?limit=1").json()["data"][0]


def test_an_outage_while_results_are_collected_names_the_batch_that_has_them(
    page: Page, server: Process
) -> None:
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route("**/items?limit=*", lambda route: route.fulfill(status=503, headers=headers))

    settings = {"server": str(server.client.base_url)}
    done = call(page, settings, {"pipeline": "web"}, photo(9, 80, 60))

    newest = newest_batch(server)["id"]
    assert (done["via"], newest in done["reason"]) == ("browser", True)


def test_what_was_called_off_before_it_began_is_not_sent(page: Page, server: Process) -> None:
    asked = []
    page.on("request", lambda request: asked.append(request.method))

    said = page.evaluate(CALLED_OFF, str(server.client.base_url))

    assert (said, "POST" in asked) == ("AbortError", False)


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("face-crop", "`face-crop`"),
        ({"steps": [{"use": "analyze"}]}, "`analyze`"),
        ({"steps": [{"use": "convert", "with": {"format": "avif"}}]}, "write avif"),
        ({"steps": [{"use": "resize", "with": {"trim": True}}]}, "`trim`"),
    ],
    ids=str,
)
def test_what_a_browser_cannot_do_is_said_and_not_done_half(
    page: Page, pipeline: str | dict[str, Any], said: str
) -> None:
    refused = call(page, {"server": nowhere()}, {"pipeline": pipeline}, photo())

    assert refused["code"] == "server_unreachable"
    assert said in refused["message"]


def test_without_fallback_an_absent_server_is_an_error(page: Page) -> None:
    settings = {"server": nowhere(), "fallback": "none"}
    assert call(page, settings, {"pipeline": "web"}, photo())["code"] == "server_unreachable"


def test_a_browser_keeps_a_file_that_would_only_grow(page: Page) -> None:
    name, body, kind = photo(6, 64, 48)
    small = pyvips.Image.new_from_buffer(body, "").jpegsave_buffer(Q=10, strip=True)

    done = call(page, {"server": nowhere()}, {"pipeline": "compress"}, (name, small, kind))

    assert done["items"][0]["outputs"][0]["sha256"] == hashlib.sha256(small).hexdigest()


@pytest.mark.parametrize("fit", ["inside", "outside", "cover", "contain", "fill"])
def test_both_ways_give_pictures_of_the_same_size(page: Page, server: Process, fit: str) -> None:
    files = [photo(number, *size) for number, size in enumerate([(301, 200), (200, 301), (40, 30)])]
    steps = [
        {"use": "resize", "with": {"width": 120, "height": 77, "fit": fit}},
        {"use": "convert", "with": {"format": "png"}},
    ]
    sizes = [
        [(each["width"], each["height"]) for item in done["items"] for each in item["outputs"]]
        for done in (
            call(page, {"server": address}, {"pipeline": {"steps": steps}}, *files)
            for address in (str(server.client.base_url), nowhere())
        )
    ]
    assert len(sizes[0]) == len(files)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("name", ["web", "fast", "thumbnail", "compress"])
def test_the_browser_follows_presets_as_they_are_on_the_server(name: str) -> None:
    preset = tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))
    steps = [f"{{ use: '{step['use']}'{_with(step.get('with', {}))} }}" for step in preset["steps"]]
    source = (ROOT / "frontend/src/sdk/browser.ts").read_text(encoding="utf-8")
    found = re.search(rf"^  {name}: \[(.*?)\],$", source, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert re.sub(r"\s*\n\s*", " ", found[1]).strip(" ,") == ", ".join(steps)


def _with(options: dict[str, Any]) -> str:
    given = ", ".join(f"{name}: {json.dumps(value)}" for name, value in options.items())
    return f", with: {{ {given} }}".replace('"', "'") if options else ""


def test_the_example_says_who_did_it(page: Page, server: Process, site: Site) -> None:
    name, body, kind = photo(8)
    sent: FilePayload = {"name": name, "mimeType": kind, "buffer": body}
    for address, said in ((server.client.base_url, "Done by the server."), (nowhere(), "browser")):
        page.goto(f"{site.url}/browser.html?server={address}")
        page.locator("input").set_input_files([sent])
        page.get_by_text(said).wait_for()
        with page.expect_download() as download:
            page.get_by_role("link").click()
        assert download.value.suggested_filename == "8.webp"
        assert Path(download.value.path()).read_bytes()[8:12] == b"WEBP"


def test_the_server_sends_the_module_with_its_types_to_pages_it_knows(
    server: Process, site: Site
) -> None:
    sent = server.client.get("/batchmill.js", headers={"Origin": site.url})
    assert sent.headers["content-type"].startswith("text/javascript")
    assert sent.headers["access-control-allow-origin"] == site.url
    assert "Batchmill" in sent.text
    foreign = server.client.get("/batchmill.js", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers
    assert "class Batchmill" in server.client.get("/batchmill.d.ts").text
