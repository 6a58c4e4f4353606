"""What the rows of document 002 share: its requests, photos, and servers."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyvips import Image

from support.portraits import Head, photo
from support.processes import Process, serving

MANY = {
    "RATE_LIMIT_MAX_REQUESTS": "1000000",
    "BATCHMILL_DISK_RESERVE_BYTES": "0",
    "BATCHMILL_OUTGOING_LOOPBACK": "true",
    "BATCHMILL_OUTGOING_HTTP": "true",
}
PERSON = bytes(photo(640, 480, Head(320, 240, 90)).jpegsave_buffer(Q=90))
NO_FACE = bytes(photo(320, 240).jpegsave_buffer(Q=90))
BROKEN = PERSON[:2_000]
ZIP = "POST /api/batch/upload-zip"


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in members.items():
            archive.writestr(f"photos/{name}.jpg", body)
    return buffer.getvalue()


PHOTOS = zipped(anna=PERSON, wall=NO_FACE, broken=BROKEN)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("photos") / "data", **MANY) as server:
        yield server


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Process]:
    """A server whose batches wait."""
    with serving(tmp_path / "idle", BATCHMILL_CHILDREN="1", **MANY) as server:
        assert server.client.post("/v1/queue/pause", json={"reason": "a test"}).is_success
        yield server


def upload(server: Process, archive: bytes = PHOTOS, **fields: str) -> httpx.Response:
    files = {"file": ("photos.zip", archive)}
    return server.client.post("/api/batch/upload-zip", files=files, data=fields)


def add(server: Process, *photos: bytes, **fields: str) -> httpx.Response:
    files = [("images", (f"{number}.jpg", body)) for number, body in enumerate(photos)]
    return server.client.post("/api/batch/add-images", files=files, data=fields)


def ended(server: Process, sent: httpx.Response) -> Any:
    assert sent.status_code == 200, sent.text
    done = {"completed", "failed", "cancelled"}
    path = f"/api/batch/status/{sent.json()['batchId']}"
    return server.until(path, lambda told: told["batch"]["status"] in done)["batch"]


def records(server: Process, batch_id: str, columns: str = "*") -> list[dict[str, Any]]:
    sql = f"SELECT {columns} FROM data_records WHERE batch_id = ? ORDER BY filename"  # noqa: S608
    return server.query(sql, batch_id)


def size(body: bytes) -> tuple[int, int]:
    image = Image.new_from_buffer(body, "")
    return image.width, image.height


@pytest.fixture(scope="module")
def done(server: Process) -> Any:
    """A batch of a person, a wall and a broken file, once it has ended."""
    return ended(server, upload(server, projectId="proj-123", priority="5"))
