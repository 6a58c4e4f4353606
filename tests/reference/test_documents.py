"""Document 001, row by row: its settings, its requests and how its queue moves."""

import json
from pathlib import Path
from typing import Any

import pytest

from reference.documents import (
    BROKEN,
    COLUMNS,
    CSV,
    JOB,
    MANY,
    MENU,
    UPLOAD,
    done,
    ended,
    idle,
    long_table,
    picked,
    server,
    started,
    upload,
)
from support.browser import OpenPage, browser, chromium, open_page
from support.processes import Process, serving
from support.reference_rows import Row

__all__ = ["browser", "chromium", "done", "idle", "open_page", "server"]

pytestmark = [pytest.mark.long]
JOBS = "GET /api/batch/jobs"
LIMITS = {
    "MAX_FILES_PER_BATCH": ("documents.files_per_batch", "50"),
    "CONCURRENT_JOBS": ("documents.concurrency", "3"),
    "MAX_RETRIES": ("documents.retries", "3"),
    "PROCESSING_TIMEOUT": ("documents.timeout_ms", "1800000"),
}


# ---------------------------------------------------------------- configuration


@pytest.mark.row("Configuration", "ENABLE_BATCH=true and false")
def test_uploads_are_switched_on_and_off(row: Row, tmp_path: Path) -> None:
    found = {}
    for value in ("true", "false"):
        with serving(tmp_path / value / "data", ENABLE_BATCH=value) as server:
            found[value] = upload(server, ("a.csv", CSV)).status_code

    assert found == {"true": 200, "false": 403}
    row(f"ENABLE_BATCH; {UPLOAD}", found)


@pytest.mark.row("Limits", "{name}: the document's value is the default")
@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_are_those_of_the_document(row: Row, server: Process, name: str) -> None:
    settings = {each["name"]: each for each in server.client.get("/v1/settings").json()["data"]}
    path, value = LIMITS[name]

    assert settings[path]["value"] == value
    row("GET /v1/settings", f"{name} → {path} = {value}")


@pytest.mark.row("Limits", "CONCURRENT_JOBS={number}: so many files at once, over all batches")
@pytest.mark.parametrize("number", [3, 5])
def test_so_many_files_are_at_work_at_once(row: Row, tmp_path: Path, number: int) -> None:
    env = {**MANY, "CONCURRENT_JOBS": str(number)}
    table = long_table(150_000)
    with serving(tmp_path / "data", **env) as server:
        batches = [started(server, *[(f"{n}.csv", table) for n in range(6)]) for _ in range(2)]
        most = 0
        while True:
            jobs = [server.client.get(f"/api/batch/jobs/{each}").json()["data"] for each in batches]
            most = max(most, sum(job["summary"]["processing"] for job in jobs))
            if all(job["batch"]["status"] == "completed" for job in jobs):
                break

    assert 0 < most <= number
    row(f"CONCURRENT_JOBS={number}; 2 batches of 6 tables", f"at most {most} processing at once")


@pytest.mark.row("Limits", "MAX_FILES_PER_BATCH: 51 files are refused")
def test_too_many_files_are_refused(row: Row, server: Process) -> None:
    sent = upload(server, *[(f"{n}.csv", CSV) for n in range(51)])

    assert (sent.status_code, sent.json()["success"]) == (400, False)
    row(f"{UPLOAD} of 51 files", f"400 {sent.text}")


@pytest.mark.row("Limits", "a file over 50 MB is refused")
def test_too_large_a_file_is_refused(row: Row, server: Process) -> None:
    sent = upload(server, ("large.csv", b"a,b\n" * (13 * 2**20 + 1)))

    assert sent.status_code == 413
    row(f"{UPLOAD} of 52 MiB", f"413 {sent.text}")


# ---------------------------------------------------------------- upload and list


@pytest.mark.row("Usage: upload", "files, priority and user_id; the answer has every field")
def test_an_upload_is_answered_as_in_the_document(row: Row, server: Process) -> None:
    files = [("menu1.pdf", MENU), ("menu2.csv", CSV), ("menu3.csv", CSV)]
    sent = upload(server, *files, priority="high", user_id="user-123")

    data = sent.json()["data"]
    assert (sent.status_code, sent.json()["success"]) == (200, True)
    assert set(data) == {"batchId", "totalFiles", "status", "files"}
    assert (data["totalFiles"], data["status"]) == (3, "pending")
    assert set(data["files"][0]) == {"id", "filename", "fileSize", "status"}
    row(f"{UPLOAD} -F file=@menu1.pdf … -F priority=high -F user_id=user-123", sent.json())


@pytest.mark.row("Usage: upload", "a priority that is none is refused")
def test_a_wrong_priority_is_refused(row: Row, server: Process) -> None:
    sent = upload(server, ("a.csv", CSV), priority="urgent")

    assert sent.status_code == 422
    row(f"{UPLOAD} -F priority=urgent", f"422 {sent.text}")


