"""Results in a bucket that speaks S3: where they are, what is left, and what if it dies."""

import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import obstore
import pytest
from obstore.store import S3Store

from batchmill.service import sweep
from batchmill.settings.compat import ImagesSettings
from batchmill.storage import keys
from batchmill.storage.objects import Bucket
from batchmill.storage.s3_uploads import S3Uploads
from support import seaweed, whole_server
from support.folders import files_below
from support.pictures import scene
from support.server_contexts import a_day_later, swept
from support.whole_server import WholeServer

CDN = "https://cdn.example/shop"
LOOSE = ImagesSettings(rate_requests=1_000)
PREFIX = "/api/sequential-batch"


def settings_of(bucket: Bucket) -> dict[str, Any]:
    return {
        "s3_endpoint": bucket.endpoint,
        "s3_region": bucket.region,
        "s3_access_key_id": bucket.access_key_id,
        "s3_secret_access_key": bucket.secret_access_key,
        "images": LOOSE,
        "sweep_s": 0.2,
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        scene(900, 600, seed=number).jpegsave(str(folder / f"image{number}.jpg"), Q=95)
    return folder


@pytest.fixture
def server(own_bucket: Bucket, pictures: Path, tmp_path: Path) -> Iterator[WholeServer]:
    """A server whose results alone go to the bucket."""
    settings: dict[str, Any] = {
        "results_url": own_bucket.url,
        "cdn_url": CDN,
        "input_dirs": (pictures,),
    }
    settings |= {"download_redirect": True, **settings_of(own_bucket)}
    with whole_server.running(tmp_path / "data", **settings) as running:
        yield running


def objects(bucket: Bucket) -> list[str]:
    """Return every key of a file in the bucket, however the server calls it."""
    store = S3Store.from_url(
        bucket.url,
        endpoint=bucket.endpoint or "",
        region=bucket.region or "",
        access_key_id=bucket.access_key_id or "",
        secret_access_key=bucket.secret_access_key or "",
        client_options={"allow_http": True},
    )
    found = (each["path"] for page in obstore.list(store) for each in page)
    return sorted(key for key in found if not key.endswith(keys.IDENTITY))


def stored(server: WholeServer) -> list[Path]:
    folder = server.context.settings.data_dir / "storage"
    return [path for path in files_below(folder) if keys.IDENTITY not in path.name]


def send(server: WholeServer, pictures: Path, **options: Any) -> str:
    """Send all pictures to /v1 and return the batch's id."""
    files = [("files", (path.name, path.read_bytes())) for path in sorted(pictures.iterdir())]
    sent = server.client.post("/v1/batches", files=files, data={"pipeline": "web", **options})
    assert sent.status_code == 202, sent.text
    return sent.json()["id"]


def items(server: WholeServer, batch_id: str) -> list[dict[str, Any]]:
    server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"])
    return server.client.get(f"/v1/batches/{batch_id}/items").json()["data"]


def test_results_are_in_the_bucket_inputs_are_not_and_a_deletion_leaves_neither(
    server: WholeServer, own_bucket: Bucket, pictures: Path
) -> None:
    batch_id = send(server, pictures)
    found = items(server, batch_id)

    assert {item["status"] for item in found} == {"completed"}
    assert len(objects(own_bucket)) == 8
    assert all(key.endswith(".webp") for key in objects(own_bucket))
    assert len(stored(server)) == 8

    assert server.client.delete(f"/v1/batches/{batch_id}").status_code == 204
    server.run(swept(server.context))

    assert objects(own_bucket) == []
    assert stored(server) == []


def test_a_download_is_sent_on_to_a_signed_address_of_the_bucket(
    server: WholeServer, own_bucket: Bucket, pictures: Path
) -> None:
    item = items(server, send(server, pictures))[0]
    output = item["outputs"][0]

    sent_on = server.client.get(output["url"])

    assert sent_on.status_code == 307
    address = sent_on.headers["location"]
    assert address.startswith(f"{own_bucket.endpoint}/bucket/")
    got = httpx.get(address, timeout=60)
    assert (len(got.content), got.headers["content-type"]) == (output["bytes"], "image/webp")
    assert "image0.webp" in got.headers["content-disposition"]
    assert httpx.get(address.split("?")[0], timeout=60).status_code == 403
    known = {"If-None-Match": f'"{output["sha256"]}"'}
    assert server.client.get(output["url"], headers=known).status_code == 304
    assert server.client.head(output["url"]).status_code == 200


def test_a_picture_that_a_page_shows_comes_from_the_server(
    server: WholeServer, pictures: Path
) -> None:
    output = items(server, send(server, pictures))[0]["outputs"][0]
    shown = {"Accept": "image/avif,image/webp,image/apng,image/*,*/*;q=0.8"}

    got = server.client.get(output["url"], headers=shown)

    assert (got.status_code, len(got.content)) == (200, output["bytes"])


def test_the_archive_of_a_batch_is_read_from_the_bucket(
    server: WholeServer, pictures: Path
) -> None:
    batch_id = send(server, pictures)
    items(server, batch_id)
    archive = server.client.get(f"/v1/batches/{batch_id}/results.zip")
    assert archive.status_code == 200
    assert archive.content.count(b"PK\x01\x02") == 8


def test_folders_of_no_batch_are_removed_from_the_bucket(
    server: WholeServer, own_bucket: Bucket, pictures: Path
) -> None:
    batch_id = send(server, pictures)
    items(server, batch_id)
    kept = objects(own_bucket)
    store = server.context.storage
    orphan = pictures.parent / "orphan"
    orphan.write_bytes(b"left behind")
    key = "results/batches/bat_000000000gone/out/itm_1.1/0"
    server.run(store.put(key, orphan, media_type="text/plain"))
    server.run(sweep.remove_orphans(server.context))
    assert len(objects(own_bucket)) == len(kept) + 1

    server.run(a_day_later(server.context))
    server.run(sweep.remove_orphans(server.context))

    assert objects(own_bucket) == kept


def test_unfinished_uploads_of_no_batch_are_aborted(
    server: WholeServer, own_bucket: Bucket, pictures: Path
) -> None:
    uploads = uploads_of(own_bucket)
    batch_id = send(server, pictures)
    items(server, batch_id)
    known, gone = f"batches/{batch_id}/out/itm_1.1/0", "batches/bat_gone/out/itm_1.1/0"
    for key in (known, gone):
        server.run(begin(uploads, key))
    server.run(sweep.remove_orphans(server.context))
    assert len(server.run(unfinished(uploads))) == 2

    server.run(a_day_later(server.context))
    server.run(sweep.remove_orphans(server.context))

    assert server.run(unfinished(uploads)) == [f"{uploads.prefix}{known}"]
    server.client.delete(f"/v1/batches/{batch_id}")
    server.run(swept(server.context))
    assert server.run(unfinished(uploads)) == []


def uploads_of(bucket: Bucket) -> S3Uploads:
    url = urlsplit(bucket.url)
    return S3Uploads(
        endpoint=bucket.endpoint or "",
        bucket=url.netloc,
        prefix=f"{url.path.strip('/')}/",
        region=bucket.region or "",
        access_key_id=bucket.access_key_id or "",
        secret_access_key=bucket.secret_access_key or "",
    )


async def begin(uploads: S3Uploads, key: str) -> None:
    """Begin an upload in parts, as a process that is killed then would."""
    async with httpx.AsyncClient() as client:
        await uploads._send(client, "POST", uploads.prefix + key, {"uploads": ""})


async def unfinished(uploads: S3Uploads) -> list[str]:
    async with httpx.AsyncClient() as client:
        return [key for key, _ in await uploads._list(client, "")]


def test_everything_in_one_bucket_leaves_nothing_there_after_a_deletion(
    own_bucket: Bucket, pictures: Path, tmp_path: Path
) -> None:
    settings = {"storage_url": own_bucket.url, **settings_of(own_bucket)}
    with whole_server.running(tmp_path / "data", **settings) as server:
        batch_id = send(server, pictures)
        found = items(server, batch_id)
        assert {item["status"] for item in found} == {"completed"}
        assert len(objects(own_bucket)) == 16
        server.client.delete(f"/v1/batches/{batch_id}")
        server.run(swept(server.context))
        assert objects(own_bucket) == []


def submit(server: WholeServer, pictures: Path) -> str:
    files = [
        {"id": path.stem, "filePath": str(path), "fileName": path.name, "options": {"quality": 60}}
        for path in sorted(pictures.iterdir())
    ]
    told = server.client.post(f"{PREFIX}/submit", json={"files": files, "outputFormat": "webp"})
    return told.json()["statusUrl"]


def test_results_of_a_sequential_batch_are_at_the_cdn(
    server: WholeServer, own_bucket: Bucket, pictures: Path
) -> None:
    told = server.until(submit(server, pictures), lambda status: status["status"] == "completed")

    found = objects(own_bucket)
    folder = own_bucket.url.removeprefix("s3://bucket/")
    inside = [key.removeprefix(f"{folder}/") for key in found]
    assert sorted(file["downloadUrl"] for file in told["files"]) == [
        f"{CDN}/{key}" for key in inside
    ]
    assert {file["storage"] for file in told["files"]} == {"bucket"}


@contextmanager
def through_a_door(bucket: Bucket, *, puts: int, then: Callable[[], None]) -> Iterator[Bucket]:
    """The same bucket behind a door that does `then` when more is put after `puts` answers."""
    there = urlsplit(bucket.endpoint or "")
    answered, once = 0, threading.Lock()

    def serve(guest: socket.socket) -> None:
        nonlocal answered
        with guest, socket.create_connection((there.hostname, there.port)) as host:
            putting = False
            while ready := select.select([guest, host], [], [])[0]:
                piece = ready[0].recv(2**16)
                if not piece:
                    return
                if ready[0] is guest and piece.startswith(b"PUT /"):
                    if answered >= puts:
                        with once:
                            then()
                        return
                    putting = True
                (host if ready[0] is guest else guest).sendall(piece)
                if ready[0] is host and putting:
                    answered, putting = answered + 1, False

    class Guest(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                serve(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Guest) as door:
        door.daemon_threads = True
        threading.Thread(target=door.serve_forever, daemon=True).start()
        yield replace(bucket, endpoint=f"http://127.0.0.1:{door.server_address[1]}")
        door.shutdown()


@pytest.mark.long
def test_a_bucket_that_dies_within_a_batch_costs_no_result(pictures: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        kill = stack.enter_context(ExitStack())
        bucket = kill.enter_context(seaweed.running(tmp_path))
        # The first to be put is the mark of the installation.
        bucket = stack.enter_context(through_a_door(bucket, puts=3, then=kill.close))
        settings: dict[str, Any] = {
            "results_url": bucket.url,
            "cdn_url": CDN,
            "input_dirs": (pictures,),
        }
        settings |= settings_of(bucket)
        with whole_server.running(tmp_path / "data", **settings) as server:
            address = submit(server, pictures)
            told = server.until(address, lambda status: status["results"]["pending"] == 0)

            assert told["status"] == "completed", told
            at_cdn = [file for file in told["files"] if file["storage"] == "bucket"]
            here = [file for file in told["files"] if file["storage"] == "local"]
            assert len(at_cdn) >= 2
            assert len(here) >= 3
            assert all(file["downloadUrl"].startswith(CDN) for file in at_cdn)
            for file in here:
                assert file["warnings"] == [
                    f"{file['fileName'].replace('.jpg', '.webp')} is kept on the server:"
                    " the bucket did not take it"
                ]
                made = server.client.get(file["downloadUrl"])
                assert (made.status_code, len(made.content)) == (200, file["compressedSize"])
            gone = server.client.delete(f"/v1/batches/{told['batchId']}")
            assert gone.status_code == 204  # the sweep goes on once the bucket is back
            assert server.client.get(address).status_code == 404
