"""What lies on the disk of a real server: no secret in clear where a key is configured."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support.processes import Process, serving

KEY = {"BATCHMILL_SECRET_KEYS": "k" * 32}
LOOSE = {"BATCHMILL_OUTGOING_HTTP": "true", "BATCHMILL_OUTGOING_LOOPBACK": "true"}
FEW = 7
"""With so many the page keeps room that nothing new is written to."""


def made(server: Process, path: str, body: dict[str, Any]) -> str:
    answer = server.client.post(path, json=body, headers={"Idempotency-Key": f"once {path}"})
    assert answer.status_code == 201, answer.text
    return answer.json()["secret"]


def a_webhook(server: Process) -> str:
    return made(server, "/v1/webhooks", {"url": "http://127.0.0.1:9/"})


def written_on_disk(folder: Path, secrets: list[str]) -> list[str]:
    """Return those of the secrets that some file below the folder holds."""
    found = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    assert any(body.startswith(b"SQLite format 3") for body in found)
    return [each for each in secrets if any(each.encode() in body for body in found)]


def secrets_check(client: httpx.Client) -> tuple[int, bool, str]:
    ready = client.get("/readyz")
    (check,) = [each for each in ready.json()["checks"] if each["name"] == "secrets"]
    return ready.status_code, check["ok"], check["message"]


def test_no_file_of_a_server_with_a_key_holds_a_secret(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(folder, **LOOSE, **KEY) as server:
        secrets = [a_webhook(server)]
        secrets.append(made(server, "/v1/keys", {"name": "shop"}))
        assert written_on_disk(folder, secrets) == []
        assert secrets_check(server.client) == (200, True, "can be read")
        server.stop()
        assert written_on_disk(folder, secrets) == []


@pytest.mark.long
def test_secrets_of_before_the_key_leave_the_disk_at_the_start_with_one(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(folder, **LOOSE) as server:
        secrets = [
            server.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"}).json()["secret"]
            for _ in range(FEW)
        ]
        server.kill()
    assert written_on_disk(folder, secrets) == secrets, "the search finds what is there"

    with serving(folder, **KEY) as server:
        assert written_on_disk(folder, secrets) == []
        assert secrets_check(server.client) == (200, True, "can be read")


def test_a_server_without_the_key_starts_and_says_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(folder, **LOOSE, **KEY) as server:
        a_webhook(server)
        server.stop()
    with serving(folder, BATCHMILL_LOG_FORMAT="json") as server:
        status, ok, message = secrets_check(server.client)
        assert (status, ok) == (200, False)
        assert "BATCHMILL_SECRET_KEYS" in message
    log = (tmp_path / "server.log").read_text()
    (line,) = [each for each in log.splitlines() if "secrets.locked" in each]
    assert "BATCHMILL_SECRET_KEYS" in line