@pytest.mark.row("Usage: list", "limit=10&status=completed; every field; newest first")
def test_jobs_are_listed(row: Row, server: Process, done: Any) -> None:
    told = server.client.get("/api/batch/jobs?limit=10&status=completed").json()

    created = [job["created_at"] for job in told["data"]]
    assert done["batch"]["id"] in {job["id"] for job in told["data"]}
    assert set(told["data"][0]) == set(COLUMNS["batch_jobs"]) - {"user_id"}
    assert created == sorted(created, reverse=True)
    row(f"{JOBS}?limit=10&status=completed", told["data"][0])


@pytest.mark.row("Usage: list", "limit 50 by default, and offset")
def test_jobs_are_listed_by_pages(row: Row, idle: Process) -> None:
    for number in range(52):
        started(idle, (f"{number}.csv", CSV))
    first = idle.client.get("/api/batch/jobs").json()["data"]
    rest = idle.client.get("/api/batch/jobs?offset=50").json()["data"]

    assert (len(first), len(rest)) == (50, 2)
    row(f"{JOBS}, then ?offset=50, of 52", f"{len(first)} jobs, then {len(rest)}")


@pytest.mark.row("Usage: list", "status=pending")
def test_pending_jobs_are_listed(row: Row, idle: Process) -> None:
    batch_id = started(idle, ("a.csv", CSV))
    told = idle.client.get("/api/batch/jobs?status=pending").json()["data"]

    assert [(job["id"], job["status"]) for job in told] == [(batch_id, "pending")]
    row(f"{JOBS}?status=pending", picked(told[0], "id", "status"))


@pytest.mark.row("Usage: list", "status={status}")
@pytest.mark.parametrize("status", ["processing", "completed", "failed"])
@pytest.mark.usefixtures("done")
def test_jobs_are_listed_by_status(row: Row, server: Process, status: str) -> None:
    started(server, ("broken.pdf", BROKEN))
    batch_id = started(server, *[(f"{n}.csv", long_table(100_000)) for n in range(9)])
    told = server.until(f"/api/batch/jobs?status={status}", lambda told: told["data"])["data"]
    server.client.delete(f"/v1/batches/{batch_id}")

    assert {job["status"] for job in told} == {status}
    row(f"{JOBS}?status={status}", f"{len(told)} of them, {picked(told[0], 'id', 'status')}")


@pytest.mark.row("Usage: list", "userId of the upload")
def test_jobs_are_listed_by_user(row: Row, server: Process) -> None:
    batch_id = started(server, ("a.csv", CSV), user_id="user-77")
    told = server.client.get("/api/batch/jobs?userId=user-77").json()["data"]

    assert [job["id"] for job in told] == [batch_id]
    row(f"{JOBS}?userId=user-77", picked(told[0], "id", "status"))


# ---------------------------------------------------------------- details


@pytest.mark.row("Usage: details", "batch with its counts and progressPercent")
def test_a_job_has_its_batch(row: Row, done: Any) -> None:
    counted = {"total_files": 3, "processed_files": 3, "failed_files": 1, "progressPercent": 100}
    assert counted.items() <= done["batch"].items()
    row(JOB, done["batch"])


@pytest.mark.row("Usage: details", "files; the result is a JSON string")
def test_a_job_has_its_files(row: Row, done: Any) -> None:
    menu = done["files"][0]

    assert (menu["filename"], menu["status"], menu["progress"]) == ("menu1.pdf", "completed", 100)
    assert json.loads(menu["result"])["document"]["kind"] == "pdf"
    row(JOB, picked(menu, "id", "filename", "status", "progress", "result"))


@pytest.mark.row("Usage: details", "summary: total, completed, processing, pending, failed")
def test_a_job_has_a_summary(row: Row, done: Any) -> None:
    assert done["summary"] == {
        "total": 3,
        "completed": 2,
        "processing": 0,
        "pending": 0,
        "failed": 1,
    }
    row(JOB, done["summary"])


@pytest.mark.row("Usage: details", "progress of a file between 0 and 100 while it is at work")
def test_a_file_at_work_has_a_progress(row: Row, server: Process) -> None:
    batch_id = started(server, ("long.csv", long_table(1_700_000)))
    told = server.until(
        f"/api/batch/jobs/{batch_id}",
        lambda told: (
            0 < told["data"]["files"][0]["progress"] < 100
            or told["data"]["batch"]["status"] == "completed"
        ),
    )["data"]["files"][0]
    ended(server, batch_id)

    assert told["status"] == "processing"
    row(JOB, picked(told, "filename", "status", "progress"))


