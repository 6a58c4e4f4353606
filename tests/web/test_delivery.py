"""How the page comes to the browser: headers, encodings, and what is said when it is not built."""

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from batchmill.web.page import ADDRESSES, NOT_BUILT, routes
from support.processes import Process


@pytest.fixture
def built(tmp_path: Path) -> TestClient:
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "main-abc.js").write_text("plain")
    (assets / "main-abc.js.br").write_text("brotli")
    (assets / "main-abc.js.gz").write_text("gzip")
    (assets / "notes.txt").write_text("not for the page")
    (tmp_path / "secret.js").write_text("above")
    return TestClient(Starlette(routes=routes(tmp_path)))


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_gets_the_document_under_a_strict_policy(
    built: TestClient, address: str
) -> None:
    answer = built.get(address.replace("{batch_id}", "bat_1"))

    assert answer.status_code == 200
    assert answer.text == "<!doctype html><title>page</title>"
    assert answer.headers["cache-control"] == "no-cache"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("br;q=0.0", None),
        ("identity", None),
    ],
)
def test_a_file_comes_in_the_smallest_encoding_that_is_taken(
    built: TestClient, accepted: str, encoding: str | None
) -> None:
    headers = {"Accept-Encoding": accepted}
    with built.stream("GET", "/assets/main-abc.js", headers=headers) as answer:
        body = b"".join(answer.iter_raw())

    assert answer.headers.get("content-encoding") == encoding
    assert body == {"br": b"brotli", "gzip": b"gzip", None: b"plain"}[encoding]
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "name", ["notes.txt", "gone.js", "main-abc.js.br", "..%2fsecret.js", "%2e%2e/index.html"]
)
def test_no_other_file_can_be_had(built: TestClient, name: str) -> None:
    assert built.get(f"/assets/{name}").status_code == 404


def test_a_person_at_an_unknown_address_gets_the_page_that_says_so_and_a_program_does_not(
    built: TestClient,
) -> None:
    browser = built.get("/bathces/bat_1", headers={"Accept": "text/html,*/*;q=0.8"})

    assert (browser.status_code, browser.text) == (404, "<!doctype html><title>page</title>")
    assert "content-security-policy" in browser.headers
    assert "doctype" not in built.get("/bathces/bat_1").text
    assert built.post("/nothing", headers={"Accept": "text/html"}).status_code == 404


def test_a_page_that_is_not_built_says_what_to_do(tmp_path: Path) -> None:
    answer = TestClient(Starlette(routes=routes(tmp_path / "absent"))).get("/")

    assert (answer.status_code, answer.text) == (503, NOT_BUILT)


def test_the_server_sends_the_page_beside_the_api(server: Process) -> None:
    document = server.client.get("/batches/bat_1")
    asset = re.search(r'src="(/assets/[^"]+\.js)"', document.text)
    assert asset is not None

    assert document.headers["x-content-type-options"] == "nosniff"
    assert server.client.get(asset[1]).headers["content-type"].startswith("text/javascript")
    assert server.client.get("/docs").status_code == 200
    assert server.client.post("/").status_code == 405
    assert server.client.get("/nothing").json()["code"] == "unknown_path"
