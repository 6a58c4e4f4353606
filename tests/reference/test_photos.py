"""Document 002, row by row: archives of photos in, square crops of faces out."""

import base64
import io
import json
import os
import re
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reference.photos import (
    MANY,
    NO_FACE,
    PERSON,
    ZIP,
    add,
    done,
    ended,
    idle,
    records,
    server,
    size,
    upload,
    zipped,
)
from support.pictures import scene
from support.portraits import Head, photo
from support.processes import Process, serving
from support.receiver import Receiver
from support.reference_rows import NOT, PARTLY, UNTRIED, Row

__all__ = ["done", "idle", "server"]

pytestmark = [pytest.mark.long]
TINY = bytes(scene(16, 12).jpegsave_buffer())
ADD = "POST /api/batch/add-images"
STATUS = "GET /api/batch/status/:batchId"
STATS = "GET /api/batch/queue-stats"
UNFINISHED = """
SELECT id, processing_status, face_detected, cropped_photo_url
FROM data_records
WHERE processing_status != 'completed'
LIMIT 10;
"""
BY_STATUS = """
SELECT processing_status, COUNT(*) as count
FROM data_records
GROUP BY processing_status;
"""


@cache
def two_people() -> bytes:
    return bytes(photo(900, 480, Head(250, 240, 80), Head(650, 240, 90)).jpegsave_buffer(Q=90))


@cache
def large_photo() -> bytes:
    return bytes(photo(3_000, 2_400, Head(1_500, 1_200, 500)).jpegsave_buffer(Q=90))


# ---------------------------------------------------------------- upload-zip


@pytest.mark.row("Usage: upload ZIP", "file, projectId, priority=5; the answer of the document")
def test_an_archive_is_answered_as_in_the_document(row: Row, server: Process) -> None:
    sent = upload(server, projectId="proj-123", priority="5")

    told = sent.json()
    wanted = {"success": True, "batchId": told["batchId"], "imageCount": 3, "queued": 3}
    assert told == wanted
    row(f"{ZIP} -F file=@photos.zip -F projectId=proj-123 -F priority=5", told)


@pytest.mark.row("Usage: upload ZIP", "1,000 photos in one archive")
def test_a_thousand_photos_are_queued(row: Row, idle: Process) -> None:
    sent = upload(idle, zipped(**{f"{number:04}": TINY for number in range(1_000)}))

    assert (sent.json()["imageCount"], sent.json()["queued"]) == (1_000, 1_000)
    row(f"{ZIP} of 1,000 photos", sent.json())


