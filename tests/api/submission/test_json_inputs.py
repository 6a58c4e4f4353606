"""Inputs that a request names instead of sending them: addresses, and objects of the storage."""

import base64
import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from batchmill import logs
from batchmill.settings.fields import TierLimits, Tiers
from support import receiver as receivers
from support import whole_server
from support.folders import files_below
from support.pictures import scene
from support.receiver import Receiver, answer
from support.whole_server import WholeServer

LIMITS = TierLimits(file_bytes=1_000_000, zip_bytes=2_000_000, batch_bytes=3_000_000)
RAISE = ", or raise `file_bytes` (of an archive `zip_bytes`)"


@pytest.fixture(scope="module")
def picture() -> bytes:
    return scene(300, 200, seed=1).jpegsave_buffer(Q=90)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeServer]:
    settings: dict[str, Any] = {
        "outgoing_http": True,
        "outgoing_loopback": True,
        "json_bytes": 2_000_000,
        "input_prefixes": ("incoming", "batches", "results"),
        "tiers": Tiers(anonymous=LIMITS),
    }
    with whole_server.running(tmp_path_factory.mktemp("inputs"), **settings) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def put(server: WholeServer) -> Callable[[str, bytes], None]:
    """Lay an object into the storage, as another program would."""

    def put(key: str, body: bytes) -> None:
        path = server.context.settings.data_dir / "storage" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    return put


def submit(server: WholeServer, *inputs: dict[str, Any], **more: Any) -> httpx.Response:
    body = {"pipeline": "web", "inputs": list(inputs), **more}
    return server.client.post("/v1/batches", json=body)


