"""Files that clients put into the bucket themselves, past the server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from batchmill.db.schema import uploads as table
from batchmill.db.types import at
from batchmill.model.upload import UploadId
from batchmill.service import sweep
from batchmill.service.submission import uploads
from batchmill.storage import keys
from batchmill.storage.objects import Bucket
from support import whole_server
from support.archives import Entry, archive
from support.pictures import scene
from support.server_contexts import a_day_later
from support.whole_server import WholeServer

KIB = 1024
TIERS = {
    "anonymous": {
        "file_bytes": 300 * KIB,
        "zip_bytes": 600 * KIB,
        "open_uploads": 3,
        "submissions_per_minute": 1_000,
    }
}
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
def photo() -> bytes:
    return bytes(scene(300, 200).jpegsave_buffer(Q=80))


@pytest.fixture
def server(own_bucket: Bucket, tmp_path: Path) -> Iterator[WholeServer]:
    """A server that keeps everything in the bucket."""
    with whole_server.running(tmp_path / "data", **in_bucket(own_bucket)) as running:
        yield running


def in_bucket(bucket: Bucket) -> dict[str, Any]:
    return {
        "storage_url": bucket.url,
        "s3_endpoint": bucket.endpoint,
        "s3_region": bucket.region,
        "s3_access_key_id": bucket.access_key_id,
        "s3_secret_access_key": bucket.secret_access_key,
        "tiers": TIERS,
        "sweep_s": 0.2,
    }


def ask(server: WholeServer, name: str, size: int) -> httpx.Response:
    return server.client.post("/v1/uploads", json={"direct": True, "name": name, "bytes": size})


def begun(server: WholeServer, name: str, size: int) -> dict[str, Any]:
    answer = ask(server, name, size)
    assert answer.status_code == 201, answer.text
    return answer.json()


def put(upload: dict[str, Any], body: bytes) -> int:
    """Do as the answer says, without anything of the server."""
    return httpx.request(
        upload["method"], upload["url"], headers=upload["headers"], content=body, timeout=60
    ).status_code


def sent(server: WholeServer, name: str, body: bytes) -> str:
    upload = begun(server, name, len(body))
    assert put(upload, body) == 200
    return str(upload["id"])


def submit(server: WholeServer, *upload_ids: str, **headers: str) -> httpx.Response:
    order = {"pipeline": "web", "inputs": [{"upload_id": each} for each in upload_ids]}
    return server.client.post("/v1/batches", json=order, headers=headers)


def items(server: WholeServer, told: httpx.Response) -> list[dict[str, Any]]:
    assert told.status_code == 202, told.text
    batch_id = told.json()["id"]
    server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"])
    return server.client.get(f"/v1/batches/{batch_id}/items").json()["data"]


def in_the_bucket(server: WholeServer) -> set[str]:
    async def listed() -> set[str]:
        return {name async for name in server.context.storage.list_files(keys.DIRECT_UPLOADS)}

    return server.run(listed())


async def ended(server: WholeServer, upload_id: str) -> None:
    statement = update(table).where(table.c.id == upload_id).values(expires_at=at(1))
    await server.context.database.run(lambda conn: conn.execute(statement))
    await uploads.tidy(server.context)


def test_a_file_that_a_client_put_into_the_bucket_becomes_an_item_and_leaves_no_copy(
    server: WholeServer, photo: bytes
) -> None:
    upload_id = sent(server, "holidays/a.bin", photo)
    assert in_the_bucket(server) == {upload_id}
    told = submit(server, upload_id, **{"Idempotency-Key": "once"})

    (item,) = items(server, told)

    assert (item["input"]["path"], item["status"]) == ("holidays/a.bin", "completed")
    assert item["input"]["sha256"] == hashlib.sha256(photo).hexdigest()
    assert in_the_bucket(server) == set()
    assert list(server.context.settings.uploads_folder.glob("up*_*")) == []
    assert submit(server, upload_id).status_code == 404
    again = submit(server, upload_id, **{"Idempotency-Key": "once"})
    assert (again.status_code, again.json()["id"]) == (202, told.json()["id"])


def test_archives_and_many_files_go_past_the_server_too(server: WholeServer, photo: bytes) -> None:
    packed = archive(Entry(b"one.jpg", photo), Entry(b"two.jpg", photo))
    inputs = [sent(server, name, body) for name, body in (("a.jpg", photo), ("b.zip", packed))]

    found = items(server, submit(server, *inputs))

    assert [item["input"]["path"] for item in found] == ["a.jpg", "one.jpg", "two.jpg"]
    assert {item["status"] for item in found} == {"completed"}


def test_a_file_over_the_limit_that_is_no_archive_fails_and_says_so(
    server: WholeServer, photo: bytes
) -> None:
    inputs = [sent(server, "a.jpg", photo), sent(server, "b.zip", b"\0" * 400 * KIB)]

    first, second = items(server, submit(server, *inputs))

    assert (first["status"], second["status"]) == ("completed", "failed")
    assert second["error"]["code"] == "file_too_large"


def test_a_batch_takes_only_what_is_there_and_as_long_as_was_said(
    server: WholeServer, photo: bytes, tmp_path: Path
) -> None:
    upload = begun(server, "a.jpg", len(photo))
    absent = submit(server, upload["id"])
    assert (absent.status_code, absent.json()["code"]) == (409, "upload_unfinished")
    assert put({**upload, "headers": {}}, photo + b"more") == 403

    other = tmp_path / "other"
    other.write_bytes(photo + b"more")
    key = keys.upload_key(UploadId(upload["id"]))
    server.run(server.context.storage.put(key, other, media_type="image/jpeg"))
    longer = submit(server, upload["id"])
    assert (longer.status_code, longer.json()["code"]) == (409, "upload_size")
    assert f"{len(photo) + 4} bytes in the bucket, not {len(photo)}" in longer.json()["detail"]

    assert put(upload, photo) == 200
    assert items(server, submit(server, upload["id"]))[0]["status"] == "completed"


def test_limits_hold_before_an_address_is_given(server: WholeServer) -> None:
    assert ask(server, "a.jpg", 600 * KIB + 1).json()["code"] == "too_large"
    for wrong in ({"bytes": 0}, {"bytes": -1}, {"direct": False}, {"name": ""}, {"x": 1}):
        order = {"direct": True, "name": "a.jpg", "bytes": 5, **wrong}
        assert server.client.post("/v1/uploads", json=order).json()["code"] == "invalid_field"
    for _ in range(3):
        begun(server, "a.jpg", 1)
    assert ask(server, "a.jpg", 1).json()["code"] == "too_many_uploads"


def test_what_a_bucket_does_not_take_in_one_request_is_sent_on_to_tus(
    own_bucket: Bucket, tmp_path: Path
) -> None:
    tiers = {"anonymous": {"file_bytes": 10**10, "open_uploads_bytes": 10**11}}
    settings = {**in_bucket(own_bucket), "tiers": tiers}
    with whole_server.running(tmp_path / "data", with_worker=False, **settings) as server:
        refused = ask(server, "a.tif", 5_000_000_001).json()
        assert refused["code"] == "too_large"
        assert "5 GB" in refused["detail"]
        assert "by tus" in refused["detail"]
        assert ask(server, "a.tif", 5_000_000_000).status_code == 201


def test_the_address_holds_no_secret_and_ends_with_the_upload(
    server: WholeServer, own_bucket: Bucket
) -> None:
    answer = ask(server, "a.jpg", 5)
    upload = answer.json()

    assert upload["url"].startswith(f"{own_bucket.endpoint}/bucket/")
    assert str(own_bucket.secret_access_key) not in answer.text
    assert "X-Amz-Expires=86400&" in upload["url"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"/v1/uploads/{upload['id']}"


def test_who_began_it_can_ask_for_it_and_remove_it_and_not_send_bytes_by_tus(
    server: WholeServer, photo: bytes
) -> None:
    upload_id = sent(server, "a.jpg", photo)
    url = f"/v1/uploads/{upload_id}"
    assert server.client.head(url).headers["upload-offset"] == str(len(photo))
    bytes_of_tus = {
        **TUS,
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }
    refused = server.client.patch(url, content=photo, headers=bytes_of_tus)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")

    assert server.client.delete(url).status_code == 204

    assert in_the_bucket(server) == set()
    assert server.client.head(url).status_code == 404


def test_an_upload_whose_time_is_over_is_removed_from_the_bucket(
    server: WholeServer, photo: bytes
) -> None:
    old, new = (sent(server, name, photo) for name in ("old.jpg", "new.jpg"))
    server.run(ended(server, old))
    assert in_the_bucket(server) == {new}
    assert submit(server, old).status_code == 404


def test_what_is_put_once_a_batch_has_taken_the_upload_is_removed_a_day_later(
    server: WholeServer, photo: bytes
) -> None:
    upload = begun(server, "a.jpg", len(photo))
    assert put(upload, photo) == 200
    items(server, submit(server, upload["id"]))
    assert put(upload, photo) == 200
    kept = sent(server, "b.jpg", photo)
    server.run(sweep.remove_orphans(server.context))
    assert in_the_bucket(server) == {upload["id"], kept}
    told = server.client.get("/v1/storage/cleanup").json()
    assert [(each["kind"], each["name"]) for each in told["oldest"]] == [
        ("direct uploads", upload["id"])
    ]

    server.run(a_day_later(server.context))
    server.run(sweep.remove_orphans(server.context))

    assert in_the_bucket(server) == {kept}


def test_what_others_put_into_the_bucket_can_not_be_named_as_an_object(
    own_bucket: Bucket, photo: bytes, tmp_path: Path
) -> None:
    settings = {**in_bucket(own_bucket), "input_prefixes": ("direct-uploads",)}
    with whole_server.running(tmp_path / "data", **settings) as server:
        key = keys.upload_key(UploadId(sent(server, "a.jpg", photo)))
        order = {"pipeline": "web", "inputs": [{"object": key}]}
        assert server.client.post("/v1/batches", json=order).json()["code"] == "forbidden"


def test_a_server_whose_files_are_in_a_folder_names_tus_instead(tmp_path: Path) -> None:
    with whole_server.running(tmp_path / "data", with_worker=False) as server:
        refused = ask(server, "a.jpg", 5)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_direct_uploads")
    assert "by tus" in refused.json()["detail"]