@pytest.mark.row("Features: memory", "the ZIP is streamed: never whole in memory")
def test_an_archive_is_never_whole_in_memory(row: Row, idle: Process, tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    noise = os.urandom(2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(300):
            archive.writestr(f"{number}.jpg", TINY + noise)
    before = _peak_mb(idle)
    with path.open("rb") as file:
        sent = idle.client.post("/api/batch/upload-zip", files={"file": file})
    grown = _peak_mb(idle) - before

    assert sent.json()["imageCount"] == 300
    assert grown < 150
    row(f"{ZIP} of {path.stat().st_size >> 20} MiB", f"the server's peak grew by {grown} MiB")


def _peak_mb(server: Process) -> int:
    status = Path(f"/proc/{server.popen.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.mark.row("Usage: upload ZIP", "5 GB by default; a larger archive is refused")
def test_too_large_an_archive_is_refused(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", BATCHMILL_PHOTOS_ZIP_BYTES="3000") as server:
        settings = {each["name"]: each for each in server.client.get("/v1/settings").json()["data"]}
        sent = upload(server)

    assert settings["photos.zip_bytes"]["default"] == "5 GiB"
    assert sent.status_code == 413
    row(f"BATCHMILL_PHOTOS_ZIP_BYTES=3000 (default 5 GiB); {ZIP}", f"413 {sent.text}")


@pytest.mark.row("Usage: upload ZIP", "what is no image in the archive is left out")
def test_what_is_no_image_is_left_out(row: Row, server: Process) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("photos/anna.jpg", PERSON)
        archive.writestr("photos/notes.txt", "only words")
        archive.writestr("__MACOSX/photos/._anna.jpg", b"\0\5\x16\7")
        archive.writestr("photos/Thumbs.db", b"\xd0\xcf\x11\xe0")
    sent = upload(server, buffer.getvalue())
    batch = ended(server, sent)

    came = {"imageCount": batch["imageCount"], **batch["progress"]}
    assert (sent.json()["imageCount"], came["failed"]) == (1, 0)
    row(f"{ZIP} of one photo beside notes.txt, Thumbs.db and __MACOSX", came)


# ---------------------------------------------------------------- add-images


@pytest.mark.row("Routes: add-images", "photos as a form")
def test_photos_are_added_by_form(row: Row, server: Process) -> None:
    sent = add(server, PERSON, NO_FACE, projectId="proj-9")

    assert sent.json() == {"success": True, "batchId": sent.json()["batchId"], "queued": 2}
    assert ended(server, sent)["progress"]["failed"] == 0
    row(f"{ADD} -F images=@a.jpg -F images=@b.jpg", sent.json())


@pytest.mark.row("Routes: add-images", "photos in JSON: bytes with a recordId of the client's")
def test_photos_are_added_in_json(row: Row, server: Process) -> None:
    image = {"data": base64.b64encode(PERSON).decode(), "name": "c.jpg", "recordId": "rec-1"}
    body = {"images": [image], "projectId": "proj-10", "priority": 3}
    sent = server.client.post("/api/batch/add-images", json=body)
    ended(server, sent)

    (found,) = records(server, sent.json()["batchId"], "id, face_detected, project_id")
    assert found == {"id": "rec-1", "face_detected": 1, "project_id": "proj-10"}
    row(f"{ADD} with images[].data and recordId; data_records", found)


@pytest.mark.row("Routes: add-images", "photos in JSON: by address")
def test_photos_are_added_by_address(row: Row, server: Process) -> None:
    with Receiver(behave=_send_photo) as other:
        image = {"url": other.url.replace("/hook", "/anna.jpg"), "name": "anna.jpg"}
        sent = server.client.post("/api/batch/add-images", json={"images": [image]})
        batch = ended(server, sent)

    assert batch["progress"] == {"processed": 1, "total": 1, "failed": 0}
    row(f"{ADD} with images[].url (BATCHMILL_OUTGOING_LOOPBACK)", batch)


def _send_photo(guest: Any) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(PERSON)}\r\n\r\n"
    guest.sendall(head.encode() + PERSON)


@pytest.mark.row("Routes: add-images", "a record of the database once more: data_records.id")
def test_a_record_is_looked_at_again(row: Row, server: Process) -> None:
    image = {"data": base64.b64encode(PERSON).decode(), "name": "d.jpg", "recordId": "rec-77"}
    ended(server, server.client.post("/api/batch/add-images", json={"images": [image]}))
    (known,) = server.query("SELECT id FROM data_records WHERE filename = 'd.jpg'")
    sent = server.client.post("/api/batch/add-images", json={"images": [{"recordId": known["id"]}]})

    assert sent.status_code == 200
    row(f"{ADD} with the id of data_records: {known['id']}", sent.json())


@pytest.mark.row("Routes: add-images", "photos join an open batch")
def test_photos_join_an_open_batch(row: Row, server: Process) -> None:
    batch_id = add(server, NO_FACE, keepOpen="true").json()["batchId"]
    last = add(server, NO_FACE, batchId=batch_id, keepOpen="false")

    assert ended(server, last)["imageCount"] == 2
    row(f"{ADD} -F batchId={batch_id[:12]}…", last.json())


# ---------------------------------------------------------------- status, stats


@pytest.mark.row("Usage: monitor", "batchId, status, imageCount, progress, progressPercent")
def test_the_status_is_that_of_the_document(row: Row, server: Process, done: Any) -> None:
    told = server.client.get(f"/api/batch/status/{done['batchId']}").json()

    assert told == {
        "success": True,
        "batch": {
            "batchId": done["batchId"],
            "status": "completed",
            "imageCount": 3,
            "progress": {"processed": 3, "total": 3, "failed": 1},
            "progressPercent": 100.0,
        },
    }
    row(STATUS, told)


@pytest.mark.row("Usage: monitor", "progressPercent with one decimal, while photos wait")
def test_the_percent_has_one_decimal(row: Row, server: Process) -> None:
    sent = upload(server, zipped(**{f"{number:02}": PERSON for number in range(48)}))
    seen = server.watch(
        f"/api/batch/status/{sent.json()['batchId']}",
        lambda told: told["batch"]["progressPercent"],
        lambda percent: percent == 100,
    )

    assert all(round(each, 1) == each for each in seen)
    assert seen == sorted(seen)
    row(f"{STATUS}, {len(seen)} times", list(dict.fromkeys(seen)))


@pytest.mark.row("Usage: stats", "stats.faceDetection: active, completed, failed, waiting")
def test_the_queue_is_counted(row: Row, server: Process, done: Any) -> None:
    told = server.client.get("/api/batch/queue-stats").json()

    assert set(told["stats"]["faceDetection"]) >= {"active", "completed", "failed", "waiting"}
    assert told["stats"]["faceDetection"]["failed"] >= 1
    row(f"{STATS} | jq .stats.faceDetection", told["stats"]["faceDetection"])


# ---------------------------------------------------------------- faces


@pytest.mark.row("Tuning: outputSize 300", "the crop has 300×300 px, and its address opens")
def test_the_crop_has_300_px(row: Row, server: Process, done: Any) -> None:
    anna = records(server, done["batchId"], "face_crop_url, cropped_photo_url")[0]
    got = server.client.get(anna["face_crop_url"])

    assert size(got.content) == (300, 300)
    assert anna["cropped_photo_url"] == anna["face_crop_url"]
    row("GET data_records.face_crop_url", f"{got.headers['content-type']}, 300×300")


@pytest.mark.row("Tuning: padding 0.20", "20 % around the face")
def test_the_crop_has_room_around_the_face(row: Row, server: Process, done: Any) -> None:
    item = server.client.get(f"/v1/batches/{done['batchId']}").json()
    (crop,) = [each for each in item["pipeline"]["steps"] if each["use"] == "face_crop"]

    assert crop["with"]["padding_pct"] == 20
    row("GET /v1/batches/:id", crop)


@pytest.mark.row("Worker", "coordinates in pixels of the photo as it was sent")
def test_the_face_is_where_it_is_in_the_photo(row: Row, server: Process) -> None:
    sent = add(server, large_photo())
    ended(server, sent)
    columns = "face_x, face_y, face_width, face_height"
    (face,) = records(server, sent.json()["batchId"], columns)

    assert face["face_x"] < 1_500 < face["face_x"] + face["face_width"]
    assert face["face_y"] < 1_200 < face["face_y"] + face["face_height"]
    assert face["face_width"] > 300
    row(f"{ADD} of 3000×2400 px, a face at 1500, 1200; SELECT {columns}", face)


@pytest.mark.row("Tuning: maxDim 1024", "reduce to 512 for speed, increase for accuracy")
def test_the_size_of_detection_is_a_setting(row: Row, server: Process) -> None:
    operation = server.client.get("/v1/operations/face_crop").json()
    options = json.dumps(operation["options"])

    assert "padding_pct" in options
    if "detect_px" in options:
        row("GET /v1/operations/face_crop", "detect_px")
    else:
        row(
            "GET /v1/operations/face_crop",
            sorted(operation["options"].get("properties", operation["options"])),
            PARTLY,
            why="photos are looked at in a fixed size of at most 1024 px",
        )


@pytest.mark.row("Troubleshooting: no faces", "face_detected is false, the photo is done")
def test_a_photo_without_a_face_is_done(row: Row, server: Process, done: Any) -> None:
    wall = records(
        server, done["batchId"], "filename, processing_status, face_detected, face_crop_url"
    )[2]

    assert (wall["processing_status"], wall["face_detected"]) == ("completed", 0)
    assert wall["face_crop_url"] is None
    row("data_records", wall)


@pytest.mark.row("Troubleshooting: no faces", "lower the threshold")
def test_the_threshold_can_be_lowered(row: Row, server: Process) -> None:
    options = server.client.get("/v1/operations/face_crop").json()["options"]
    known = options.get("properties", options)

    assert "no_face" in known
    lower = [name for name in known if re.search("score|threshold|confidence", name)]
    if lower:
        row("GET /v1/operations/face_crop", lower)
    else:
        row(
            "GET /v1/operations/face_crop",
            sorted(known),
            NOT,
            why="there is no option for the threshold",
        )


@pytest.mark.row("To extend: multi-face", "crops of all faces of a photo, by upload-zip")
def test_every_face_can_be_cropped(row: Row, server: Process) -> None:
    sent = upload(server, zipped(pair=two_people()), faces="all")
    ended(server, sent)
    (item,) = server.client.get(f"/v1/batches/{sent.json()['batchId']}/items").json()["data"]

    assert len(item["outputs"]) == 2
    row(f"{ZIP} -F faces=all, a photo of two people", "2 crops")


@pytest.mark.row("To extend: multi-face", "crops of all faces of a photo, by /v1")
def test_every_face_can_be_cropped_by_v1(row: Row, server: Process) -> None:
    pipeline = {"steps": [{"use": "face_crop", "with": {"faces": "all"}}]}
    files = [("files", ("pair.jpg", two_people()))]
    sent = server.client.post("/v1/batches", files=files, data={"pipeline": json.dumps(pipeline)})
    batch_id = sent.json()["id"]
    server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"])
    (item,) = server.client.get(f"/v1/batches/{batch_id}/items").json()["data"]

    assert len(item["outputs"]) == 2
    row('POST /v1/batches with {"use": "face_crop", "with": {"faces": "all"}}', "2 crops")


# ---------------------------------------------------------------- database


@pytest.mark.row("Database", "check job status: what is not completed")
def test_what_is_not_completed_is_shown(row: Row, server: Process, done: Any) -> None:
    found = server.query(UNFINISHED)

    assert {"failed"} <= {each["processing_status"] for each in found}
    row(UNFINISHED, found[0])


@pytest.mark.row("Database", "count by status")
def test_records_are_counted_by_status(row: Row, server: Process, done: Any) -> None:
    found = {each["processing_status"]: each["count"] for each in server.query(BY_STATUS)}

    assert {"completed", "failed"} <= set(found)
    row(BY_STATUS, found)


@pytest.mark.row("Features: faults", "failed jobs are tracked in the database")
def test_failures_are_in_the_database(row: Row, server: Process, done: Any) -> None:
    broken = records(server, done["batchId"], "filename, processing_status, error")[1]

    assert broken["processing_status"] == "failed"
    assert broken["error"]
    row("data_records", broken)


@pytest.mark.row("Features: faults", "3 attempts with exponential backoff")
def test_a_photo_has_three_attempts(row: Row, server: Process, done: Any) -> None:
    pipeline = server.client.get(f"/v1/batches/{done['batchId']}").json()["pipeline"]

    assert pipeline["retries"] == 2
    why = "read; no failure that may pass can be caused from outside (tests/service does)"
    row("GET /v1/batches/:id", {"retries": pipeline["retries"]}, UNTRIED, why=why)


@pytest.mark.row("Features: progress", "what a batch is outlives a restart")
def test_a_batch_outlives_a_restart(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **MANY) as server:
        batch = ended(server, upload(server))
        assert server.stop() == 0
    with serving(tmp_path / "data", **MANY) as server:
        again = server.client.get(f"/api/batch/status/{batch['batchId']}").json()["batch"]

    assert again == batch
    row(f"SIGTERM, start again; {STATUS}", again)


@pytest.mark.row("Usage: upload ZIP", "priority: a lower number goes first")
def test_a_lower_number_goes_first(row: Row, idle: Process) -> None:
    sent = {each: upload(idle, zipped(a=TINY), priority=each).json()["batchId"] for each in "951"}
    idle.client.post("/v1/queue/resume")
    begun = {}
    for each, batch_id in sent.items():
        path = f"/v1/batches/{batch_id}"
        begun[each] = idle.until(path, lambda batch: batch["started_at"])["started_at"]

    assert begun["1"] <= begun["5"] <= begun["9"]
    row("priority 9, 5 and 1 sent to a paused queue; started_at", begun)
