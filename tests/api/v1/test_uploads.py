"""Resumable uploads: tus 1.0 as its clients speak it, and as nobody should."""

import hashlib
import os
import re
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient

from batchmill.storage import keys
from support import node
from support import server as servers
from support.server_contexts import a_day_later

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = "application/offset+octet-stream"
WITH_TUS_JS_CLIENT = """
import * as tus from 'tus-js-client'
const [, , endpoint, text] = process.argv
const bytes = Buffer.from(text.repeat(10_000))
const sent = (options) => new Promise((done, failed) => {
  const upload = new tus.Upload(bytes, {
    endpoint, retryDelays: [0, 50], metadata: { filename: 'é.txt' },
    onError: failed, onSuccess: () => done(upload), ...options(() => upload),
  })
  upload.start()
})
const whole = await sent(() => ({}))
const atOnce = await sent(() => ({ uploadDataDuringCreation: true, chunkSize: 70_000 }))
let stopped = false
const stop = (upload) => async (_, done) => {
  if (stopped || done < 100_000) return
  stopped = true
  await upload().abort()
  const resumed = new tus.Upload(bytes, { uploadUrl: upload().url, chunkSize: 50_000,
    onError: upload().options.onError, onSuccess: () => upload().options.onSuccess() })
  resumed.start()
}
const resumed = await sent((upload) => ({ chunkSize: 50_000, onChunkComplete: stop(upload) }))
const removed = await sent(() => ({}))
await removed.abort(true)
const gone = (await fetch(removed.url, { method: 'HEAD',
  headers: { 'Tus-Resumable': '1.0.0' } })).status
const urls = [whole, atOnce, resumed].map((each) => each.url)
console.log(JSON.stringify({ urls, stopped, gone }))
"""


def create(server: servers.Server, length: object, **headers: str) -> httpx.Response:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length), **more})


