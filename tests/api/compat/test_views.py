"""The views answer the documents' SQL on every database."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from batchmill.db.connect import Database
from batchmill.db.schema import batches, items

AT = datetime(2024, 1, 1, 10, 0, 0, 5_000, tzinfo=UTC)
TOKEN = "0123456789abcdef" * 2


def add_batch(conn: Connection, batch_id: str, family: str, **values: Any) -> None:
    row = {
        "id": batch_id,
        "owner_id": "local",
        "status": "completed_with_errors",
        "pipeline": {},
        "pipeline_name": "",
        "family": family,
        "tier": "free",
        "priority": 1_010,
        "metadata": {},
        "created_at": AT,
        **values,
    }
    conn.execute(batches.insert().values(**row))


def add_item(conn: Connection, item_id: str, batch_id: str, position: int, **values: Any) -> None:
    row = {
        "id": item_id,
        "batch_id": batch_id,
        "position": position,
        "name": f"{item_id}.bin",
        "input_key": "k",
        "input_bytes": 10,
        **values,
    }
    conn.execute(items.insert().values(**row))


def test_documents_are_shown_under_the_documents_names(database: Database) -> None:
    with database.engine.begin() as conn:
        add_batch(conn, "bat_1", "document-jobs", n_completed=1, n_failed=1, ended_at=AT)
        add_batch(conn, "bat_2", "images", n_pending=5)
        add_item(conn, "itm_1", "bat_1", 0, status="completed", progress=1.0, data={"pages": 3})
        failure = {"error_message": "broken", "errors": 1}
        add_item(conn, "itm_2", "bat_1", 1, status="quarantined", progress=0.456, **failure)
        add_item(conn, "itm_3", "bat_2", 0, status="pending")
        jobs = conn.execute(text("SELECT * FROM batch_jobs ORDER BY created_at DESC")).all()
        files = conn.execute(text("SELECT * FROM batch_files ORDER BY id")).all()

    at = "2024-01-01T10:00:00.005Z"
    ended = (at, None, at, None)
    assert jobs == [("bat_1", "local", "completed", 2, 2, 1, "high", *ended)]
    assert [(row.id, row.status, row.progress, row.error, row.retry_count) for row in files] == [
        ("itm_1", "completed", 100, None, 0),
        ("itm_2", "failed", 46, "broken", 0),
    ]
    assert "pages" in files[0].result


def test_photos_are_shown_as_records_with_their_faces(database: Database) -> None:
    face = {"face_detected": True, "face_x": 10, "face_y": 20, "face_width": 30, "face_height": 40}
    none = {"face_detected": False, "face_x": None}
    with database.engine.begin() as conn:
        add_batch(conn, "bat_1", "faceDetection", result_token=TOKEN, tag="proj-123")
        add_item(conn, "itm_1", "bat_1", 0, status="completed", data=face, custom_id="record 7")
        add_item(conn, "itm_2", "bat_1", 1, status="completed", data=none)
        add_item(conn, "itm_3", "bat_1", 2, status="queued")
        rows = conn.execute(text("SELECT * FROM data_records ORDER BY filename")).all()
        unfinished = conn.execute(
            text("""
SELECT id, processing_status, face_detected, cropped_photo_url
FROM data_records
WHERE processing_status != 'completed'
LIMIT 10;
""")
        ).all()
        counts = conn.execute(
            text("""
SELECT processing_status, COUNT(*) as count
FROM data_records
GROUP BY processing_status;
""")
        ).all()

    seen, unseen, _ = rows
    url = f"/api/results/{TOKEN}/itm_1/1.jpg"
    assert (seen.id, seen.project_id, bool(seen.face_detected)) == ("record 7", "proj-123", True)
    assert (seen.face_x, seen.face_y, seen.face_width, seen.face_height) == (10, 20, 30, 40)
    assert (seen.cropped_photo_url, seen.face_crop_url) == (url, url)
    assert (bool(unseen.face_detected), unseen.face_x, unseen.face_crop_url) == (False, None, None)
    assert unfinished == [("itm_3", "pending", None, None)]
    assert sorted(counts) == [("completed", 2), ("pending", 1)]
