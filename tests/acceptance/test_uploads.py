"""An upload outlives the server: what has arrived is there after a kill, and the client goes on."""

import os
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from support.pictures import scene
from support.processes import serving
from support.sent import wait_for

TUS = {"Tus-Resumable": "1.0.0"}


@pytest.mark.long
def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    picture = scene(1200, 900, seed=1).pngsave_buffer(compression=0)
    path = tmp_path / "picture.png"
    path.write_bytes(picture)
    with serving(tmp_path / "data") as server:
        uploader = TusClient(f"{server.client.base_url}/v1/uploads").uploader(
            str(path), chunk_size=300_000, metadata={"filename": path.name}
        )
        uploader.upload_chunk()
        uploader.upload_chunk()
        server.kill()
        with pytest.raises(TusCommunicationError):
            uploader.upload_chunk()
        url = uploader.url
        assert isinstance(url, str)
    with serving(tmp_path / "data") as server:
        client = server.client
        again = f"{client.base_url}{httpx.URL(url).path}"
        resumed = TusClient(f"{client.base_url}/v1/uploads").uploader(
            str(path), url=again, chunk_size=300_000
        )
        assert resumed.offset == 600_000
        resumed.upload()
        batch = client.post(
            "/v1/batches",
            json={"pipeline": "web", "inputs": [{"upload_id": again.rpartition("/")[2]}]},
        ).json()
        wait_for(server, batch["id"], 1)
        (item,) = client.get(f"/v1/batches/{batch['id']}/items").json()["data"]
    assert item["status"] == "completed", item
    assert item["input"]["sha256"] == sha256(picture).hexdigest()


@pytest.mark.long
def test_what_arrived_before_a_kill_in_the_middle_of_a_request_is_kept(tmp_path: Path) -> None:
    body = os.urandom(8_000_000)
    with serving(tmp_path / "data") as server:
        begun = server.client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(body))})
        url = begun.headers["location"]

        def broken() -> Iterator[bytes]:
            yield body[:5_000_000]
            server.popen.send_signal(signal.SIGKILL)
            server.popen.wait(60)
            yield body[5_000_000:]

        headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        with pytest.raises(httpx.TransportError):
            server.client.patch(url, content=broken(), headers={**TUS, **headers})
    with serving(tmp_path / "data") as server:
        offset = int(server.client.head(url, headers=TUS).headers["upload-offset"])
        rest = {"Upload-Offset": str(offset), "Content-Type": headers["Content-Type"]}
        answer = server.client.patch(url, content=body[offset:], headers={**TUS, **rest})
    assert answer.headers["upload-offset"] == str(len(body))
    assert (tmp_path / "data/uploads" / url.rpartition("/")[2]).read_bytes() == body
