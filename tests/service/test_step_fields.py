"""The fields of a step, seen through a server: socket, database, real children."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support import whole_server
from support.faulty import faulty
from support.pictures import pil, scene
from support.whole_server import LOOSE, WholeServer

__all__ = ["faulty"]

GPS = 0x8825
OUTSIDE = {"left": 5000}


@pytest.fixture
def server(tmp_path: Path, faulty: Any) -> Iterator[WholeServer]:
    with whole_server.running(tmp_path / "server", tiers=LOOSE) as running:
        yield running


def a_photo() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 0.0)})
    file = io.BytesIO()
    pil(scene(200, 150)).save(file, "JPEG", exif=exif, quality=90)
    return file.getvalue()


def item_of(server: WholeServer, name: str, *steps: dict[str, Any], **fields: Any) -> Any:
    """Send one photo and return what became of it."""
    pipeline = json.dumps({"steps": list(steps), **fields})
    sent = server.client.post(
        "/v1/batches", files=[("files", (name, a_photo()))], data={"pipeline": pipeline}
    )
    assert sent.status_code == 202, sent.text
    batch = server.until(f"/v1/batches/{sent.json()['id']}", lambda told: told["ended_at"])
    return server.client.get(f"/v1/batches/{batch['id']}/items").json()["data"][0]


def delivered(server: WholeServer, item: Any) -> Image.Image:
    return Image.open(io.BytesIO(server.client.get(item["outputs"][0]["url"]).content))


def test_the_original_is_delivered_where_the_failing_step_says_so_and_there_alone(
    server: WholeServer,
) -> None:
    failing = {"use": "crop", "with": OUTSIDE}
    keeps = {"on_error": "keep_original"}

    kept = item_of(server, "a.jpg", failing | keeps)
    failed = item_of(server, "b.jpg", failing, {"use": "convert", "if": {"max_bytes": 0}} | keeps)

    assert (kept["status"], kept["skipped"]["reason"]) == ("skipped", "unchanged")
    assert not delivered(server, kept).getexif().get_ifd(GPS)
    assert (failed["status"], failed["error"]["step"], failed["outputs"]) == (
        "failed",
        "1-crop",
        [],
    )


def test_a_remote_step_delivers_the_original(server: WholeServer) -> None:
    remote = {"use": "faulty_call", "on_error": "keep_original"}

    kept = item_of(server, "wrong.jpg", {"use": "resize", "with": {"width": 40}}, remote)

    assert kept["skipped"]["reason"] == "unchanged"
    assert delivered(server, kept).size == (200, 150)


def test_a_steps_own_time_and_retries_hold_for_it_alone(server: WholeServer) -> None:
    slow = {"use": "faulty", "with": {"seconds": 600}, "timeout_s": 0.5, "retries": 0}
    flaky = {"use": "faulty_call", "retries": 0}

    late = item_of(server, "slow.jpg", {"use": "resize"}, slow, {"use": "convert"}, retries=3)
    once = item_of(server, "flaky.jpg", {"use": "resize"}, flaky, retries=3)

    assert (late["error"]["code"], late["error"]["step"]) == ("attempt_timeout", "2-faulty")
    assert "longer than 0.5 s" in late["error"]["message"]
    assert (late["attempts"], once["attempts"]) == (1, 1)
    assert once["error"]["step"] == "2-faulty_call"
