"""Document 004, row by row: images resized and converted by jobs."""

import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from pyvips import Image

from reference.images import (
    MANY,
    PNG,
    SINGLE,
    SLOW,
    done,
    ended,
    idle,
    phone_photo,
    server,
    single,
    slow_picture,
    started,
    state_of,
    told_of,
)
from support import preloaded
from support.environment import environment
from support.processes import Process, serving
from support.reference_rows import PARTLY, Row

__all__ = ["done", "idle", "server"]

pytestmark = [pytest.mark.long]
BATCH = "POST /api/process/batch"
JOB = "GET /api/job/:jobId"
SETTINGS = {
    "PORT": ("port", "3001"),
    "MAX_CONCURRENT_JOBS": ("images.concurrency", "3"),
    "JOB_TIMEOUT_MS": ("images.timeout_ms", "30000"),
    "MAX_QUEUE_SIZE": ("images.queue_size", "100"),
    "CLEANUP_INTERVAL_MS": ("cleanup_interval_ms", "60000"),
    "MAX_FILE_SIZE_MB": ("images.file_bytes", "50 MiB"),
    "MAX_IMAGE_WIDTH": ("images.width_px", "1024"),
    "MAX_IMAGE_HEIGHT": ("images.height_px", "1024"),
    "COMPRESSION_QUALITY": ("images.quality", "80"),
    "SUPPORTED_FORMATS": ("images.formats", "jpeg,png,webp,gif"),
    "RATE_LIMIT_WINDOW_MS": ("images.rate_window_ms", "900000"),
    "RATE_LIMIT_MAX_REQUESTS": ("images.rate_requests", "100"),
}
"""Each name of the document, the setting that it sets, and the default, as the document has it."""
GIVEN = {"MAX_FILE_SIZE_MB": "50", "COMPRESSION_QUALITY": "0.8"}
"""How the document writes a default that is told in another unit."""


# ---------------------------------------------------------------- configuration


@pytest.mark.row("Configuration", "{name}: the document's value is the default")
@pytest.mark.parametrize("name", SETTINGS)
def test_the_defaults_are_those_of_the_document(row: Row, server: Process, name: str) -> None:
    path, value = SETTINGS[name]
    default = told_of(server, path)["default"]

    assert default == value
    row("GET /v1/settings", f"{name} → {path} = {default}")


@pytest.mark.row("Configuration", "the whole .env of the document starts a server")
def test_the_documents_environment_starts_a_server(row: Row, tmp_path: Path) -> None:
    env = {name: GIVEN.get(name, value) for name, (_, value) in SETTINGS.items() if name != "PORT"}
    with serving(tmp_path / "data", NODE_ENV="development", PORT="0", **env) as server:
        job = ended(server, started(server))
        shown = {name: told_of(server, SETTINGS[name][0])["value"] for name in env}

    assert job["status"] == "completed"
    assert shown == {name: SETTINGS[name][1] for name in env}
    row(" ".join(f"{name}={value}" for name, value in env.items()), shown)


@pytest.mark.row("Configuration", "MAX_IMAGE_WIDTH and MAX_IMAGE_HEIGHT: the box to fit into")
def test_the_box_is_a_setting(row: Row, tmp_path: Path) -> None:
    box = {"MAX_IMAGE_WIDTH": "100", "MAX_IMAGE_HEIGHT": "50"}
    with serving(tmp_path / "data", **box, **MANY) as server:
        made = ended(server, started(server))["result"]["processedFile"]

    assert made["dimensions"] == {"width": 80, "height": 50}
    row("MAX_IMAGE_WIDTH=100 MAX_IMAGE_HEIGHT=50; an image of 320×200", made["dimensions"])


@pytest.mark.row("Configuration", "COMPRESSION_QUALITY from 0.1 to 1.0")
def test_the_quality_is_a_setting(row: Row, tmp_path: Path) -> None:
    sizes = {}
    for quality in ("0.1", "0.8"):
        with serving(tmp_path / quality / "data", COMPRESSION_QUALITY=quality, **MANY) as server:
            sizes[quality] = ended(server, started(server))["result"]["processedFile"]["size"]

    assert sizes["0.1"] < sizes["0.8"]
    row("COMPRESSION_QUALITY=0.1 and 0.8", {each: f"{size} B" for each, size in sizes.items()})


