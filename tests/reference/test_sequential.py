"""Document 000, row by row: its requests and what they answer."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyvips import Image

from reference.sequential import (
    MANY,
    PREFIX,
    STATUS,
    SUBMIT,
    described,
    ended,
    folder,
    idle,
    picked,
    server,
    slow,
    submit,
)
from support.camera_raw import write_dng
from support.pictures import scene
from support.processes import Process, serving
from support.reference_rows import Row

__all__ = ["folder", "idle", "server"]

pytestmark = [pytest.mark.long]
FORMATS = {"jpg": "jpeg", "png": "png", "webp": "webp", "avif": "avif", "tiff": "tiff"}


# ---------------------------------------------------------------- submit


@pytest.mark.row("API: submit", "a batch by server paths, with the document's JSON")
def test_the_documents_submit_is_answered_as_there(row: Row, server: Process, folder: Path) -> None:
    sent = submit(server, described(folder, "image1.jpg"))

    told = sent.json()
    assert (sent.status_code, set(told)) == (200, {"success", "batchId", "statusUrl"})
    assert told["statusUrl"] == f"{PREFIX}/status/{told['batchId']}"
    row(f"{SUBMIT} (filePath in BATCHMILL_INPUT_DIRS)", told)


@pytest.mark.row("API: submit", "the same from a client elsewhere: files as a form")
def test_files_are_taken_as_a_form(row: Row, server: Process, folder: Path) -> None:
    body = (folder / "image1.jpg").read_bytes()
    data = {"files": json.dumps([{"id": "a", "options": {"format": "png"}}])}
    sent = server.client.post(f"{PREFIX}/submit", files=[("files", ("one.jpg", body))], data=data)

    (file,) = ended(server, sent)["files"]
    assert picked(file, "id", "fileName", "status") == {
        "id": "a",
        "fileName": "one.jpg",
        "status": "completed",
    }
    row(f"{SUBMIT}, multipart `files`", picked(file, "id", "fileName", "status"))


@pytest.mark.row("API: submit", "max 50 files: {number} are refused")
@pytest.mark.parametrize("number", [0, 51])
def test_a_wrong_number_of_files_is_refused(
    row: Row, server: Process, folder: Path, number: int
) -> None:
    sent = submit(server, described(folder, *["image1.jpg"] * number))

    assert (sent.status_code, sent.json()["success"]) == (400, False)
    row(f"{SUBMIT} with {number} files", f"400 {sent.text}")


@pytest.mark.row("API: submit", "file sizes are validated: one over 100 MB fails alone")
def test_a_file_over_the_limit_fails_alone(row: Row, server: Process, folder: Path) -> None:
    with (folder / "too-large.jpg").open("wb") as file:
        file.truncate(101 * 2**20)
    told = ended(server, submit(server, described(folder, "too-large.jpg", "image1.jpg")))
    (folder / "too-large.jpg").unlink()
    large, small = told["files"]

    assert (large["status"], small["status"]) == ("failed", "completed")
    assert "limit" in large["error"]
    row(f"{SUBMIT} of a file of 101 MiB and one more", large["error"])


@pytest.mark.row("API: submit", "a path outside of the listed folders opens nothing")
def test_a_path_elsewhere_is_forbidden(row: Row, server: Process, folder: Path) -> None:
    sent = submit(server, [{"filePath": "/etc/passwd", "fileName": "image1.jpg"}])

    assert sent.status_code == 403
    assert "BATCHMILL_INPUT_DIRS" in sent.json()["error"]
    row(f"{SUBMIT} with filePath /etc/passwd", f"403 {sent.text}")


@pytest.mark.row("API: submit", "options.quality of each file")
def test_the_quality_of_each_file_counts(row: Row, server: Process, folder: Path) -> None:
    files = [
        *described(folder, "image1.jpg", quality=80, format="jpg"),
        *described(folder, "image1.jpg", quality=30, format="jpg"),
    ]
    fine, coarse = ended(server, submit(server, files))["files"]

    assert coarse["compressedSize"] < fine["compressedSize"] < fine["originalSize"]
    row(
        f"{SUBMIT} with quality 80 and 30",
        f"{fine['originalSize']} B → {fine['compressedSize']} B and {coarse['compressedSize']} B",
    )


@pytest.mark.row("API: submit", "outputFormat for files that name none")
def test_the_output_format_of_the_batch_counts(row: Row, server: Process, folder: Path) -> None:
    files = [{"filePath": str(folder / "image1.jpg")}]
    (file,) = ended(server, submit(server, files, outputFormat="webp"))["files"]
    kind = server.client.get(file["downloadUrl"]).headers["content-type"]

    assert kind == "image/webp"
    row(f'{SUBMIT} with "outputFormat":"webp"', kind)


@pytest.mark.row("Files: performFileCompression", "format-specific compression: {name}")
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written(row: Row, server: Process, folder: Path, name: str) -> None:
    (file,) = ended(server, submit(server, described(folder, "image1.jpg", format=name)))["files"]
    got = server.client.get(file["downloadUrl"])

    assert got.headers["content-type"] == f"image/{FORMATS[name]}"
    assert Image.new_from_buffer(got.content, "").width == 900
    kept = picked(file, "originalSize", "compressedSize", "compressionRatio")
    row(f'{SUBMIT} with "format":"{name}"', {"type": got.headers["content-type"], **kept})


@pytest.mark.row("Performance: RAW", "a camera's RAW file becomes a JPEG")
def test_a_raw_file_is_developed(row: Row, server: Process, folder: Path) -> None:
    write_dng(folder / "shot.dng", scene(1_200, 800))
    (file,) = ended(server, submit(server, described(folder, "shot.dng")))["files"]
    got = server.client.get(file["downloadUrl"])

    assert got.headers["content-type"] == "image/jpeg"
    kept = picked(file, "fileName", "status", "originalSize", "compressedSize")
    row(f"{SUBMIT} of a DNG, format jpg", kept)


# ---------------------------------------------------------------- status


@pytest.fixture(scope="module")
def running(server: Process, folder: Path) -> Any:
    """A batch of three of which the second is at work."""
    files = [*described(folder, "image1.jpg"), *slow(folder), *described(folder, "image2.jpg")]
    sent = submit(server, files).json()
    told = server.until(
        sent["statusUrl"], lambda told: told["currentFile"] and told["currentFile"]["index"] == 2
    )
    server.client.post(f"{PREFIX}/cancel/{sent['batchId']}")
    return told


@pytest.mark.row("API: status", "progress: current, total, percentage")
def test_progress_is_told(row: Row, running: Any) -> None:
    assert running["progress"] == {"current": 1, "total": 3, "percentage": 33}
    row(STATUS, picked(running, "status", "progress"))


@pytest.mark.row("API: status", "currentFile: index from 1, and name")
def test_the_current_file_is_named(row: Row, running: Any) -> None:
    assert running["currentFile"] == {"index": 2, "name": "slow.jpg"}
    row(STATUS, picked(running, "currentFile"))


@pytest.mark.row("API: status", "timing.estimatedRemainingSeconds")
def test_the_remaining_time_is_estimated(row: Row, running: Any) -> None:
    assert running["timing"]["estimatedRemainingSeconds"] >= 0
    row(STATUS, picked(running, "timing"))


@pytest.mark.row("API: status", "results: successful, failed, pending")
def test_results_are_counted(row: Row, running: Any) -> None:
    counted = {"successful": 1, "failed": 0, "pending": 2}
    assert counted.items() <= running["results"].items()
    row(STATUS, picked(running, "results"))


@pytest.mark.row("API: status", "files: each result with its download URL, which opens")
def test_download_urls_work(row: Row, server: Process, folder: Path) -> None:
    (file,) = ended(server, submit(server, described(folder, "image1.jpg")))["files"]
    got = httpx.get(f"{server.client.base_url}{file['downloadUrl']}", timeout=60)

    assert (got.status_code, len(got.content)) == (200, file["compressedSize"])
    row(f"{STATUS}; GET downloadUrl", {**file, "GET": got.status_code})


@pytest.mark.row("API: status", "an unknown batch")
def test_an_unknown_batch_is_404(row: Row, server: Process) -> None:
    answer = server.client.get(f"{PREFIX}/status/550e8400-e29b-41d4-a716-446655440000")

    assert (answer.status_code, set(answer.json())) == (404, {"success", "error", "code"})
    row(STATUS, f"404 {answer.text}")


# ---------------------------------------------------------------- cancel, queue


@pytest.mark.row("API: cancel", "remaining files are skipped, finished results stay")
def test_a_cancelled_batch_skips_what_remains(row: Row, server: Process, folder: Path) -> None:
    files = [*described(folder, "image1.jpg"), *slow(folder), *described(folder, "image2.jpg")]
    sent = submit(server, files).json()
    server.until(sent["statusUrl"], lambda told: told["results"]["successful"] == 1)
    cancelled = server.client.post(f"{PREFIX}/cancel/{sent['batchId']}").json()
    told = server.until(sent["statusUrl"], lambda told: told["results"]["pending"] == 0)

    states = [file["status"] for file in told["files"]]
    assert (cancelled["success"], cancelled["skipped"]) == (True, 2)
    assert states == ["completed", "skipped", "skipped"]
    assert server.client.get(told["files"][0]["downloadUrl"]).status_code == 200
    row(f"POST {PREFIX}/cancel/:batchId", {**cancelled, "files": states})


@pytest.mark.row("API: cancel", "resources are released: the next batch runs at once")
def test_a_cancelled_batch_releases_its_child(row: Row, server: Process, folder: Path) -> None:
    sent = submit(server, slow(folder)).json()
    server.until(sent["statusUrl"], lambda told: told["currentFile"])
    server.client.post(f"{PREFIX}/cancel/{sent['batchId']}")
    told = ended(server, submit(server, described(folder, "image1.jpg")))
    left = server.until(sent["statusUrl"], lambda told: told["currentFile"] is None)

    assert told["results"]["successful"] == 1
    assert left["status"] == "cancelled"
    row("cancel while a file runs, then another submit", told["results"])


@pytest.mark.row("API: queue-stats", "waiting, active, completed, failed")
def test_the_queue_is_counted(row: Row, idle: Process, folder: Path) -> None:
    submit(idle, described(folder, "image1.jpg"))
    told = idle.client.get(f"{PREFIX}/queue-stats").json()

    wanted = {"waiting": 1, "active": 0, "completed": 0, "failed": 0}
    assert told["success"] is True
    assert wanted.items() <= told["queue"].items()
    row(f"GET {PREFIX}/queue-stats", told)


@pytest.mark.row("API: queue-stats", "a cancelled batch has not failed")
def test_a_cancelled_batch_is_counted(row: Row, idle: Process, folder: Path) -> None:
    sent = submit(idle, described(folder, "image1.jpg")).json()
    idle.client.post(f"{PREFIX}/cancel/{sent['batchId']}")
    queue = idle.client.get(f"{PREFIX}/queue-stats").json()["queue"]

    assert (queue["waiting"], queue["failed"], queue["cancelled"]) == (0, 0, 1)
    row(f"cancel, then GET {PREFIX}/queue-stats", queue)


# ---------------------------------------------------------------- the queue's settings


@pytest.mark.row("Queue: timeout 1200000", "the default limit of a batch is 20 minutes")
def test_a_batch_may_take_20_minutes(row: Row, server: Process) -> None:
    settings = {each["name"]: each for each in server.client.get("/v1/settings").json()["data"]}
    told = settings["sequential.batch_timeout_s"]

    assert told["value"] in {"1200", "1200.0"}
    row("GET /v1/settings", told)


@pytest.mark.row("Errors: timeout", "the job is cancelled, the running file failed")
def test_a_batch_over_its_time_ends(row: Row, tmp_path: Path, folder: Path) -> None:
    limits = {"BATCHMILL_SEQUENTIAL_BATCH_TIMEOUT_S": "3", "BATCHMILL_SWEEP_S": "0.2"}
    inputs = {"BATCHMILL_INPUT_DIRS": str(folder)}
    with serving(tmp_path / "data", **limits, **inputs, **MANY) as server:
        told = ended(server, submit(server, slow(folder, 4)))
        told = server.until(
            f"{PREFIX}/status/{told['batchId']}", lambda told: told["results"]["pending"] == 0
        )

    states = [file["status"] for file in told["files"]]
    assert told["status"] == "failed"
    assert told["error"]
    assert states.count("failed") == 1
    assert set(states[states.index("failed") + 1 :]) == {"skipped"}
    assert told["progress"]["current"] == states.index("failed") + 1
    came = {**picked(told, "status", "error", "progress"), "files": states}
    row("BATCHMILL_SEQUENTIAL_BATCH_TIMEOUT_S=3, four slow files", came)


@pytest.mark.row("Queue: maxStalledCount 2", "a file whose process dies is tried twice more")
def test_a_file_survives_two_crashes(row: Row, tmp_path: Path, folder: Path) -> None:
    env = {"BATCHMILL_INPUT_DIRS": str(folder), "BATCHMILL_CHILDREN": "1", **MANY}
    with serving(tmp_path / "data", **env) as server:
        sent = submit(server, slow(folder)).json()
        path = f"/v1/batches/{sent['batchId']}/items"
        (item,) = server.until(path, _Killing(server))["data"]
        (file,) = ended(server, submit(server, described(folder, "image1.jpg")))["files"]
        told = server.client.get(sent["statusUrl"]).json()

    assert (told["files"][0]["status"], file["status"]) == ("failed", "completed")
    assert item["attempts"] >= 3
    came = {"attempts": item["attempts"], **picked(told["files"][0], "status", "error")}
    row("kill -9 of the child at each attempt", came)


class _Killing:
    """Kills what works on a batch's only file, each second, until that is given up."""

    def __init__(self, server: Process) -> None:
        self._server = server
        self._last = 0.0

    def __call__(self, page: Any) -> bool:
        (item,) = page["data"]
        now = time.monotonic()
        if item["status"] == "processing" and now > self._last + 1:
            self._server.kill_children()
            self._last = now
        return item["ended_at"] is not None
