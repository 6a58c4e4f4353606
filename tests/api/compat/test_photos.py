"""Reference 002, by its own requests and its own SQL: photos in, square crops of faces out."""

import base64
import io
import json
import sqlite3
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import pyvips

from batchmill.settings.compat import ImagesSettings, PhotosSettings
from support import whole_server
from support.portraits import Head, photo
from support.whole_server import WholeServer

LOOSE = ImagesSettings(rate_requests=1_000)
PERSON = bytes(photo(640, 480, Head(320, 240, 90)).jpegsave_buffer(Q=90))
PAIR = bytes(photo(640, 480, Head(180, 240, 70), Head(460, 240, 80)).jpegsave_buffer(Q=90))
NOBODY = bytes(photo(320, 240).jpegsave_buffer(Q=90))


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in members.items():
            archive.writestr(f"photos/{name}.jpg", body)
    return buffer.getvalue()


PHOTOS = zipped(anna=PERSON, wall=NOBODY, broken=PERSON[:2_000])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeServer]:
    with whole_server.running(tmp_path_factory.mktemp("photos"), images=LOOSE) as running:
        yield running


def upload_zip(server: WholeServer, archive: bytes = PHOTOS, **fields: str) -> httpx.Response:
    return server.client.post(
        "/api/batch/upload-zip", files={"file": ("photos.zip", archive)}, data=fields
    )


def ended(server: WholeServer, batch_id: str) -> Any:
    done = {"completed", "failed", "cancelled"}
    told = server.until(
        f"/api/batch/status/{batch_id}", lambda told: told["batch"]["status"] in done
    )
    return told["batch"]


def query(server: WholeServer, sql: str, *values: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(server.context.settings.data_dir / "batchmill.sqlite3")) as conn:
        conn.row_factory = sqlite3.Row
        return [dict(row) for row in conn.execute(sql, values)]


@pytest.fixture(scope="module")
def batch_id(server: WholeServer) -> str:
    """A batch of three photos: one person, nobody, and a broken file, once it has ended."""
    sent = upload_zip(server, projectId="proj-123", priority="5")
    assert sent.status_code == 200, sent.text
    told = sent.json()
    assert told == {"success": True, "batchId": told["batchId"], "imageCount": 3, "queued": 3}
    ended(server, told["batchId"])
    return told["batchId"]


def test_the_status_counts_photos(server: WholeServer, batch_id: str) -> None:
    told = server.client.get(f"/api/batch/status/{batch_id}").json()

    assert told == {
        "success": True,
        "batch": {
            "batchId": batch_id,
            "status": "completed",
            "imageCount": 3,
            "progress": {"processed": 3, "total": 3, "failed": 1},
            "progressPercent": 100.0,
        },
    }


def test_the_priority_is_a_number_from_1_first_to_15(server: WholeServer, batch_id: str) -> None:
    rank = server.client.get(f"/v1/batches/{batch_id}").json()["priority"] % 100

    assert rank == 32


def test_the_queue_is_counted_by_family(server: WholeServer, batch_id: str) -> None:
    stats = server.client.get("/api/batch/queue-stats").json()["stats"]

    assert set(stats["faceDetection"]) == {"active", "completed", "failed", "waiting"}
    assert stats["faceDetection"]["completed"] >= 2
    assert stats["faceDetection"]["failed"] >= 1


def test_every_record_has_its_face_in_the_database(server: WholeServer, batch_id: str) -> None:
    columns = """id, processing_status, face_detected, cropped_photo_url, face_crop_url, face_x,
        face_y, face_width, face_height, project_id"""
    sql = f"SELECT {columns} FROM data_records WHERE batch_id = ? ORDER BY filename"  # noqa: S608
    anna, broken, wall = query(server, sql, batch_id)

    assert (anna["processing_status"], anna["face_detected"]) == ("completed", 1)
    assert anna["project_id"] == "proj-123"
    assert 200 < anna["face_x"] < 320 < anna["face_x"] + anna["face_width"] < 440
    assert 120 < anna["face_y"] < 240 < anna["face_y"] + anna["face_height"] < 380
    assert (wall["processing_status"], wall["face_detected"]) == ("completed", 0)
    assert (wall["face_crop_url"], wall["face_x"]) == (None, None)
    assert (broken["processing_status"], broken["face_detected"]) == ("failed", None)
    crop = server.client.get(anna["cropped_photo_url"])
    assert crop.status_code == 200
    image = pyvips.Image.new_from_buffer(crop.content, "")
    assert (image.width, image.height) == (300, 300)
    assert anna["face_crop_url"] == anna["cropped_photo_url"]