def ended(server: WholeServer, answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the items of a batch once it has ended."""
    assert answer.status_code == 202, answer.text
    batch_id = answer.json()["id"]
    server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"])
    return server.client.get(f"/v1/batches/{batch_id}/items").json()["data"]


def left_behind(server: WholeServer) -> list[Path]:
    return files_below(server.context.uploads)


def test_an_input_is_fetched_from_its_address_before_the_answer(
    server: WholeServer, receiver: Receiver, picture: bytes
) -> None:
    receiver.behave = lambda guest: answer(guest, 200, picture)

    sent = submit(server, {"url": f"http://127.0.0.1:{receiver.port}/a/cat%20one.jpg?x=1"})

    assert [got.path for got in receiver.got] == ["/a/cat%20one.jpg?x=1"]
    receiver.stop()
    (item,) = ended(server, sent)
    assert item["status"] == "completed", item
    assert item["input"]["path"] == "cat one.jpg"
    assert item["input"]["bytes"] == len(picture)
    assert item["input"]["type"] == "image/jpeg"
    assert left_behind(server) == []


def test_one_address_that_fails_fails_its_item_alone(
    server: WholeServer,
    receiver: Receiver,
    picture: bytes,
    log_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    receiver.behave = lambda guest: answer(
        guest, 200 if receiver.got[-1].path == "/good.jpg" else 404, picture
    )
    here = f"http://127.0.0.1:{receiver.port}"

    items = ended(
        server,
        submit(
            server,
            {"url": f"{here}/gone.jpg?token=hidden", "custom_id": "first"},
            {"url": f"{here}/good.jpg", "name": "mine.jpg"},
            {"data": base64.b64encode(picture).decode(), "name": "sent.jpg"},
            {"url": "http://169.254.169.254/latest/meta-data/"},
        ),
    )

    assert [item["status"] for item in items] == ["failed", "completed", "completed", "failed"]
    assert [item["input"]["path"] for item in items][1:3] == ["mine.jpg", "sent.jpg"]
    errors = [item["error"] for item in items if item["error"]]
    assert {error["code"] for error in errors} == {"input_unfetched"}
    assert [error["message"] for error in errors] == [
        "gone.jpg could not be fetched: it answers 404; send it again",
        "169.254.169.254 could not be fetched: it does not lead to the public internet;"
        " send it again",
    ]
    assert items[0]["custom_id"] == "first"
    lines = [line for line in log_lines() if line["event"] == "input.unfetched"]
    assert len(lines) == 2
    assert "hidden" not in json.dumps(lines)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (lambda guest: answer(guest, 302, location="http://127.0.0.1/"), "it redirects"),
        (lambda guest: guest.close(), "the connection broke off"),
    ],
)
def test_a_server_that_misbehaves_is_named_in_the_items_error(
    server: WholeServer, receiver: Receiver, behave: receivers.Behave, reason: str
) -> None:
    assert reason in _why_unfetched(server, receiver, behave)


def test_a_server_that_keeps_silent_or_drips_is_given_up_in_time(
    tmp_path: Path, receiver: Receiver
) -> None:
    settings: dict[str, Any] = {
        "outgoing_http": True,
        "outgoing_loopback": True,
        "url_timeout_s": 0.5,
    }
    with whole_server.running(tmp_path, **settings) as impatient:
        for behave in (receivers.hang, receivers.drip):
            told = _why_unfetched(impatient, receiver, behave)
            assert "no whole answer within 0.5 s" in told


def test_files_over_the_limit_fail_with_their_sentence_and_the_others_go_on(
    server: WholeServer, receiver: Receiver, picture: bytes
) -> None:
    receiver.behave = receivers.flood
    large = base64.b64encode(bytes(1_000_001)).decode()
    good = base64.b64encode(picture).decode()

    items = ended(
        server,
        submit(
            server,
            {"name": "large.jpg", "custom_id": "first", "data": large},
            {"name": "good.jpg", "data": good},
            {"name": "flood.jpg", "url": receiver.url},
            {"name": "kept.jpg", "bytes": 1_000_001},
            {"name": "kept.zip", "bytes": 2_000_001},
        ),
    )

    assert [item["status"] for item in items] == ["failed", "completed", *["failed"] * 3]
    failures = [item["error"] for item in items if item["error"]]
    assert {(each["code"], each["retryable"]) for each in failures} == {("file_too_large", False)}
    assert [each["message"] for each in failures] == [
        f"large.jpg is larger than the limit of 1 MB; make it smaller{RAISE}",
        f"flood.jpg is larger than the limit of 1 MB; make it smaller{RAISE}",
        f"kept.jpg is larger than the limit of 1 MB; make it smaller{RAISE}",
        f"kept.zip is larger than the limit of 2 MB; make it smaller{RAISE}",
    ]
    assert items[0]["custom_id"] == "first"


def test_a_large_file_of_a_form_fails_and_the_others_go_on(
    server: WholeServer, picture: bytes
) -> None:
    files = [("files", ("large.jpg", bytes(1_000_001))), ("files", ("good.jpg", picture))]
    sent = server.client.post("/v1/batches", files=files, data={"pipeline": "web"})

    items = ended(server, sent)

    assert [item["status"] for item in items] == ["failed", "completed"]
    assert items[0]["error"]["code"] == "file_too_large"
    assert left_behind(server) == []


def test_a_plan_counts_files_over_the_limit(server: WholeServer, picture: bytes) -> None:
    files = [("files", ("large.jpg", bytes(1_000_001))), ("files", ("good.jpg", picture))]
    plan = server.client.post("/v1/plans", files=files, data={"pipeline": "web"}).json()

    assert plan["problems"] == ["1 file over the limit of 1 MB."]


@pytest.mark.parametrize(("name", "size"), [("a.jpg", 1_000_000), ("a.zip", 2_000_000)])
def test_a_file_within_the_limit_must_be_sent(server: WholeServer, name: str, size: int) -> None:
    answered = submit(server, {"name": name, "bytes": size})

    assert (answered.status_code, answered.json()["code"]) == (422, "invalid_field")
    assert "send the file" in answered.json()["detail"]


def _why_unfetched(server: WholeServer, receiver: Receiver, behave: receivers.Behave) -> str:
    receiver.behave = behave
    (item,) = ended(server, submit(server, {"url": receiver.url}))
    assert item["error"]["code"] == "input_unfetched"
    assert left_behind(server) == []
    return item["error"]["message"]


def test_inputs_that_are_too_much_together_are_refused_as_a_whole(
    server: WholeServer, receiver: Receiver
) -> None:
    receiver.behave = lambda guest: answer(guest, 200, bytes(900_000))

    answered = submit(server, *[{"url": receiver.url}] * 4)

    assert (answered.status_code, answered.json()["code"]) == (413, "too_large")
    assert left_behind(server) == []


def test_an_archive_has_the_limit_of_archives_and_becomes_its_entries(
    server: WholeServer, receiver: Receiver, picture: bytes
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("noise.bin", b"\x00" * 1_200_000)
        archive.writestr("a/cat.jpg", picture)
    receiver.behave = lambda guest: answer(guest, 200, packed.getvalue())

    items = ended(server, submit(server, {"url": receiver.url, "name": "all.zip"}))

    assert [(item["input"]["path"], item["status"]) for item in items][1:] == [
        ("a/cat.jpg", "completed")
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"url": "ftp://example.com/a.jpg"}, (422, "address_refused")),
        ({"url": "http://me:secret@example.com/a.jpg"}, (422, "address_refused")),
        ({"url": "https://example.com", "data": ""}, (422, "invalid_field")),
        ({}, (422, "invalid_field")),
        ({"object": "../batches/x"}, (422, "invalid_field")),
        ({"object": "/etc/passwd"}, (422, "invalid_field")),
        ({"object": "elsewhere/a.jpg"}, (403, "forbidden")),
        ({"object": "incoming"}, (403, "forbidden")),
        ({"object": "batches/bat_1/in/itm_1"}, (403, "forbidden")),
        ({"object": "results/batches/bat_1/out/itm_1.1/0"}, (403, "forbidden")),
    ],
)
def test_a_wrong_input_is_refused_and_nothing_is_fetched(
    server: WholeServer, receiver: Receiver, given: dict[str, Any], expected: tuple[int, str]
) -> None:
    answered = submit(server, {"url": receiver.url}, given)

    assert (answered.status_code, answered.json()["code"]) == expected, answered.text
    assert "inputs.1" in answered.json()["detail"]
    assert receiver.got == []


def test_an_object_of_an_allowed_folder_is_copied_and_left_as_it_was(
    server: WholeServer, put: Callable[[str, bytes], None], picture: bytes
) -> None:
    put("incoming/2026/cat.jpg", picture)
    stored = server.context.settings.data_dir / "storage" / "incoming/2026/cat.jpg"
    before = stored.stat()

    items = ended(
        server,
        submit(
            server,
            {"object": "incoming/2026/cat.jpg"},
            {"object": "incoming/2026"},
            {"object": "incoming/absent.jpg", "name": "mine.jpg"},
        ),
    )

    assert items[0]["status"] == "completed"
    assert items[0]["input"]["path"] == "cat.jpg"
    assert [item["error"]["code"] for item in items[1:]] == ["input_missing"] * 2
    assert "mine.jpg is not there" in items[2]["error"]["message"]
    after = stored.stat()
    assert (after.st_mode, after.st_nlink) == (before.st_mode, 1)
    assert stored.read_bytes() == picture


def test_files_from_addresses_join_an_open_batch(
    server: WholeServer, receiver: Receiver, picture: bytes
) -> None:
    receiver.behave = lambda guest: answer(guest, 200, picture)
    batch = submit(server, keep_open=True).json()

    more = {"inputs": [{"url": receiver.url, "name": "late.jpg"}]}
    added = server.client.post(f"/v1/batches/{batch['id']}/items", json=more)
    server.client.post(f"/v1/batches/{batch['id']}/close")

    assert added.json()["added"] == 1
    server.until(f"/v1/batches/{batch['id']}", lambda batch: batch["status"] == "completed")


def test_photos_are_fetched_for_the_dialect_that_names_their_addresses(
    server: WholeServer, receiver: Receiver
) -> None:
    receiver.behave = lambda guest: answer(guest, 404)
    images = [{"url": f"http://127.0.0.1:{receiver.port}/anna.jpg", "recordId": "anna"}]

    sent = server.client.post("/api/batch/add-images", json={"images": images})

    assert sent.json()["queued"] == 1, sent.text
    path = f"/api/batch/status/{sent.json()['batchId']}"
    told = server.until(path, lambda told: told["batch"]["progress"]["processed"] == 1)
    assert told["batch"]["progress"]["failed"] == 1


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    stream = io.StringIO()
    logs.set_up(style="json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.basicConfig(force=True)
