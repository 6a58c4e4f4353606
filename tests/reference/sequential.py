"""What the rows of document 000 share: its requests, and servers to send them to."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import preloaded
from support.environment import environment
from support.pictures import scene
from support.processes import Process, serving

PREFIX = "/api/sequential-batch"
MANY = {"RATE_LIMIT_MAX_REQUESTS": "1000000", "BATCHMILL_DISK_RESERVE_BYTES": "0"}
SUBMIT = f"POST {PREFIX}/submit"
STATUS = f"GET {PREFIX}/status/:batchId"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the server's, as the document's /tmp."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(1, 6):
        scene(900, 600, seed=number).jpegsave(str(folder / f"image{number}.jpg"), Q=95)
    scene(4_000, 3_000).jpegsave(str(folder / "large.jpg"), Q=95)
    scene(4_000, 3_200, grain=40).jpegsave(str(folder / "slow.jpg"), Q=95)
    (folder / "broken.jpg").write_bytes((folder / "image1.jpg").read_bytes()[:9_000])
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("sequential") / "data"
    with serving(data, BATCHMILL_INPUT_DIRS=str(folder), **MANY) as server:
        yield server


@pytest.fixture
def idle(tmp_path: Path, folder: Path) -> Iterator[Process]:
    """A server whose batches wait."""
    with serving(
        tmp_path / "idle", BATCHMILL_INPUT_DIRS=str(folder), BATCHMILL_CHILDREN="1", **MANY
    ) as server:
        assert server.client.post("/v1/queue/pause", json={"reason": "a test"}).is_success
        yield server


def described(folder: Path, *names: str, **options: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"file-{number}",
            "filePath": str(folder / name),
            "fileName": name,
            "fileSize": 5_242_880,
            "options": options or {"quality": 80, "format": "jpg"},
        }
        for number, name in enumerate(names, start=1)
    ]


def submit(server: Process, files: Sequence[Mapping[str, Any]], **more: Any) -> httpx.Response:
    body = {"files": files, "outputFormat": "jpg", "userTier": "premium", **more}
    return server.client.post(f"{PREFIX}/submit", json=body)


def ended(server: Process, sent: httpx.Response) -> Any:
    assert sent.status_code == 200, sent.text
    done = {"completed", "failed", "cancelled"}
    return server.until(sent.json()["statusUrl"], lambda told: told["status"] in done)


def slow(folder: Path, number: int = 1) -> list[dict[str, Any]]:
    """Files that take so long that a test can look at them meanwhile."""
    return described(folder, *["slow.jpg"] * number, format="avif", effort=9)


def key_of(server: Process, tier: str) -> str:
    """Make an API key as an operator does."""
    made = ["keys", "create", "--name", tier, "--tier", tier, "--data-dir", server.data_dir]
    return preloaded.run(made, env=environment(), cwd=server.data_dir.parent).stdout.strip()


def picked(told: Any, *names: str) -> dict[str, Any]:
    return {name: told[name] for name in names}
