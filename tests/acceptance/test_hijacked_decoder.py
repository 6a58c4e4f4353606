"""A decoder that was taken over holds neither its file nor its slot longer than a limit says."""

import json
import time
from pathlib import Path
from typing import Any

import httpx

from support.pictures import scene
from support.served import Server

PIPELINE = {"name": "hijacked", "steps": [{"use": "faulty"}], "timeout_s": 2, "retries": 0}


def test_a_file_whose_decoder_leaves_its_group_ends_as_a_timeout(tmp_path: Path) -> None:
    picture = scene(20, 20).jpegsave_buffer()
    with (
        Server(tmp_path, BATCHMILL_CHILDREN="1") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        files = [("files", (name, picture)) for name in ("escape-1.jpg", "calm.jpg")]
        sent = client.post("/v1/batches", files=files, data={"pipeline": json.dumps(PIPELINE)})
        assert sent.status_code == 202, sent.text
        batch = ended(client, sent.json()["id"])
        assert (batch["counts"]["completed"], batch["counts"]["failed"]) == (1, 1)
        items = client.get(f"/v1/batches/{batch['id']}/items").json()["data"]
        (hijacked,) = [item for item in items if item["status"] == "failed"]
        assert hijacked["input"]["path"] == "escape-1.jpg"
        assert hijacked["error"]["code"] == "attempt_timeout"


def ended(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    """Wait until no file of the batch is left."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        batch = client.get(f"/v1/batches/{batch_id}").json()
        if batch["ended_at"]:
            return batch
        time.sleep(0.05)
    raise AssertionError(f"the batch stalled: {batch['counts']}")