def test_the_documents_sql_runs_as_it_is(server: WholeServer, batch_id: str) -> None:
    unfinished = query(
        server,
        """
-- Check job status
SELECT id, processing_status, face_detected, cropped_photo_url
FROM data_records
WHERE processing_status != 'completed'
LIMIT 10;
""",
    )
    counts = query(
        server,
        """
-- Count by status
SELECT processing_status, COUNT(*) as count
FROM data_records
GROUP BY processing_status;
""",
    )

    assert [row["processing_status"] for row in unfinished] == ["failed"]
    assert {row["processing_status"] for row in counts} == {"completed", "failed"}


def test_photos_are_added_by_form_and_by_their_bytes_in_json(server: WholeServer) -> None:
    by_form = server.client.post(
        "/api/batch/add-images",
        files=[("images", ("a.jpg", PERSON)), ("images", ("b.jpg", NOBODY))],
        data={"projectId": "proj-9"},
    )
    image = {"data": base64.b64encode(PERSON).decode(), "name": "c.jpg", "recordId": "rec-1"}
    by_json = server.client.post(
        "/api/batch/add-images", json={"images": [image], "projectId": "proj-10", "priority": 3}
    )

    for answer, number in ((by_form, 2), (by_json, 1)):
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told == {"success": True, "batchId": told["batchId"], "queued": number}
        assert ended(server, told["batchId"])["progress"]["failed"] == 0
    sql = "SELECT id, face_detected FROM data_records WHERE project_id = 'proj-10'"
    assert query(server, sql) == [{"id": "rec-1", "face_detected": 1}]


def test_the_photo_of_a_record_is_looked_at_again(server: WholeServer, batch_id: str) -> None:
    sql = "SELECT id FROM data_records WHERE batch_id = ? AND face_detected"
    ((record_id,),) = [row.values() for row in query(server, sql, batch_id)]

    sent = server.client.post(
        "/api/batch/add-images",
        json={"images": [{"recordId": record_id}, {"recordId": record_id}], "projectId": "again"},
    )

    assert sent.status_code == 200, sent.text
    ended(server, sent.json()["batchId"])
    found = query(server, "SELECT id, face_detected FROM data_records WHERE project_id = 'again'")
    assert found == [{"id": record_id, "face_detected": 1}] * 2


def test_a_record_is_found_by_the_id_that_the_database_shows(server: WholeServer) -> None:
    """Also by an id of the caller's own, whose newest photo counts."""

    def add(image: dict[str, str], project: str) -> httpx.Response:
        body = {"images": [image], "projectId": project}
        return server.client.post("/api/batch/add-images", json=body)

    for photo_of in (NOBODY, PERSON):
        data = base64.b64encode(photo_of).decode()
        sent = add({"data": data, "name": "me.jpg", "recordId": "staff 7/é"}, "own")
        ended(server, sent.json()["batchId"])
    ((shown,),) = {
        tuple(row.values())
        for row in query(server, "SELECT id FROM data_records WHERE project_id = 'own'")
    }
    sent = add({"recordId": shown}, "own again")

    assert sent.status_code == 200, sent.text
    ended(server, sent.json()["batchId"])
    sql = "SELECT id, filename, face_detected FROM data_records WHERE project_id = 'own again'"
    assert query(server, sql) == [{"id": "staff 7/é", "filename": "me.jpg", "face_detected": 1}]
    assert add({"recordId": "staff 8"}, "none").status_code == 404


OPTIONS = {"faces": "all", "width": "120", "level_eyes": "true"}


def sent_with_options(server: WholeServer, way: str) -> httpx.Response:
    """Send the photo of two people with the options, in one of the ways there are."""
    image = {"data": base64.b64encode(PAIR).decode(), "name": "pair.jpg"}
    archive = {"file": ("photos.zip", zipped(pair=PAIR))}
    one = {"images": ("pair.jpg", PAIR)}
    together = {"options": json.dumps(OPTIONS)}
    adding = "/api/batch/add-images"
    if way == "added to an open batch":
        first = server.client.post(adding, files=one, data={"keepOpen": "true"}).json()["batchId"]
        together = {**OPTIONS, "batchId": first, "keepOpen": "false"}
    bodies: dict[str, dict[str, Any]] = {
        "fields of upload-zip": {"files": archive, "data": OPTIONS},
        "options of upload-zip": {"files": archive, "data": together},
        "fields of add-images": {"files": one, "data": OPTIONS},
        "JSON": {"json": {"images": [image], **OPTIONS}},
        "options in JSON": {"json": {"images": [image], "options": OPTIONS}},
    }
    body = bodies.get(way, {"files": one, "data": together})
    zipping = way.endswith("upload-zip")
    return server.client.post("/api/batch/upload-zip" if zipping else adding, **body)


