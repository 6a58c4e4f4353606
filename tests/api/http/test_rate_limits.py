"""How often somebody may submit: told with every answer, by tier, and not forgotten."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from batchmill.settings.compat import DocumentsSettings, ImagesSettings
from batchmill.settings.fields import TierLimits, Tiers
from support import whole_server
from support.documents import line_of_text, pdf
from support.pictures import scene
from support.whole_server import WholeServer

PNG = ("a.png", scene(8, 8).pngsave_buffer())
PDF = ("a.pdf", pdf(line_of_text("prices")))
SUBMISSIONS: dict[str, dict[str, Any]] = {
    "/v1/batches": {"files": [("files", PNG)], "data": {"pipeline": "web"}},
    "/v1/process": {
        "files": [("files", PNG)],
        "data": {"pipeline": "web"},
        "headers": {"Prefer": "wait=0"},
    },
    "/api/batch/upload": {"files": [("file", PDF)]},
    "/api/process/single": {"files": {"image": PNG}},
    "/api/process/batch": {"files": [("images", PNG)]},
    "/api/batch/add-images": {"files": [("images", PNG)]},
    "/api/sequential-batch/submit": {"files": [("files", PNG)]},
}
TWICE = {
    "tiers": Tiers(anonymous=TierLimits(submissions_per_minute=2)),
    "images": ImagesSettings(rate_requests=2),
    "documents": DocumentsSettings(uploads_per_hour=2),
}


def submit(server: WholeServer, path: str, **headers: str) -> httpx.Response:
    request: dict[str, Any] = {
        **SUBMISSIONS[path],
        "headers": {**SUBMISSIONS[path].get("headers", {}), **headers},
    }
    return server.client.post(path, **request)


@pytest.mark.parametrize("path", SUBMISSIONS)
def test_every_submission_says_how_many_are_left_also_after_a_restart(
    tmp_path: Path, path: str
) -> None:
    with whole_server.running(tmp_path, with_worker=False, **TWICE) as server:
        first = submit(server, path)
    with whole_server.running(tmp_path, with_worker=False, **TWICE) as server:
        answers = [first, submit(server, path), submit(server, path)]

    assert [answer.status_code < 300 for answer in answers] == [True, True, False]
    assert answers[2].status_code == 429
    assert answers[2].json()["code"] == "rate_limited"
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"2"}
    assert (
        0 < int(answers[2].headers["ratelimit-reset"]) <= int(answers[1].headers["ratelimit-reset"])
    )
    assert answers[2].headers["retry-after"] == answers[2].headers["ratelimit-reset"]


def test_reading_is_never_counted(tmp_path: Path) -> None:
    with whole_server.running(tmp_path, with_worker=False, **TWICE) as server:
        batch_id = submit(server, "/v1/batches").json()["id"]
        reads = [server.client.get(f"/v1/batches/{batch_id}") for _ in range(5)]
        assert {answer.status_code for answer in reads} == {200}
        assert submit(server, "/v1/batches").headers["ratelimit-remaining"] == "0"


def test_each_owner_has_a_window_of_the_size_of_its_tier(tmp_path: Path) -> None:
    tiers = Tiers(
        anonymous=TierLimits(submissions_per_minute=1),
        free=TierLimits(submissions_per_minute=2),
        pro=TierLimits(submissions_per_minute=3),
    )
    with whole_server.running(tmp_path, with_worker=False, tiers=tiers) as server:
        left = []
        for owner, tier in (("anna", "pro"), ("berta", "free")):
            key = server.client.post("/v1/keys", json={"name": owner, "owner": owner, "tier": tier})
            bearer = f"Bearer {key.json()['secret']}"
            left += [submit(server, "/v1/batches", Authorization=bearer) for _ in range(3)]
        left += [submit(server, "/v1/batches") for _ in range(2)]
    assert [answer.headers["ratelimit-remaining"] for answer in left] == list("21010000")
    assert [answer.status_code for answer in left] == [202, 202, 202, 202, 202, 429, 202, 429]


def test_documents_of_a_free_key_are_counted_by_the_hour_and_by_owner(tmp_path: Path) -> None:
    documents = DocumentsSettings(uploads_per_hour=1)
    with whole_server.running(tmp_path, with_worker=False, documents=documents) as server:
        answers = []
        for owner, tier in (("anna", "free"), ("berta", "free"), ("carla", "pro")):
            key = server.client.post("/v1/keys", json={"name": owner, "owner": owner, "tier": tier})
            bearer = f"Bearer {key.json()['secret']}"
            answers += [
                submit(server, "/api/batch/upload", Authorization=bearer).status_code < 300
                for _ in range(2)
            ]
    assert answers == [True, False, True, False, True, True]


def test_the_window_for_images_is_as_long_as_the_settings_say(tmp_path: Path) -> None:
    images = ImagesSettings(rate_requests=2, rate_window_ms=7_200_000)
    with whole_server.running(tmp_path, with_worker=False, images=images) as server:
        answer = submit(server, "/api/process/single")
    assert 7_100 < int(answer.headers["ratelimit-reset"]) <= 7_200
