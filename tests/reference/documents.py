"""What the rows of document 001 share: its requests, files, and servers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.documents import line_of_text, pdf
from support.processes import Process, serving

MANY = {
    "BATCHMILL_DOCUMENTS_UPLOADS_PER_HOUR": "1000000",
    "BATCHMILL_DISK_RESERVE_BYTES": "0",
    "BATCHMILL_CHILDREN": "6",
}
UPLOAD = "POST /api/batch/upload"
JOB = "GET /api/batch/jobs/:id"
CSV = b"dish;price\nsoup;4,50\nbread;2,00\n"
MENU = pdf(line_of_text("Menu of the day: soup and bread"))
BROKEN = b"%PDF-1.7\nthis is no document at all\n"
COLUMNS = {
    "batch_jobs": [
        *("id", "user_id", "status", "total_files", "processed_files", "failed_files"),
        *("priority", "created_at", "started_at", "completed_at", "error"),
    ],
    "batch_files": [
        *("id", "batch_id", "filename", "file_size", "file_hash", "status", "progress", "result"),
        *("error", "retry_count", "created_at", "started_at", "completed_at"),
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("documents") / "data", **MANY) as server:
        yield server


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Process]:
    """A server whose batches wait."""
    alone = {**MANY, "BATCHMILL_CHILDREN": "1"}
    with serving(tmp_path / "idle", **alone) as server:
        assert server.client.post("/v1/queue/pause", json={"reason": "a test"}).is_success
        yield server


def upload(server: Process, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    sent = [("file", file) for file in files]
    return server.client.post("/api/batch/upload", files=sent, data=fields)


def started(server: Process, *files: tuple[str, bytes], **fields: str) -> str:
    sent = upload(server, *files, **fields)
    assert sent.status_code == 200, sent.text
    batch_id: str = sent.json()["data"]["batchId"]
    return batch_id


def ended(server: Process, batch_id: str) -> Any:
    done = {"completed", "failed"}
    return server.until(
        f"/api/batch/jobs/{batch_id}", lambda told: told["data"]["batch"]["status"] in done
    )["data"]


@pytest.fixture(scope="module")
def done(server: Process) -> Any:
    """A batch of three of which one can't be read, once it has ended."""
    files = (("menu1.pdf", MENU), ("menu2.csv", CSV), ("menu3.pdf", BROKEN))
    return ended(server, started(server, *files, priority="high", user_id="user-123"))


def long_table(rows: int = 400_000) -> bytes:
    """A table that takes so long that a test can look at it meanwhile."""
    return b"name;price;place\n" + b"".join(b"soup %d;%d,50;Wien\n" % (n, n) for n in range(rows))


def picked(told: Any, *names: str) -> dict[str, Any]:
    return {name: told[name] for name in names}