@pytest.mark.parametrize(
    "way",
    [
        "fields of upload-zip",
        "options of upload-zip",
        "fields of add-images",
        "options of add-images",
        "JSON",
        "options in JSON",
        "added to an open batch",
    ],
)
def test_every_option_of_face_crop_reaches_it(server: WholeServer, way: str) -> None:
    sent = sent_with_options(server, way)

    assert sent.status_code == 200, sent.text
    ended(server, sent.json()["batchId"])
    items = server.client.get(f"/v1/batches/{sent.json()['batchId']}/items").json()["data"]
    made = items[-1]["outputs"]
    assert [(each["width"], each["height"]) for each in made] == [(120, 300)] * 2


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"facse": "all"}, "face_crop has no option 'facse'. Did you mean 'faces'?"),
        ({"options": '{"faces": "some"}'}, "face_crop: faces can't be 'some'; it must be one of "),
        ({"options": "[1]"}, "`options` must be a valid dictionary."),
    ],
)
def test_an_unknown_option_is_refused_by_a_sentence(
    server: WholeServer, fields: dict[str, str], sentence: str
) -> None:
    batch_id = server.client.post(
        "/api/batch/add-images", files={"images": ("a.jpg", NOBODY)}, data={"keepOpen": "true"}
    ).json()["batchId"]
    for more in ({}, {"batchId": batch_id}):
        answer = server.client.post(
            "/api/batch/add-images", files={"images": ("a.jpg", NOBODY)}, data={**fields, **more}
        )

        assert answer.status_code == 422
        assert answer.json()["error"].startswith(sentence)
    assert upload_zip(server, PHOTOS, **fields).json()["error"].startswith(sentence)


def test_labels_that_clients_send_beside_are_no_options(server: WholeServer) -> None:
    labels = {"userTier": "enterprise", "userId": "u", "user_id": "u", "sessionId": "s"}

    assert upload_zip(server, PHOTOS, **labels).status_code == 200


def test_an_open_batch_takes_more_photos_until_it_is_closed(server: WholeServer) -> None:
    def add(**fields: Any) -> httpx.Response:
        files = [("images", ("a.jpg", NOBODY))]
        return server.client.post("/api/batch/add-images", files=files, data=fields)

    batch_id = add(keepOpen="true").json()["batchId"]
    more = add(batchId=batch_id)
    last = add(batchId=batch_id, keepOpen="false")
    late = add(batchId=batch_id)

    assert more.json() == {"success": True, "batchId": batch_id, "queued": 1}
    assert last.json()["queued"] == 1
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert ended(server, batch_id)["imageCount"] == 3


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("upload-zip", "file", PERSON),
        ("add-images", "images", PHOTOS),
        ("add-images", "images", b"%PDF-1.7 a document"),
    ],
)
def test_other_types_are_refused_by_content(
    server: WholeServer, path: str, field: str, body: bytes
) -> None:
    answer = server.client.post(f"/api/batch/{path}", files={field: ("x.zip", body)})

    assert answer.status_code == 415
    assert answer.json()["error"].startswith("x.zip is ")


@pytest.mark.parametrize(
    ("image", "status"),
    [({"recordId": "itm_none"}, 404), ({}, 422), ({"url": "ftp://example.org/a.jpg"}, 422)],
)
def test_images_that_cannot_be_had_are_refused(
    server: WholeServer, image: dict[str, Any], status: int
) -> None:
    answer = server.client.post("/api/batch/add-images", json={"images": [image]})

    assert (answer.status_code, answer.json()["success"]) == (status, False)


def test_an_archive_without_photos_is_refused(server: WholeServer) -> None:
    answer = upload_zip(server, zipped())

    assert (answer.status_code, answer.json()["code"]) == (422, "empty_archive")