def begun(server: servers.Server, length: int, **headers: str) -> str:
    answer = create(server, length, **headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def send(
    server: servers.Server,
    url: str,
    body: bytes | Iterator[bytes],
    offset: object = 0,
    **headers: str,
) -> httpx.Response:
    told = {"Upload-Offset": str(offset), "Content-Type": BYTES}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.patch(url, content=body, headers={**TUS, **told, **more})


def arrived(server: servers.Server, url: str) -> int:
    answer = server.client.head(url, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def id_of(url: str) -> str:
    return url.rpartition("/")[2]


def processed(server: servers.Server, *urls: str, **more: Any) -> list[dict[str, Any]]:
    inputs = [{"upload_id": id_of(url), **more} for url in urls]
    answer = server.client.post("/v1/batches", json={"pipeline": "web", "inputs": inputs})
    assert answer.status_code == 202, answer.text
    batch_id = answer.json()["id"]
    server.wait(batch_id)
    return server.items(batch_id)


@pytest.fixture(scope="module")
def tus_js_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node.installed(tmp_path_factory.mktemp("node"), "tus-js-client@4.3.1")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A server with low limits."""
    tiers = {"anonymous": {"file_bytes": 100, "zip_bytes": 1_000, "open_uploads": 3}}
    folder = tmp_path_factory.mktemp("small")
    with servers.running(folder, tiers=tiers) as running:
        yield running


def test_a_file_sent_in_chunks_becomes_an_item(server: servers.Server, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(os.urandom(5_000))
    uploader = TusClient(f"{server.client.base_url}/v1/uploads").uploader(
        str(path), chunk_size=1_999, metadata={"filename": "holidays/a.txt"}, upload_checksum=True
    )
    uploader.upload()
    assert isinstance(uploader.url, str)

    (item,) = processed(server, uploader.url, custom_id="mine")

    assert item["input"]["path"] == "holidays/a.txt"
    assert item["input"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (item["custom_id"], item["status"]) == ("mine", "completed")
    assert server.client.head(uploader.url, headers=TUS).status_code == 404


def test_what_tus_js_client_sends_interrupts_and_removes_arrives(
    server: servers.Server, tus_js_client: Path
) -> None:
    endpoint = f"{server.client.base_url}/v1/uploads"
    found = node.run(tus_js_client, WITH_TUS_JS_CLIENT, endpoint, "0123456789")

    items = processed(server, *found["urls"])

    wanted = hashlib.sha256(b"0123456789" * 10_000).hexdigest()
    assert [item["input"]["sha256"] for item in items] == [wanted] * 3
    assert {item["input"]["path"] for item in items} == {"é.txt"}
    assert (found["stopped"], found["gone"]) == (True, 404)


def test_the_server_says_what_it_speaks(server: servers.Server) -> None:
    answer = server.client.options("/v1/uploads")

    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == (
        {"creation", "creation-with-upload", "termination", "checksum", "expiration"}
    )
    assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"
    assert int(answer.headers["tus-max-size"]) == 5 * 2**30


def test_an_upload_tells_how_far_it_is_and_when_it_ends(server: servers.Server) -> None:
    url = begun(server, 10, Upload_Metadata="filename YS50eHQ=,is_confidential")
    answer = send(server, url, b"1234")

    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "4")
    assert answer.headers["upload-expires"].endswith(" GMT")
    looked = server.client.head(url, headers=TUS).headers
    assert (looked["upload-offset"], looked["upload-length"]) == ("4", "10")
    assert looked["upload-metadata"] == "filename YS50eHQ=,is_confidential"


def test_bytes_can_come_with_the_first_request(server: servers.Server) -> None:
    answer = server.client.post(
        "/v1/uploads",
        content=b"all",
        headers={**TUS, "Upload-Length": "3", "Content-Type": BYTES},
    )

    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "3")
    (item,) = processed(server, answer.headers["location"], name="given.txt")
    assert (item["input"]["path"], item["input"]["bytes"]) == ("given.txt", 3)


def test_clients_that_can_only_post_say_what_they_mean(server: servers.Server) -> None:
    url = begun(server, 3)
    headers = {**TUS, "Upload-Offset": "0", "Content-Type": BYTES}
    sent = server.client.post(
        url, content=b"all", headers={**headers, "X-HTTP-Method-Override": "PATCH"}
    )
    assert (sent.status_code, sent.headers["upload-offset"]) == (204, "3")
    gone = server.client.post(url, headers={**TUS, "X-HTTP-Method-Override": "DELETE"})
    assert gone.status_code == 204
    assert server.client.post(url, headers=TUS).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "ten"}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "9" * 30}, 400),
        ({"Upload-Length": "\u0661"}, 400),
        ({"Upload-Defer-Length": "1"}, 400),
        ({"Upload-Length": "1", "Upload-Metadata": "filename not-base-64!"}, 400),
        ({"Upload-Length": "1", "Upload-Metadata": "filename " + "A" * 8_000}, 400),
        ({"Upload-Length": str(2**60)}, 413),
        ({"Upload-Length": "1", "Tus-Resumable": "0.2.2"}, 412),
    ],
    ids=str,
)
def test_an_upload_that_makes_no_sense_is_not_begun(
    server: servers.Server, headers: dict[str, str], status: int
) -> None:
    sent = {**TUS, **headers}
    answer = server.client.post(
        "/v1/uploads", headers=[(name.encode(), value.encode()) for name, value in sent.items()]
    )

    assert answer.status_code == status
    assert answer.json()["remedy"]
    assert answer.headers["tus-resumable"] == "1.0.0"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Offset": "3"}, 409, "upload_offset"),
        ({"Upload-Offset": "5"}, 409, "upload_offset"),
        ({"Upload-Offset": "x"}, 400, "malformed_request"),
        ({"Content-Type": "text/plain"}, 415, "wrong_media_type"),
        ({"Upload-Checksum": "md5 AAAA"}, 400, "malformed_request"),
        ({"Upload-Checksum": "sha1 AAA"}, 400, "malformed_request"),
        ({"Upload-Checksum": "sha1 AAAA"}, 460, "checksum_mismatch"),
        ({"Tus-Resumable": "2"}, 412, "upload_version"),
    ],
    ids=str,
)
def test_wrong_bytes_change_nothing(
    server: servers.Server, headers: dict[str, str], status: int, code: str
) -> None:
    url = begun(server, 10)
    send(server, url, b"1234")

    told = {**TUS, "Upload-Offset": "4", "Content-Type": BYTES, **headers}
    answer = server.client.patch(url, content=b"56", headers=told)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert arrived(server, url) == 4


def test_the_right_checksum_is_accepted(server: servers.Server) -> None:
    url = begun(server, 5)
    digest = b64encode(hashlib.sha256(b"hello").digest()).decode()
    assert send(server, url, b"hello", Upload_Checksum=f"sha256 {digest}").status_code == 204


def test_more_bytes_than_declared_are_refused(server: servers.Server) -> None:
    def streamed() -> Iterator[bytes]:
        yield b"1234"
        yield b"567"

    url = begun(server, 5)
    answer = send(server, url, streamed())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert arrived(server, url) in {0, 4}  # depending on how the pieces came together


def test_a_line_that_breaks_keeps_what_has_arrived(server: servers.Server) -> None:
    url = begun(server, 1_000_000)
    with _line(server, url, 1_000_000) as line:
        line.sendall(b"x" * 400_000)
    assert server.eventually(lambda: arrived(server, url) == 400_000)
    rest = b"y" * 600_000
    # Until the server has heard that the line is broken, somebody still sends.
    assert server.eventually(lambda: send(server, url, rest, 400_000).status_code != 423)
    assert arrived(server, url) == 1_000_000
    (item,) = processed(server, url)
    wanted = hashlib.sha256(b"x" * 400_000 + b"y" * 600_000).hexdigest()
    assert item["input"]["sha256"] == wanted


def test_a_second_sender_is_turned_away_while_the_first_one_sends(server: servers.Server) -> None:
    url = begun(server, 2_000_000)
    with _line(server, url, 2_000_000) as line:
        line.sendall(b"x" * 2**20)
        assert server.eventually(lambda: arrived(server, url) >= 2**20)
        answer = send(server, url, b"z", arrived(server, url))
    assert (answer.status_code, answer.json()["code"]) == (423, "upload_busy")


def test_a_silent_sender_is_told_so_and_nothing_is_lost(tmp_path: Path) -> None:
    with servers.running(tmp_path, body_timeout_s=2) as impatient:
        url = begun(impatient, 100)
        with _line(impatient, url, 100) as line:
            line.sendall(b"x" * 40)
            assert line.recv(1_000).startswith(b"HTTP/1.1 408")
        assert arrived(impatient, url) == 40


def test_limits_hold_before_and_while_bytes_arrive(small: servers.Server) -> None:
    assert create(small, 1_001).status_code == 413
    url = begun(small, 500)
    refused = send(small, url, b"x" * 50)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert arrived(small, url) == 0
    assert send(small, url, b"PK\3\4" + b"x" * 50).status_code == 204
    others = [begun(small, 1), begun(small, 1)]
    assert create(small, 1).status_code == 429
    for each in [url, *others]:
        assert small.client.delete(each, headers=TUS).status_code == 204


def test_a_full_disk_is_said_before_a_byte_is_sent(tmp_path: Path) -> None:
    with servers.running(tmp_path, disk_reserve_bytes=2**60) as full:
        answer = create(full, 1)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")


def test_a_running_server_removes_files_that_no_upload_has(tmp_path: Path) -> None:
    with servers.running(tmp_path, cleanup_interval_ms=1_000) as tidying:
        assert tidying.eventually((tmp_path / "uploads" / keys.IDENTITY).exists)
        url = begun(tidying, 1)
        left = tmp_path / "uploads" / "upl_left"
        left.touch()
        assert tidying.eventually(lambda: cleanup(tidying)["orphans"] == 1)
        assert left.exists()
        tidying.run(a_day_later(tidying.context))
        assert tidying.eventually(lambda: not left.exists())
        assert arrived(tidying, url) == 0


def cleanup(server: servers.Server) -> Any:
    return server.client.get("/v1/storage/cleanup").json()


def test_names_are_labels_and_never_paths(server: servers.Server) -> None:
    evil = b64encode("../../etc/\u202epasswd\n".encode()).decode()
    url = begun(server, 1, Upload_Metadata=f"relativePath {evil},filename YQ==")
    send(server, url, b"x")

    (item,) = processed(server, url)

    assert item["input"]["path"] == "etc/_passwd_"


@pytest.mark.parametrize("upload_id", ["upl_0", "..", "%2e%2e%2fbatchmill.sqlite3", "a/b"])
def test_an_unknown_id_is_not_found(server: servers.Server, upload_id: str) -> None:
    for method in ("HEAD", "PATCH", "DELETE"):
        headers = {**TUS, "Upload-Offset": "0", "Content-Type": BYTES}
        answer = server.client.request(method, f"/v1/uploads/{upload_id}", headers=headers)
        assert answer.status_code in {404, 405}


def test_a_repeated_request_for_a_batch_gets_the_first_answer(server: servers.Server) -> None:
    url = begun(server, 1)
    send(server, url, b"x")
    wanted = {"pipeline": "web", "inputs": [{"upload_id": id_of(url)}]}
    headers = {"Idempotency-Key": id_of(url)}

    first, again = (
        server.client.post("/v1/batches", json=wanted, headers=headers) for _ in range(2)
    )

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert server.client.post("/v1/batches", json=wanted).status_code == 404


def test_an_unfinished_upload_is_not_processed(server: servers.Server) -> None:
    url = begun(server, 5)
    send(server, url, b"123")
    wanted = {"pipeline": "web", "inputs": [{"upload_id": id_of(url)}]}

    answer = server.client.post("/v1/batches", json=wanted)

    assert (answer.status_code, answer.json()["code"]) == (409, "upload_unfinished")
    assert "3 of 5 bytes" in answer.json()["detail"]


def test_uploads_join_an_open_batch_beside_other_files(server: servers.Server) -> None:
    batch_id = server.send(b"first", keep_open=True)["id"]
    url = begun(server, 3)
    send(server, url, b"two")
    inputs = [{"data": "b25l", "name": "one"}, {"upload_id": id_of(url), "name": "two"}]

    added = server.client.post(f"/v1/batches/{batch_id}/items", json={"inputs": inputs})
    server.client.post(f"/v1/batches/{batch_id}/close")
    server.wait(batch_id)

    assert added.json()["added"] == 2
    assert [item["input"]["path"] for item in server.items(batch_id)][1:] == ["one", "two"]


def test_pages_of_other_origins_may_upload_where_the_settings_name_them(tmp_path: Path) -> None:
    page = {"Origin": "https://shop.example"}
    with servers.running(tmp_path, cors_origins=("https://shop.example",)) as open_server:
        asked = open_server.client.options(
            "/v1/uploads/upl_x",
            headers={**page, "Access-Control-Request-Method": "PATCH"}
            | {"Access-Control-Request-Headers": "tus-resumable,upload-offset"},
        )
        made = create(open_server, 1, **page)
    assert asked.status_code == 200
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    readable = made.headers["access-control-expose-headers"]
    assert {"Location", "Upload-Offset", "Tus-Resumable"} <= set(re.split(", ?", readable))


def _line(server: servers.Server, url: str, length: int) -> socket.socket:
    """Begin a PATCH by hand, so that it can be left in the middle."""
    base = server.client.base_url
    line = socket.create_connection((base.host, base.port), timeout=20)
    head = [f"PATCH {url} HTTP/1.1", f"Host: {base.host}:{base.port}", "Tus-Resumable: 1.0.0"]
    head += [f"Content-Type: {BYTES}", "Upload-Offset: 0", f"Content-Length: {length}"]
    line.sendall("\r\n".join([*head, "", ""]).encode())
    return line
