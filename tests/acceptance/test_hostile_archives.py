"""Archives that are meant to do harm, sent to a real server: what is wrong stays with its entry."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.archives import Entry, archive, deflated
from support.pictures import scene
from support.processes import Process, serving

PNG = scene(64, 48).pngsave_buffer()
SLIPS = [
    b"../../../../tmp/slipped.png",
    b"/etc/slipped.png",
    b"C:\\slipped.png",
    b"..\\slipped.png",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("hostile") / "data") as running:
        yield running


def send(server: Process, body: bytes) -> httpx.Response:
    files = {"files": ("photos.zip", body)}
    return server.client.post("/v1/batches", files=files, data={"pipeline": "web"})


def ended(server: Process, batch_id: str) -> list[dict[str, Any]]:
    """Wait for a batch and return the lines of its report."""
    with server.client.stream("GET", f"/v1/batches/{batch_id}/events") as events:
        for line in events.iter_lines():
            if line.startswith("event: batch.completed"):
                break
    report = server.client.get(f"/v1/batches/{batch_id}/report").text
    return [json.loads(line) for line in report.splitlines()]


def test_what_is_wrong_with_an_entry_fails_that_entry_alone(server: Process) -> None:
    body = archive(
        Entry(b"good.png", PNG),
        Entry(b"secret.png", PNG, flags=1),
        Entry(b"flipped.png", PNG, says={"crc32": 1}, local={"crc32": 1}),
        Entry(b"bomb.png", PNG, packed=deflated(b"\0" * 50_000_000), method=8),
    )
    sent = send(server, body)
    assert sent.status_code == 202, sent.text
    lines = ended(server, sent.json()["id"])
    found = [line["error"]["code"] if line["error"] else line["status"] for line in lines]
    assert found == ["completed", "encrypted_file", "unreadable_file", "unreadable_file"]


def test_names_that_lead_elsewhere_are_labels(server: Process) -> None:
    sent = send(server, archive(*(Entry(name, PNG) for name in SLIPS)))
    lines = ended(server, sent.json()["id"])
    assert [line["status"] for line in lines] == ["completed"] * 4
    for line in lines:
        for name in (line["input"]["path"], *(output["name"] for output in line["outputs"])):
            assert ".." not in Path(name).parts
            assert not name.startswith(("/", "\\"))
    slipped = [path for path in server.data_dir.parent.rglob("*slipped*") if path.is_file()]
    assert all(server.data_dir / "storage" in path.parents for path in slipped)
    assert not any(Path(folder, "slipped.png").exists() for folder in ("/tmp", "/etc"))  # noqa: S108


def test_an_archive_whose_entries_share_their_bytes_is_refused_whole(server: Process) -> None:
    shared = Entry(b"0.png", PNG)
    others = [Entry(b"%d.png" % number, PNG, says={"offset": 0}) for number in range(1, 200)]
    answer = send(server, archive(shared, *others))
    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_archive")
    assert server.client.get("/readyz").status_code == 200