def mixed(packing: int, *, photos: bool = True) -> bytes:
    """An archive of photos, by name or by content alone, and of files that are none."""
    strangers = {
        "README.txt": b"All of spring.\n" * 400,
        "menu.pdf": b"%PDF-1.7\n" + b"1" * 9_000,
        "notes": b"\x00\x01\x02" * 3_000,
        "empty": b"",
        "inner.zip": zipped(anna=PERSON),
    }
    images = {"wall": NOBODY, "named.jpg": b"no photo", "anna.png": PERSON} if photos else {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, body in {**strangers, **images}.items():
            archive.writestr(name, body)
    return buffer.getvalue()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_of_an_archive_that_are_no_images_are_skipped_and_not_counted(
    server: WholeServer, packing: int
) -> None:
    """But `named.jpg`, which its sender takes for one, fails."""
    sent = upload_zip(server, mixed(packing)).json()
    batch = ended(server, sent["batchId"])
    items = server.client.get(f"/v1/batches/{sent['batchId']}/items").json()["data"]

    assert (sent["imageCount"], sent["queued"]) == (3, 3)
    assert batch["imageCount"] == 3
    assert batch["progress"] == {"processed": 3, "total": 3, "failed": 1}
    assert batch["progressPercent"] == 100.0
    skipped = {item["input"]["path"] for item in items if item["status"] == "skipped"}
    assert skipped == {"README.txt", "menu.pdf", "notes", "empty", "inner.zip"}
    assert {(item["skipped"] or {}).get("reason") for item in items} == {None, "unsupported"}


def test_an_archive_that_joins_an_open_batch_is_looked_through_too(server: WholeServer) -> None:
    body = mixed(zipfile.ZIP_DEFLATED)
    order = {"pipeline": "face-crop", "options": '{"keep_open": true}'}
    batch_id = server.client.post(
        "/v1/batches", files={"files": ("a.zip", body)}, data=order
    ).json()["id"]
    server.client.post(f"/v1/batches/{batch_id}/items", files={"files": ("b.zip", body)})
    server.client.post(f"/v1/batches/{batch_id}/close")
    told = server.until(f"/v1/batches/{batch_id}", lambda told: told["ended_at"])

    assert (told["counts"]["skipped"], told["counts"]["completed"]) == (10, 4)
    assert told["counts"]["total"] == 16
    assert told["progress"]["percent"] == 100


def test_a_file_that_is_sent_by_itself_is_meant_and_fails(server: WholeServer) -> None:
    sent = server.client.post(
        "/v1/batches", files={"files": ("README.txt", b"text")}, data={"pipeline": "web"}
    ).json()
    told = server.until(f"/v1/batches/{sent['id']}", lambda told: told["ended_at"])

    assert told["counts"]["failed"] == 1


@pytest.mark.parametrize("path", ["/api/batch/upload-zip", "/v1/batches"])
def test_an_archive_without_an_image_is_refused_by_a_sentence(
    server: WholeServer, path: str
) -> None:
    field, data = ("file", {}) if path.startswith("/api") else ("files", {"pipeline": "web"})
    body = mixed(zipfile.ZIP_DEFLATED, photos=False)

    answer = server.client.post(path, files={field: ("docs.zip", body)}, data=data)

    assert (answer.status_code, answer.json()["code"]) == (422, "empty_archive")
    assert "docs.zip holds no file to process (none of its 5 files is one of the images" in (
        answer.text
    )


def test_the_crop_is_what_the_settings_say(tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    settings = PhotosSettings(
        crop_px=120,
        padding_pct=50,
        options=("no_face=fail", "detect_px=512"),
        output_dir=crops,
    )
    with whole_server.running(tmp_path / "data", photos=settings) as server:
        told = upload_zip(server).json()
        batch = ended(server, told["batchId"])
        rows = query(server, "SELECT face_crop_url, error FROM data_records ORDER BY filename")
        crop = server.client.get(rows[0]["face_crop_url"]).content
        order = server.client.get(f"/v1/batches/{told['batchId']}").json()["pipeline"]

    image = pyvips.Image.new_from_buffer(crop, "")
    assert (image.width, image.height) == (120, 120)
    assert order["steps"][0]["with"]["detect_px"] == 512
    assert batch["progress"]["failed"] == 2
    assert rows[2]["error"] == "no face was found in photos/wall.jpg"
    assert (crops / told["batchId"] / "photos/anna.jpg").read_bytes() == crop


def test_crops_keep_folder_and_name_of_their_photos(tmp_path: Path) -> None:
    """Also photos of one name, several faces of one photo, and what is tried again."""
    crops = tmp_path / "crops"
    other = bytes(photo(640, 480, Head(200, 240, 90)).jpegsave_buffer(Q=90))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in (("a/x.jpg", PERSON), ("b/x.jpg", PERSON), ("b/pair.png", PAIR)):
            archive.writestr(name, body)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("a/x.jpg", other)
            archive.writestr("a/x.jpg", PERSON)
    settings = PhotosSettings(options=("faces=all",), output_dir=crops)
    with whole_server.running(tmp_path / "data", photos=settings) as server:
        batch_id = upload_zip(server, buffer.getvalue()).json()["batchId"]
        assert ended(server, batch_id)["progress"]["failed"] == 0

    found = sorted(path.relative_to(crops / batch_id) for path in crops.glob("**/*.jpg"))
    assert [str(path) for path in found] == [
        "a/x-face-1-2.jpg",
        "a/x-face-1.jpg",
        "b/pair-face-1.jpg",
        "b/pair-face-2.jpg",
        "b/x-face-1.jpg",
    ]
    assert not list(crops.glob("**/*.part"))