@pytest.mark.row("React hook", "polling until data.batch.status is completed or failed")
def test_polling_ends(row: Row, server: Process) -> None:
    batch_id = started(server, ("menu1.pdf", MENU), ("menu2.csv", CSV))
    seen = server.watch(
        f"/api/batch/jobs/{batch_id}",
        lambda told: told["data"]["batch"]["status"],
        {"completed", "failed"}.__contains__,
    )

    assert seen[-1] == "completed"
    row(f"{JOB}, again and again", list(dict.fromkeys(seen)))


@pytest.mark.row("Progress UI", "percent, each file with status and error, the four counts")
def test_the_page_shows_a_document_batch(
    row: Row, server: Process, done: Any, open_page: OpenPage
) -> None:
    page = open_page(f"{server.client.base_url}/batches/{done['batch']['id']}")
    page.get_by_text("menu3.pdf").first.wait_for()
    text = " ".join(page.locator("body").inner_text().split())

    assert "menu1.pdf" in text
    assert "menu3.pdf" in text
    assert "100 %" in text or "100%" in text
    row("the page /batches/:id in Chromium", text)


# ---------------------------------------------------------------- queue processing


@pytest.mark.row("Queue", "files saved as pending survive a restart, and go on by themselves")
def test_a_batch_survives_a_restart(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **MANY) as server:
        server.client.post("/v1/queue/pause", json={"reason": "a test"})
        batch_id = started(server, ("a.csv", CSV), ("b.pdf", MENU))
        before = server.client.get(f"/api/batch/jobs/{batch_id}").json()["data"]["summary"]
        assert server.stop() == 0
    with serving(tmp_path / "data", **MANY) as server:
        server.client.post("/v1/queue/resume")
        after = ended(server, batch_id)["summary"]

    assert (before["pending"], after["completed"]) == (2, 2)
    row("upload; SIGTERM; start again", {"before": before, "after": after})


@pytest.mark.row("Queue", "a kill -9 of the server loses nothing")
def test_a_batch_survives_a_kill(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **MANY) as server:
        batch_id = started(server, *[(f"{n}.csv", long_table()) for n in range(4)])
        server.until(
            f"/api/batch/jobs/{batch_id}", lambda told: told["data"]["summary"]["processing"]
        )
        server.kill()
    with serving(tmp_path / "data", **MANY) as server:
        after = ended(server, batch_id)["summary"]

    assert after["completed"] == 4
    row("kill -9 while files are at work; start again", after)


@pytest.mark.row("Queue", "a file whose processing breaks off is retried, up to 3 times")
def test_a_crashed_file_is_tried_again(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **{**MANY, "BATCHMILL_CHILDREN": "1"}) as server:
        batch_id = started(server, ("long.csv", long_table(1_700_000)))
        path = f"/api/batch/jobs/{batch_id}"
        server.until(path, lambda told: told["data"]["files"][0]["progress"] > 0)
        server.kill_children()
        (file,) = ended(server, batch_id)["files"]

    assert (file["status"], file["retry_count"]) == ("completed", 1)
    row("kill -9 of the child at work", picked(file, "status", "retry_count", "error"))


@pytest.mark.row("Queue", "a failure that lasts: failed, with its error")
def test_a_broken_file_fails_with_a_sentence(row: Row, done: Any) -> None:
    broken = done["files"][2]

    assert (broken["status"], broken["result"]) == ("failed", None)
    assert broken["error"].startswith("menu3.pdf cannot be read")
    row(JOB, picked(broken, "filename", "status", "error", "retry_count"))


@pytest.mark.row("Queue", "high before normal before low")
def test_high_goes_before_normal_before_low(row: Row, idle: Process) -> None:
    sent = {
        each: started(idle, ("a.csv", CSV), priority=each) for each in ("low", "normal", "high")
    }
    idle.client.post("/v1/queue/resume")
    times = {each: ended(idle, sent[each])["batch"]["started_at"] for each in sent}

    assert times["high"] <= times["normal"] <= times["low"]
    row("low, normal, high are sent to a paused queue; started_at", times)


@pytest.mark.row("Queue", "a batch completes when all its files are done, some failed")
def test_a_batch_with_a_failure_completes(row: Row, done: Any) -> None:
    assert done["batch"]["status"] == "completed"
    row(JOB, picked(done["batch"], "status", "processed_files", "failed_files"))


@pytest.mark.row("Timeout", "a file over PROCESSING_TIMEOUT is stopped and fails")
def test_a_file_over_its_time_fails(row: Row, tmp_path: Path) -> None:
    limits = {**MANY, "PROCESSING_TIMEOUT": "500", "MAX_RETRIES": "0"}
    limits["BATCHMILL_TIERS_ANONYMOUS_RETRIES_TIMEOUTS"] = "0"
    with serving(tmp_path / "data", **limits) as server:
        files = ("long.csv", long_table(900_000)), ("a.csv", CSV)
        slow, fast = ended(server, started(server, *files))["files"]

    assert (slow["status"], fast["status"]) == ("failed", "completed")
    row("PROCESSING_TIMEOUT=500; a long table", picked(slow, "filename", "status", "error"))
