"""Reference 004, by its own requests: an image in, a smaller one out, looked at by its job."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvips

from batchmill.settings.compat import ImagesSettings
from support import whole_server
from support.pictures import scene
from support.whole_server import WholeServer

JPEG = ("image.jpg", bytes(scene(1600, 1200).jpegsave_buffer(Q=95)))
PNG = ("small.png", bytes(scene(320, 200).pngsave_buffer()))
SETTINGS = ImagesSettings(rate_requests=1_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeServer]:
    with whole_server.running(tmp_path_factory.mktemp("images"), images=SETTINGS) as running:
        yield running


def ended(server: WholeServer, job_id: str) -> Any:
    done = {"completed", "failed"}
    return server.until(f"/api/job/{job_id}", lambda job: job["status"] in done)


def test_a_single_image_becomes_a_webp_that_fits_the_box(server: WholeServer) -> None:
    sent = server.client.post("/api/process/single", files={"image": JPEG}, data={"priority": "1"})

    assert sent.status_code == 200, sent.text
    queued = sent.json()
    assert set(queued) == {"success", "jobId", "estimatedTime", "message"}
    assert queued["success"] is True
    assert queued["estimatedTime"] > 0
    assert queued["message"] == "Image processing job queued successfully"
    job = ended(server, queued["jobId"])
    assert (job["jobId"], job["status"], job["error"]) == (queued["jobId"], "completed", None)
    result = job["result"]
    assert result["success"] is True
    assert result["processingTime"] >= 0
    assert result["originalFile"] == {
        "name": "image.jpg",
        "size": len(JPEG[1]),
        "format": "jpeg",
        "dimensions": {"width": 1600, "height": 1200},
    }
    processed = result["processedFile"]
    assert re.fullmatch(r"processed_.+\.webp", processed["filename"])
    assert processed["format"] == "webp"
    assert processed["dimensions"] == {"width": 1024, "height": 768}
    assert processed["url"] == f"/api/images/{processed['filename']}"
    saved = len(JPEG[1]) - processed["size"]
    assert result["optimization"] == {
        "wasResized": True,
        "formatChanged": True,
        "compressionRatio": f"{round(100 * saved / len(JPEG[1]), 1)}%",
        "sizeSaved": saved,
    }
    image = server.client.get(processed["url"])
    assert len(image.content) == processed["size"]
    made = pyvips.Image.new_from_buffer(image.content, "")
    assert (made.width, made.height) == (1024, 768)


def test_a_batch_of_images_becomes_one_job_for_each(server: WholeServer) -> None:
    sent = server.client.post("/api/process/batch", files=[("images", JPEG), ("images", PNG)])

    assert sent.status_code == 200, sent.text
    told = sent.json()
    assert set(told) == {"success", "batchId", "jobs", "message"}
    assert [job["filename"] for job in told["jobs"]] == ["image.jpg", "small.png"]
    assert all(set(job) == {"jobId", "filename", "estimatedTime"} for job in told["jobs"])
    results = [ended(server, job["jobId"])["result"] for job in told["jobs"]]
    assert [result["optimization"]["wasResized"] for result in results] == [True, False]


def test_an_image_is_served_with_etag_caching_and_ranges(server: WholeServer) -> None:
    job_id = server.client.post("/api/process/single", files={"image": PNG}).json()["jobId"]
    url = ended(server, job_id)["result"]["processedFile"]["url"]

    whole = server.client.get(url)
    assert whole.headers["content-type"] == "image/webp"
    assert "max-age" in whole.headers["cache-control"]
    again = server.client.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert again.status_code == 304
    part = server.client.get(url, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, whole.content[:4])


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "processed_x.webp", "%2e%2e", "a.webp"])
def test_no_other_name_opens_a_file(server: WholeServer, name: str) -> None:
    answer = server.client.get(f"/api/images/{name}")

    assert answer.status_code == 404
    assert answer.json()["success"] is False


def test_an_image_is_not_served_for_its_job_id_alone(server: WholeServer) -> None:
    job_id = server.client.post("/api/process/single", files={"image": PNG}).json()["jobId"]
    url = ended(server, job_id)["result"]["processedFile"]["url"]
    token = url.rpartition("_")[2].removesuffix(".webp")
    assert len(token) == 32

    forged = url.replace(token, "0" * 32)

    assert server.client.get(forged).status_code == 404


def test_a_file_that_is_no_image_is_refused_by_its_content(server: WholeServer) -> None:
    files = {"image": ("fake.jpg", b"%PDF-1.7 not a picture")}

    answer = server.client.post("/api/process/single", files=files)

    assert answer.status_code == 415
    told = answer.json()
    assert set(told) == {"success", "error", "code"}
    assert told["success"] is False
    assert told["error"].startswith("fake.jpg is application/pdf")
    assert told["code"] == "wrong_file_type"


def test_a_broken_image_fails_with_a_sentence(server: WholeServer) -> None:
    body = JPEG[1][: len(JPEG[1]) // 3]

    sent = server.client.post("/api/process/single", files={"image": ("cut.jpg", body)})
    job = ended(server, sent.json()["jobId"])

    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"].startswith("cut.jpg cannot be read")


def test_a_failed_job_is_run_again_under_its_id(server: WholeServer) -> None:
    broken = ("broken.jpg", JPEG[1][:200])
    jobs = server.client.post("/api/process/batch", files=[("images", broken)] * 2).json()["jobs"]
    first, second = (job["jobId"] for job in jobs)
    ended(server, first)
    ended(server, second)
    before = server.client.get(f"/v1/items/{first}").json()["attempts"]

    again = server.client.post(f"/api/job/{first}/retry")

    assert again.status_code == 200, again.text
    assert (again.json()["success"], again.json()["jobId"]) == (True, first)
    assert again.json()["estimatedTime"] > 0
    assert ended(server, first)["error"]
    after, other = (
        server.client.get(f"/v1/items/{each}").json()["attempts"] for each in (first, second)
    )
    assert (after, other) == (2 * before, before)


def test_only_a_failed_job_is_run_again(server: WholeServer) -> None:
    job_id = server.client.post("/api/process/single", files={"image": PNG}).json()["jobId"]
    ended(server, job_id)

    answer = server.client.post(f"/api/job/{job_id}/retry")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["error"] == "The job is completed; only a failed one can be run again."
    batch = server.client.post(
        "/v1/batches", files={"files": JPEG}, data={"pipeline": "web"}
    ).json()["id"]
    (item,) = server.client.get(f"/v1/batches/{batch}/items").json()["data"]
    for unknown in (item["id"], "itm_none"):
        assert server.client.post(f"/api/job/{unknown}/retry").status_code == 404


@pytest.mark.parametrize("files", [[], [("image", PNG), ("image", PNG)]])
def test_a_single_request_takes_exactly_one_file(
    server: WholeServer, files: list[tuple[str, tuple[str, bytes]]]
) -> None:
    answer = server.client.post("/api/process/single", files=files or {"x": (None, "y")})

    assert answer.status_code == 400
    assert answer.json()["error"] == "Send exactly 1 file in one request."


def test_an_unknown_job_is_404(server: WholeServer) -> None:
    answer = server.client.get("/api/job/itm_0000")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_the_statistics_count_what_was_done(server: WholeServer) -> None:
    job_id = server.client.post("/api/process/single", files={"image": PNG}).json()["jobId"]
    before = server.client.get("/api/stats").json()
    ended(server, job_id)

    told = server.client.get("/api/stats").json()

    assert told["totalJobs"] == before["totalJobs"]
    assert told["completedJobs"] >= 1
    assert told["completedInLast24h"] == told["completedJobs"]
    assert told["failedInLast24h"] == told["failedJobs"]
    assert (told["currentQueueSize"], told["currentProcessingCount"]) == (0, 0)
    assert told["averageProcessingTime"] > 0
    assert told["uptime"] > 0
    assert told["memory"]["rss"] > 0


def test_the_server_says_that_it_is_healthy(server: WholeServer) -> None:
    answer = server.client.get("/api/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"


def test_a_full_queue_answers_503_and_says_when_to_come_again(tmp_path: Path) -> None:
    settings = ImagesSettings(queue_size=2)
    with whole_server.running(tmp_path, with_worker=False, images=settings) as server:
        accepted = server.client.post("/api/process/batch", files=[("images", PNG)] * 2)
        refused = server.client.post("/api/process/single", files={"image": PNG})
        stats = server.client.get("/api/stats").json()

    assert accepted.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) > 0
    assert stats["currentQueueSize"] == stats["totalJobs"] == 2


def test_more_submissions_than_the_window_allows_are_429(tmp_path: Path) -> None:
    settings = ImagesSettings(rate_requests=2)
    with whole_server.running(tmp_path, with_worker=False, images=settings) as server:
        answers = [
            server.client.post("/api/process/single", files={"image": PNG}) for _ in range(3)
        ]
        job_id = answers[0].json()["jobId"]
        reading = [server.client.get(f"/api/job/{job_id}") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (
        answers[2]
        .json()["error"]
        .endswith("An API key lifts this limit, and BATCHMILL_IMAGES_RATE_REQUESTS raises it.")
    )
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].headers["ratelimit-limit"] == "2"
    assert int(answers[2].headers["retry-after"]) <= 900
    assert answers[2].json()["code"] == "rate_limited"
    assert [answer.status_code for answer in reading] == [200] * 3


def test_higher_numbers_run_first_here(tmp_path: Path) -> None:
    with whole_server.running(tmp_path, with_worker=False) as server:
        ranks = []
        for priority in ("1", "5", "0", "high"):
            server.client.post(
                "/api/process/single", files={"image": PNG}, data={"priority": priority}
            )
            newest = server.client.get("/v1/batches?limit=1").json()["data"][0]
            ranks.append(newest["priority"] % 100)
        refused = server.client.post(
            "/api/process/single", files={"image": PNG}, data={"priority": "soon"}
        )

    assert ranks[1] < ranks[0] < ranks[2]
    assert ranks[3] == 10
    assert refused.status_code == 422