@pytest.mark.row("Configuration", "MAX_FILE_SIZE_MB: a larger file is refused")
def test_the_largest_file_is_a_setting(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", MAX_FILE_SIZE_MB="1", **MANY) as server:
        sent = single(server, phone_photo())

    assert sent.status_code == 413
    row(f"MAX_FILE_SIZE_MB=1; {SINGLE} of {len(phone_photo()[1]) / 1e6:.1f} MB", f"413 {sent.text}")


@pytest.mark.row("Configuration", "SUPPORTED_FORMATS: another format is refused")
def test_the_formats_are_a_setting(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", SUPPORTED_FORMATS="jpeg", **MANY) as server:
        png, jpeg = single(server, PNG), single(server, phone_photo())

    assert (png.status_code, jpeg.status_code) == (415, 200)
    row(f"SUPPORTED_FORMATS=jpeg; {SINGLE} of a PNG, then a JPEG", f"415 {png.text}, 200")


@pytest.mark.row("Configuration", "SUPPORTED_FORMATS: an unknown format is refused at the start")
def test_an_unknown_format_is_refused_at_the_start(row: Row, tmp_path: Path) -> None:
    env = environment(SUPPORTED_FORMATS="jpeg,bogus")
    asked = ["serve", "--port", "0", "--data-dir", tmp_path / "data"]
    done = preloaded.run(asked, env=env, cwd=tmp_path)

    assert done.returncode == 2
    assert "'bogus'" in done.stderr
    row("SUPPORTED_FORMATS=jpeg,bogus batchmill serve", done.stderr)


# ---------------------------------------------------------------- endpoints


@pytest.mark.row("API: single", "image and priority; success, jobId, estimatedTime, message")
def test_a_single_image_is_queued(row: Row, server: Process) -> None:
    sent = single(server, PNG, priority="1").json()

    assert set(sent) == {"success", "jobId", "estimatedTime", "message"}
    assert sent["message"] == "Image processing job queued successfully"
    row(f"{SINGLE} -F image=@small.png -F priority=1", sent)


@pytest.mark.row("API: batch", "images; one job for each")
def test_a_batch_is_queued(row: Row, server: Process) -> None:
    sent = server.client.post("/api/process/batch", files=[("images", PNG), ("images", PNG)]).json()

    assert set(sent) >= {"success", "batchId", "jobs", "message"}
    assert all(set(job) == {"jobId", "filename", "estimatedTime"} for job in sent["jobs"])
    row(f"{BATCH} -F images=@small.png -F images=@small.png", sent)


@pytest.mark.row("API: job", "processingTime and originalFile of a completed job")
def test_a_job_tells_of_the_original(row: Row, done: Any) -> None:
    original = done["result"]["originalFile"]

    assert original == {
        "name": "image.jpg",
        "size": len(phone_photo()[1]),
        "format": "jpeg",
        "dimensions": {"width": 3_024, "height": 4_032},
    }
    time_ms = done["result"]["processingTime"]
    row(JOB, {"processingTime": time_ms, "originalFile": original})


@pytest.mark.row("API: job", "processedFile: fit inside 1024×1024 and WebP")
def test_a_job_tells_of_what_was_made(row: Row, done: Any) -> None:
    made = done["result"]["processedFile"]

    assert re.fullmatch(r"processed_.+\.webp", made["filename"])
    assert (made["format"], made["dimensions"]) == ("webp", {"width": 768, "height": 1_024})
    assert made["url"] == f"/api/images/{made['filename']}"
    row(JOB, made)


@pytest.mark.row("API: job", "optimization: wasResized, formatChanged, compressionRatio, sizeSaved")
def test_a_job_tells_what_was_saved(row: Row, done: Any) -> None:
    told = done["result"]["optimization"]

    assert (told["wasResized"], told["formatChanged"]) == (True, True)
    assert re.fullmatch(r"\d+\.\d%", told["compressionRatio"])
    row(JOB, told)


@pytest.mark.row("API: job", "an unknown job")
def test_an_unknown_job_is_404(row: Row, server: Process) -> None:
    answer = server.client.get("/api/job/uuid-here")

    assert answer.status_code == 404
    row(JOB, f"404 {answer.text}")


@pytest.mark.row("API: images", "the image with caching headers, ETag and ranges")
def test_an_image_is_served_with_caching_headers(row: Row, server: Process, done: Any) -> None:
    url = done["result"]["processedFile"]["url"]
    whole = server.client.get(url)
    known = server.client.get(url, headers={"If-None-Match": whole.headers["etag"]})
    part = server.client.get(url, headers={"Range": "bytes=0-3"})

    assert (known.status_code, part.status_code) == (304, 206)
    assert Image.new_from_buffer(whole.content, "").width == 768
    kept = {name: whole.headers[name] for name in ("content-type", "cache-control", "etag")}
    row("GET /api/images/:filename", {**kept, "If-None-Match": 304, "Range": 206})


@pytest.mark.row("API: stats", "every number of the document")
def test_the_statistics_are_told(row: Row, server: Process, done: Any) -> None:
    told = server.client.get("/api/stats").json()

    assert set(told) >= {
        *("totalJobs", "completedJobs", "failedJobs", "currentQueueSize"),
        *("currentProcessingCount", "averageProcessingTime"),
        *("completedInLast24h", "failedInLast24h"),
    }
    assert told["completedJobs"] >= 1
    row("GET /api/stats", told)


@pytest.mark.row("API: health", "curl http://localhost:3001/api/health")
def test_the_server_is_healthy(row: Row, server: Process) -> None:
    answer = server.client.get("/api/health")

    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    row("GET /api/health", answer.json())


@pytest.mark.row("API: health", "not healthy while no work is done")
def test_a_server_that_takes_no_work_is_unhealthy(row: Row, idle: Process) -> None:
    answer = idle.client.get("/api/health")

    assert answer.json()["status"] in {"healthy", "degraded", "unhealthy"}
    call = "POST /v1/queue/pause; GET /api/health"
    if answer.json()["status"] != "healthy":
        row(call, f"{answer.status_code} {answer.text}")
    else:
        row(call, f"200 {answer.text}", PARTLY, why="a paused queue counts as healthy")


# ---------------------------------------------------------------- the queue


@pytest.mark.row("Job states", "queued, then completed")
def test_a_job_is_queued_then_completed(row: Row, idle: Process) -> None:
    job_id = started(idle)
    before = idle.client.get(f"/api/job/{job_id}").json()["status"]
    idle.client.post("/v1/queue/resume")
    after = ended(idle, job_id)["status"]

    assert (before, after) == ("queued", "completed")
    row(JOB, f"{before}, {after}")


@pytest.mark.row("Job states", "processing")
def test_a_job_is_processing(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **SLOW) as server:
        job_id = started(server, slow_picture())
        seen = server.watch(f"/api/job/{job_id}", state_of, lambda state: state == "completed")

    assert "processing" in seen
    row(f"{JOB}, again and again", list(dict.fromkeys(seen)))


@pytest.mark.row("Job states", "failed, with a clear message")
def test_a_broken_image_fails(row: Row, server: Process) -> None:
    job = ended(
        server, started(server, ("cut.jpg", phone_photo()[1][: len(phone_photo()[1]) // 3]))
    )

    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"].startswith("cut.jpg cannot be read")
    row(JOB, {"status": job["status"], "error": job["error"]})


@pytest.mark.row("Queue: retry", "retrying after a failure that may pass, with a growing wait")
def test_a_job_whose_process_dies_is_tried_again(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", BATCHMILL_CHILDREN="1", **SLOW) as server:
        job_id = started(server, slow_picture())
        server.until(f"/api/job/{job_id}", lambda job: job["status"] == "processing")
        server.kill_children()
        seen = server.watch(f"/api/job/{job_id}", state_of, {"completed", "failed"}.__contains__)

    assert seen[-1] == "completed"
    row("kill -9 of the child at work", list(dict.fromkeys(seen)))


@pytest.mark.row("Queue: timeout", "JOB_TIMEOUT_MS: a job over it is stopped, tried again, failed")
def test_a_job_over_its_time_fails(row: Row, tmp_path: Path) -> None:
    limits = {"JOB_TIMEOUT_MS": "300", "BATCHMILL_IMAGES_RETRIES": "1", **SLOW}
    with serving(tmp_path / "data", **limits) as server:
        job = ended(server, started(server, slow_picture()))
        (batch,) = server.client.get("/v1/batches").json()["data"]
        (item,) = server.client.get(f"/v1/batches/{batch['id']}/items").json()["data"]

    assert (job["status"], item["attempts"]) == ("failed", 2)
    row("JOB_TIMEOUT_MS=300, one retry", {"error": job["error"], "attempts": item["attempts"]})


@pytest.mark.row("Queue: concurrent", "MAX_CONCURRENT_JOBS={number}: so many at once")
@pytest.mark.parametrize("number", [1, 2])
def test_so_many_jobs_are_at_work_at_once(row: Row, tmp_path: Path, number: int) -> None:
    env = {"MAX_CONCURRENT_JOBS": str(number), "BATCHMILL_CHILDREN": "4", **SLOW}
    with serving(tmp_path / "data", **env) as server:
        files = [("images", slow_picture())] * 4
        server.client.post("/api/process/batch", files=files)
        seen = server.watch(
            "/api/stats",
            lambda told: (told["currentProcessingCount"], told["completedJobs"]),
            lambda counted: counted[1] == 4,
        )
    most = max(running for running, _ in seen)

    assert 0 < most <= number
    row(f"MAX_CONCURRENT_JOBS={number}; GET /api/stats", f"at most {most} at once")


@pytest.mark.row("Queue: priority", "a higher priority goes first")
def test_a_higher_priority_goes_first(row: Row, idle: Process) -> None:
    jobs = {each: started(idle, PNG, priority=each) for each in ("0", "1", "5")}
    idle.client.post("/v1/queue/resume")
    begun = {}
    for each, job_id in jobs.items():
        ended(idle, job_id)
        begun[each] = idle.client.get(f"/v1/items/{job_id}").json()["started_at"]

    assert begun["5"] <= begun["1"] <= begun["0"]
    row("priority 0, 1 and 5 sent to a paused queue; started_at", begun)


@pytest.mark.row("Queue: MAX_QUEUE_SIZE", "a full queue: 503 with Retry-After")
def test_a_full_queue_is_said(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", MAX_QUEUE_SIZE="2", **MANY) as server:
        server.client.post("/v1/queue/pause", json={"reason": "a test"})
        codes = [single(server).status_code for _ in range(2)]
        refused = single(server)

    assert codes == [200, 200]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    row(f"MAX_QUEUE_SIZE=2; 3 × {SINGLE}", f"200, 200, 503 {refused.text}")


@pytest.mark.row("Queue: memory", "processing pauses until memory clears")
def test_work_pauses_while_memory_is_short(row: Row, tmp_path: Path) -> None:
    env = {"BATCHMILL_MEMORY_RESERVE_BYTES": "900TB", **MANY}
    with serving(tmp_path / "data", **env) as server:
        job_id = started(server)
        paused = _wait_for_line(server, "work.paused")
        job = server.client.get(f"/api/job/{job_id}").json()

    assert job["status"] == "queued"
    call, came = "more memory is to be kept free than there is", {"job": job, "log": paused}
    assert job["pauseReason"]
    row(call, came)


def _wait_for_line(server: Process, event: str) -> dict[str, Any]:
    for _ in range(3_000):
        for line in server.log():
            if line["event"] == event:
                return line
        time.sleep(0.02)
    raise AssertionError(f"{event} was never logged")


@pytest.mark.row("Queue: cleanup", "old jobs and their files go, each CLEANUP_INTERVAL_MS")
def test_old_jobs_go(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", CLEANUP_INTERVAL_MS="1000", **MANY) as server:
        job_id = started(server)
        url = ended(server, job_id)["result"]["processedFile"]["url"]
        with sqlite3.connect(server.data_dir / "batchmill.sqlite3") as conn:
            conn.execute("UPDATE batches SET expires_at = 1")  # as if a week had passed
        server.until(f"/api/job/{job_id}", lambda job: job.get("code") == "not_found")
        gone = server.client.get(url).status_code

    assert gone == 404
    row("CLEANUP_INTERVAL_MS=1000, a job whose time is over", f"job 404, image {gone}")


@pytest.mark.row("Error recovery", "users can retry what failed")
def test_a_failed_job_can_be_tried_again(row: Row, server: Process) -> None:
    job_id = started(server, ("cut.jpg", phone_photo()[1][:5_000]))
    ended(server, job_id)
    own = server.client.post(f"/api/job/{job_id}/retry")

    assert (own.status_code, own.json()["jobId"]) == (200, job_id)
    row("POST /api/job/:jobId/retry", own.json())
