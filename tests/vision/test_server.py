"""describe through a whole server: API, database, storage, worker, children; a model beside it."""

import json
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import whole_server
from support.pictures import scene
from support.processes import serving
from support.vision_server import RIGHT, VisionServer
from support.whole_server import WholeServer


def settings(vision: VisionServer, **more: Any) -> dict[str, Any]:
    return {
        "llm_api_key": "sk-a-made-up-key",
        "llm_base_url": vision.url,
        "llm_model": "fake-vision",
        "llm_input_usd": 0.15,
        "llm_output_usd": 0.6,
        **more,
    }


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    path = tmp_path / "a.jpg"
    scene(320, 240).write_to_file(str(path))
    return path.read_bytes()


def send(server: WholeServer, picture: bytes, number: int = 1, **options: Any) -> str:
    files = [("files", (f"{n}.jpg", picture)) for n in range(number)]
    body = {"pipeline": "describe"} | options
    answer = server.client.post("/v1/batches", files=files, data=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def ended(server: WholeServer, batch_id: str) -> dict[str, Any]:
    return server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"] is not None)


def held_up(server: WholeServer, batch_id: str) -> dict[str, Any]:
    """Wait until a batch waits for its model."""
    return server.until(f"/v1/batches/{batch_id}", lambda batch: batch["outage_since"] is not None)


def items(server: WholeServer, batch_id: str) -> list[dict[str, Any]]:
    listed = server.client.get(f"/v1/batches/{batch_id}/items").json()["data"]
    return [server.client.get(f"/v1/items/{item['id']}").json() for item in listed]


def test_a_batch_is_described_five_at_a_time_by_two_children(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    together = threading.Barrier(5)
    vision.look = lambda _: together.wait(60)

    with whole_server.running(tmp_path / "data", **settings(vision)) as server:
        batch_id = send(server, picture, 10)
        batch = ended(server, batch_id)
        described = items(server, batch_id)

    assert batch["counts"]["completed"] == 10
    assert vision.most == 5
    assert all({**item["data"], **RIGHT} == item["data"] for item in described)
    assert described[0]["data"]["usage"]["cost_usd"] == 0.000171
    assert described[0]["outputs"][0]["type"] == "image/jpeg"


def test_other_files_are_worked_on_while_the_model_is_slow(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    vision.usual = "never"
    five = threading.Semaphore(0)
    patient = settings(vision, llm_timeout_s=600)
    unhurried = json.dumps({"timeout_s": 600, "steps": [{"use": "describe"}]})
    vision.look = lambda _: five.release()

    with whole_server.running(tmp_path / "data", children=1, **patient) as server:
        waiting = send(server, picture, 5, pipeline=unhurried)
        assert all(five.acquire(timeout=60) for _ in range(5))
        quick = send(server, picture, 3, pipeline="web")
        assert ended(server, quick)["counts"]["completed"] == 3
        server.until(f"/v1/batches/{waiting}", lambda told: told["counts"]["processing"] == 5)
        server.client.post(f"/v1/batches/{waiting}/cancel")
        assert ended(server, waiting)["counts"]["cancelled"] == 5
        assert all(asked.closed.wait(60) for asked in vision.asked)


def test_never_more_questions_at_once_than_remote_slots(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    together = threading.Barrier(2)
    vision.look = lambda _: together.wait(60)

    with whole_server.running(tmp_path / "data", **settings(vision, remote_slots=2)) as server:
        assert ended(server, send(server, picture, 6))["counts"]["completed"] == 6

    assert vision.most == 2


def test_a_question_that_is_under_way_at_shutdown_is_asked_again_after_the_start(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    vision.then("never")
    arrived = threading.Event()
    vision.look = lambda _: arrived.set()

    with whole_server.running(tmp_path / "data", **settings(vision, drain_s=0)) as server:
        batch_id = send(server, picture)
        assert arrived.wait(60)
    assert vision.asked[0].closed.wait(60)
    with whole_server.running(tmp_path / "data", **settings(vision)) as server:
        assert ended(server, batch_id)["counts"]["completed"] == 1


@pytest.mark.long
def test_a_busy_model_is_asked_again_after_the_time_it_names(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    vision.then("busy")

    with whole_server.running(tmp_path / "data", **settings(vision)) as server:
        batch_id = send(server, picture)
        batch = ended(server, batch_id)
        (item,) = items(server, batch_id)

    assert batch["counts"]["completed"] == 1
    assert (item["attempts"], len(vision.asked)) == (2, 2)


def test_what_a_model_refuses_is_said_on_the_item(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    vision.usual = "bad_request"

    with whole_server.running(tmp_path / "data", **settings(vision)) as server:
        batch_id = send(server, picture)
        ended(server, batch_id)
        (item,) = items(server, batch_id)

    assert item["error"]["code"] == "model_rejected"
    assert item["error"]["step"] == "2-describe"
    assert "It says invalid_image." in item["error"]["message"]


def test_without_a_model_the_batch_is_refused(tmp_path: Path, picture: bytes) -> None:
    with whole_server.running(tmp_path / "data", with_worker=False) as server:
        answer = server.client.post(
            "/v1/batches", files=[("files", ("a.jpg", picture))], data={"pipeline": "describe"}
        )
        assert answer.status_code == 422
        assert answer.json()["code"] == "model_key_missing"
        assert server.client.get("/v1/batches").json()["data"] == []


def test_without_a_model_the_files_need_not_be_sent(tmp_path: Path) -> None:
    with whole_server.running(tmp_path / "data", with_worker=False) as server:
        url = httpx.URL(server.url)
        part = "--x\r\nContent-Disposition: form-data; name="
        body = f'{part}"pipeline"\r\n\r\ndescribe\r\n{part}"files"; filename="a.jpg"\r\n\r\n'
        connection = HTTPConnection(url.host, url.port, timeout=20)
        connection.putrequest("POST", "/v1/batches")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", "40000000")
        connection.endheaders(body.encode())
        answer = connection.getresponse()
        assert answer.status == 422
        assert b"model_key_missing" in answer.read()
        connection.close()


def test_a_tiers_budget_is_kept_by_parallel_calls(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    tiers = {"anonymous": {"llm_batch_usd": 0.003}}

    with whole_server.running(tmp_path / "data", **settings(vision, tiers=tiers)) as server:
        batch_id = send(server, picture, 8)
        counts = ended(server, batch_id)["counts"]
        groups = server.client.get(f"/v1/batches/{batch_id}/errors").json()["data"]

    assert counts["completed"] == len(vision.asked)
    assert 0 < counts["completed"] < 8
    assert [group["code"] for group in groups] == ["budget_used_up"]


# ------------------------------------------------------------ signed addresses


class Reader:
    """Looks at the address of every question, as the model would, while it is being asked."""

    def __init__(self, vision: VisionServer) -> None:
        self.urls: list[str] = []
        self.answers: list[httpx.Response] = []
        vision.look = self._read

    def _read(self, asked: Any) -> None:
        self.urls.append(asked.image_url)
        self.answers.append(httpx.get(asked.image_url, timeout=60))


def test_with_a_public_url_the_model_fetches_the_copy_once(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    reader, started_s = Reader(vision), time.time()

    with whole_server.running(
        tmp_path / "data", **settings(vision, public_url="own", anonymous="on")
    ) as server:
        ended(server, send(server, picture))
        (url,), (answer,) = reader.urls, reader.answers
        expires_s = int(url.split("/signed/")[1].split(".")[0])
        assert expires_s > started_s + 2 * 30  # it may have to be asked twice
        afterwards = httpx.get(url, timeout=60)
        assert httpx.head(url).status_code == 405
        assert httpx.post(url, timeout=60).status_code == 405
        assert httpx.get(f"{url}x", timeout=60).status_code == 403

    assert url.startswith(f"{server.url}/signed/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content.startswith(b"\xff\xd8")
    assert afterwards.status_code == 404


@pytest.mark.long
@pytest.mark.parametrize("usual", ["refusal", "fault", "drop"])
def test_the_address_is_dead_after_a_failure_too(
    tmp_path: Path, vision: VisionServer, picture: bytes, usual: str
) -> None:
    reader, vision.usual = Reader(vision), usual

    with whole_server.running(tmp_path / "data", **settings(vision, public_url="own")) as server:
        batch_id = send(server, picture)
        (ended if usual == "refusal" else held_up)(server, batch_id)
        assert [answer.status_code for answer in reader.answers] == [200] * len(reader.urls)
        again = [httpx.get(url, timeout=60).status_code for url in reader.urls]
        assert again == [404] * len(reader.urls)


def test_the_address_is_dead_after_a_cancellation_too(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    vision.usual = "never"
    arrived = threading.Event()
    vision.look = lambda _: arrived.set()

    with whole_server.running(tmp_path / "data", **settings(vision, public_url="own")) as server:
        batch_id = send(server, picture)
        assert arrived.wait(60)
        url = vision.asked[0].image_url
        assert httpx.get(url, timeout=60).status_code == 200
        server.client.post(f"/v1/batches/{batch_id}/cancel")
        ended(server, batch_id)
        assert vision.asked[0].closed.wait(60)
        server.until_status(url, 404)


@pytest.mark.long
def test_the_copy_of_a_killed_server_goes_too(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    vision.then("never")
    arrived = threading.Event()
    vision.look = lambda _: arrived.set()
    told = {**vision.environment, "BATCHMILL_PUBLIC_URL": "http://127.0.0.1:9"}

    with serving(tmp_path, **told) as killed:
        files = [("files", ("a.jpg", picture))]
        form = {"pipeline": "describe"}
        batch_id = killed.client.post("/v1/batches", files=files, data=form).json()["id"]
        assert arrived.wait(60)
        assert list(tmp_path.rglob("copy"))
        killed.kill()
    with serving(tmp_path, **told) as server:
        for _ in range(600):
            batch = server.client.get(f"/v1/batches/{batch_id}").json()
            if batch["ended_at"] and not list(tmp_path.rglob("copy")):
                break
            threading.Event().wait(0.1)

    assert batch["counts"]["completed"] == 1
    assert not list(tmp_path.rglob("copy"))


def test_the_address_opens_nothing_else_and_not_for_long(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    vision.usual, vision.seconds = "slow", 30
    arrived = threading.Event()
    vision.look = lambda _: arrived.set()
    short = settings(vision, public_url="own", signed_url_s=1)

    with whole_server.running(tmp_path / "data", **short) as server:
        batch_id = send(server, picture)
        assert arrived.wait(60)
        url = vision.asked[0].image_url
        folder = url.rpartition("/")[0]
        assert httpx.get(f"{folder}/0", timeout=60).status_code == 403
        expired = server.until_status(url, 403)
        assert "expired" in expired.json()["detail"]
        server.client.post(f"/v1/batches/{batch_id}/cancel")


def test_the_option_data_keeps_the_picture_inside_the_question(
    tmp_path: Path, vision: VisionServer, picture: bytes
) -> None:
    options = '{"step_options": {"describe": {"send": "data"}}}'

    with whole_server.running(tmp_path / "data", **settings(vision, public_url="own")) as server:
        ended(server, send(server, picture, options=options))

    assert vision.asked[0].image_url.startswith("data:image/jpeg;base64,")
