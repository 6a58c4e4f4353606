"""Reference 000, by its own requests: files of a server's folder, compressed one after another."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchmill.settings.compat import ImagesSettings, SequentialSettings
from support import whole_server
from support.pictures import scene
from support.whole_server import WholeServer

PREFIX = "/api/sequential-batch"
RAISE = ", or raise `file_bytes` (of an archive `zip_bytes`)"
LOOSE = ImagesSettings(rate_requests=1_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for number in (1, 2, 3):
        scene(900, 600, seed=number).jpegsave(str(folder / f"image{number}.jpg"), Q=95)
    (folder / "broken.jpg").write_bytes((folder / "image1.jpg").read_bytes()[:9_000])
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    scene(5_000, 4_000).jpegsave(str(path), Q=95)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[WholeServer]:
    data = tmp_path_factory.mktemp("sequential")
    with whole_server.running(data, images=LOOSE, input_dirs=(folder,)) as running:
        yield running


def described(folder: Path, *names: str, **options: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"file-{number}",
            "filePath": str(folder / name),
            "fileName": name,
            "fileSize": 5_242_880,
            "options": options or {"quality": 80, "format": "jpg"},
        }
        for number, name in enumerate(names, start=1)
    ]


def submit(server: WholeServer, files: Sequence[Mapping[str, Any]], **more: Any) -> httpx.Response:
    body = {"files": files, "outputFormat": "jpg", "userTier": "premium", **more}
    return server.client.post(f"{PREFIX}/submit", json=body)


def ended(server: WholeServer, told: Mapping[str, Any]) -> Any:
    done = {"completed", "failed", "cancelled"}
    return server.until(told["statusUrl"], lambda status: status["status"] in done)


def test_a_batch_of_files_by_path_is_compressed_in_turn(server: WholeServer, folder: Path) -> None:
    before = (folder / "image1.jpg").read_bytes()

    sent = submit(server, described(folder, "image1.jpg", "image2.jpg", "image3.jpg"))

    assert sent.status_code == 200, sent.text
    told = sent.json()
    assert told["success"] is True
    assert told["statusUrl"] == f"{PREFIX}/status/{told['batchId']}"
    status = ended(server, told)
    assert status["success"] is True
    assert status["batchId"] == told["batchId"]
    assert status["status"] == "completed"
    assert status["progress"] == {"current": 3, "total": 3, "percentage": 100}
    assert status["currentFile"] is None
    assert status["timing"] == {"estimatedRemainingSeconds": 0}
    assert status["results"] == {"successful": 3, "failed": 0, "pending": 0, "skipped": 0}
    for number, file in enumerate(status["files"], start=1):
        size = (folder / f"image{number}.jpg").stat().st_size
        assert file["id"] == f"file-{number}"
        assert file["fileName"] == f"image{number}.jpg"
        assert (file["status"], file["error"]) == ("completed", None)
        assert file["originalSize"] == size
        assert file["compressionRatio"] == round(100 * (1 - file["compressedSize"] / size), 1)
        made = server.client.get(file["downloadUrl"])
        assert made.headers["content-type"] == "image/jpeg"
        assert len(made.content) == file["compressedSize"] < size
    assert (folder / "image1.jpg").read_bytes() == before


def test_every_file_has_options_of_its_own(server: WholeServer, folder: Path) -> None:
    files = [
        *described(folder, "image1.jpg", format="webp", quality=40),
        *described(folder, "image2.jpg", format="png"),
        {"filePath": str(folder / "image3.jpg")},
    ]

    status = ended(server, submit(server, files, outputFormat="avif").json())

    types = [
        server.client.get(file["downloadUrl"]).headers["content-type"] for file in status["files"]
    ]
    assert types == ["image/webp", "image/png", "image/avif"]
    assert status["files"][2]["fileName"] == "image3.jpg"


def test_a_file_that_has_the_format_already_never_becomes_larger(
    server: WholeServer, folder: Path
) -> None:
    scene(300, 200).jpegsave(str(folder / "small.jpg"), Q=20)

    (file,) = ended(
        server, submit(server, described(folder, "small.jpg", format="jpg", quality=95)).json()
    )["files"]

    assert file["compressedSize"] <= file["originalSize"]


def test_files_that_are_missing_or_broken_fail_and_the_batch_goes_on(
    server: WholeServer, folder: Path
) -> None:
    files = described(folder, "absent.jpg", "broken.jpg", "image1.jpg")

    status = ended(server, submit(server, files).json())

    assert status["status"] == "completed"
    assert status["results"] == {"successful": 1, "failed": 2, "pending": 0, "skipped": 0}
    absent, broken, whole = status["files"]
    assert (absent["id"], absent["status"]) == ("file-1", "failed")
    assert absent["error"] == "absent.jpg is not there; check the path"
    assert broken["error"].startswith("broken.jpg cannot be read")
    assert (absent["downloadUrl"], broken["downloadUrl"]) == (None, None)
    assert whole["status"] == "completed"


def test_the_log_counts_the_files_and_sums_up(
    server: WholeServer, folder: Path, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    told = submit(server, described(folder, "image1.jpg", "absent.jpg")).json()
    ended(server, told)

    lines = log_lines()
    settled = [line for line in lines if line["event"] == "item.finished"]
    assert [(line["place"], line["name"], line["status"]) for line in settled] == [
        ("[1/2]", "image1.jpg", "completed"),
        ("[2/2]", "absent.jpg", "failed"),
    ]
    assert all(line["run_s"] >= 0 for line in settled)
    assert "error" not in settled[0]
    assert (settled[1]["code"], settled[1]["error"]) == (
        "input_missing",
        "absent.jpg is not there; check the path",
    )
    begun = [line for line in lines if line["event"] == "item.started"]
    assert [(line["place"], line["name"]) for line in begun] == [
        ("[1/2]", "image1.jpg"),
        ("[2/2]", "absent.jpg"),
    ]
    assert {line["batch"] for line in begun + settled} == {told["batchId"]}
    (last,) = [line for line in lines if line["event"] == "batch.ended"]
    assert (last["batch"], last["succeeded"], last["failed"]) == (told["batchId"], 1, 1)
    assert (last["status"], last["files"], last["cancelled"]) == ("completed_with_errors", 2, 0)


def test_the_log_says_how_a_cancelled_batch_and_one_out_of_time_ended(
    tmp_path: Path, large: Path, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    settings: dict[str, Any] = {
        "input_dirs": (large.parent,),
        "sequential": SequentialSettings(batch_timeout_s=1),
        "sweep_s": 0.1,
    }
    slow = {"filePath": str(large), "options": {"format": "avif", "effort": 9}}
    with whole_server.running(tmp_path, **settings) as server:
        late = submit(server, [slow, slow]).json()
        status = ended(server, late)
        counted = server.client.get(f"{PREFIX}/queue-stats").json()["queue"]
        cancelled = submit(server, [slow]).json()
        server.client.post(f"{PREFIX}/cancel/{cancelled['batchId']}")

    lines = log_lines()
    ends = [line for line in lines if line["event"] == "batch.ended"]
    by_batch = {line["batch"]: line for line in ends}
    assert len(by_batch) == len(ends) == 2
    said = by_batch[late["batchId"]]
    assert said["reason"] == "stopped: its time limit was over"
    assert (said["files"], said["failed"], said["cancelled"]) == (2, 1, 1)
    said = by_batch[cancelled["batchId"]]
    assert (said["status"], said["files"], said["cancelled"]) == ("cancelled", 1, 1)
    assert "reason" not in said
    (failed,) = [line for line in lines if line["event"] == "item.finished"]
    assert (failed["place"], failed["code"]) == ("[1/2]", "batch_timeout")
    assert (status["status"], status["error"]) == ("failed", "stopped: its time limit was over")
    assert status["progress"] == {"current": 1, "total": 2, "percentage": 50}
    assert status["results"] == {"successful": 0, "failed": 1, "pending": 0, "skipped": 1}
    assert [file["status"] for file in status["files"]] == ["failed", "skipped"]
    assert status["files"][0]["error"].startswith("large.jpg was stopped: the time limit")
    assert (counted["completed"], counted["failed"], counted["cancelled"]) == (0, 1, 0)


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.jpg", "link.jpg"])
def test_paths_outside_of_the_listed_folders_are_forbidden(
    server: WholeServer, folder: Path, path: str, tmp_path: Path
) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    link = folder / "link.jpg"
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "secret.jpg")

    answer = submit(server, [{"filePath": str(folder / path)}])

    assert answer.status_code == 403
    told = answer.json()
    assert (told["success"], told["code"]) == (False, "forbidden")
    assert "BATCHMILL_INPUT_DIRS" in told["error"]
    assert str(folder) not in told["error"]


def test_a_path_that_no_system_has_is_refused(server: WholeServer, folder: Path) -> None:
    answer = submit(server, [{"filePath": str(folder / "a\0b")}])

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("number", [0, 51])
def test_a_batch_has_1_to_50_files(server: WholeServer, folder: Path, number: int) -> None:
    by_path = submit(server, described(folder, *["image1.jpg"] * number))
    uploads = [("files", ("a.jpg", b"x"))] * number
    by_form = server.client.post(f"{PREFIX}/submit", files=uploads or {"a": (None, "b")})

    for answer in (by_path, by_form):
        assert answer.status_code == 400
        assert answer.json()["error"] == "Send 1 to 50 files in one request."


@pytest.mark.parametrize("how", ["path", "form"])
def test_a_file_over_the_limit_fails_alone(tmp_path: Path, folder: Path, how: str) -> None:
    photo, large = (folder / "image1.jpg").read_bytes(), folder / "large.jpg"
    large.write_bytes(photo + bytes(1_000_000))
    limits = SequentialSettings(file_bytes=1_000_000)
    with whole_server.running(
        tmp_path, images=LOOSE, input_dirs=(folder,), sequential=limits
    ) as server:
        if how == "path":
            sent = submit(server, described(folder, "large.jpg", "image1.jpg"))
        else:
            parts = [("files", ("large.jpg", large.read_bytes())), ("files", ("image1.jpg", photo))]
            told = {"files": json.dumps([{"id": "file-1"}, {"id": "file-2"}])}
            sent = server.client.post(f"{PREFIX}/submit", files=parts, data=told)
        assert sent.status_code == 200, sent.text
        files = ended(server, sent.json())["files"]

    assert [(file["id"], file["status"]) for file in files] == [
        ("file-1", "failed"),
        ("file-2", "completed"),
    ]
    assert (
        files[0]["error"] == f"large.jpg is larger than the limit of 1 MB; make it smaller{RAISE}"
    )


def test_files_can_be_uploaded_too(server: WholeServer, folder: Path) -> None:
    body = (folder / "image1.jpg").read_bytes()
    files = [("files", ("one.jpg", body)), ("files", ("two.jpg", body))]
    wanted = [{"id": "a", "options": {"format": "png"}}, {"id": "b"}]
    data = {"files": json.dumps(wanted), "outputFormat": "webp"}

    sent = server.client.post(f"{PREFIX}/submit", files=files, data=data)

    assert sent.status_code == 200, sent.text
    one, two = ended(server, sent.json())["files"]
    assert (one["id"], one["fileName"], two["id"]) == ("a", "one.jpg", "b")
    types = [server.client.get(file["downloadUrl"]).headers["content-type"] for file in (one, two)]
    assert types == ["image/png", "image/webp"]


def test_an_option_that_does_not_exist_is_named(server: WholeServer, folder: Path) -> None:
    answer = submit(server, described(folder, "image1.jpg", qualty=80))

    assert answer.status_code == 422
    assert "'quality'" in answer.json()["error"]


def test_a_foreign_batch_id_is_404(server: WholeServer) -> None:
    job = server.client.post(
        "/api/process/single",
        files={"image": ("a.png", bytes(scene(8, 8).pngsave_buffer()))},
    ).json()["jobId"]

    for batch_id in ("bat_0", "550e8400-e29b-41d4-a716-446655440000", job):
        assert server.client.get(f"{PREFIX}/status/{batch_id}").status_code == 404
        assert server.client.post(f"{PREFIX}/cancel/{batch_id}").status_code == 404


def test_a_client_cannot_raise_its_tier_but_lower_it(server: WholeServer, folder: Path) -> None:
    files = described(folder, "image1.jpg")

    for tier in ("enterprise", "nonsense"):
        batch_id = submit(server, files, userTier=tier).json()["batchId"]
        assert server.client.get(f"/v1/batches/{batch_id}").json()["priority"] // 100 == 15


def test_the_queue_is_counted_in_batches_and_cancelling_skips_what_waits(
    tmp_path: Path, folder: Path
) -> None:
    settings = {"input_dirs": (folder,), "sequential": SequentialSettings()}
    with whole_server.running(tmp_path, with_worker=False, **settings) as server:
        told = submit(server, described(folder, "image1.jpg", "image2.jpg")).json()
        submit(server, described(folder, "image3.jpg"))
        waiting = server.client.get(told["statusUrl"]).json()
        before = server.client.get(f"{PREFIX}/queue-stats").json()
        cancelled = server.client.post(f"{PREFIX}/cancel/{told['batchId']}").json()
        status = server.client.get(told["statusUrl"]).json()
        after = server.client.get(f"{PREFIX}/queue-stats").json()

    assert waiting["status"] == "queued"
    assert waiting["timing"] == {"estimatedRemainingSeconds": None}
    assert waiting["currentFile"] is None
    assert before == {
        "success": True,
        "queue": {"waiting": 2, "active": 0, "completed": 0, "failed": 0, "cancelled": 0},
    }
    assert cancelled == {"success": True, "batchId": told["batchId"], "skipped": 2}
    assert status["status"] == "cancelled"
    assert [file["status"] for file in status["files"]] == ["skipped", "skipped"]
    assert status["progress"] == {"current": 0, "total": 2, "percentage": 0}
    counted = {"waiting": 1, "active": 0, "completed": 0, "failed": 0, "cancelled": 1}
    assert after["queue"] == counted


def test_a_batch_that_was_paused_and_then_cancelled_is_cancelled(
    tmp_path: Path, folder: Path
) -> None:
    with whole_server.running(tmp_path, with_worker=False, input_dirs=(folder,)) as server:
        told = submit(server, described(folder, "image1.jpg")).json()
        server.client.post(f"/v1/batches/{told['batchId']}/pause")
        server.client.post(f"{PREFIX}/cancel/{told['batchId']}")
        status = server.client.get(told["statusUrl"]).json()

    assert (status["status"], status["error"]) == ("cancelled", None)


def test_a_running_file_is_named_and_stopped_when_the_batch_is_cancelled(
    tmp_path: Path, folder: Path, large: Path
) -> None:
    settings: dict[str, Any] = {"input_dirs": (folder, large.parent), "images": LOOSE}
    with whole_server.running(tmp_path / "data", **settings) as server:
        files = [
            *described(folder, "image1.jpg"),
            {"filePath": str(large), "options": {"format": "avif", "effort": 9}},
            *described(folder, "image2.jpg"),
        ]
        told = submit(server, files).json()
        running = server.until(
            told["statusUrl"],
            lambda status: status["currentFile"] and status["currentFile"]["index"] == 2,
        )
        cancelled = server.client.post(f"{PREFIX}/cancel/{told['batchId']}").json()
        status = server.client.get(told["statusUrl"]).json()
        kept = server.client.get(status["files"][0]["downloadUrl"])

    assert running["status"] == "processing"
    assert running["progress"] == {"current": 1, "total": 3, "percentage": 33}
    assert running["currentFile"] == {"index": 2, "name": "large.jpg"}
    assert running["results"] == {"successful": 1, "failed": 0, "pending": 2, "skipped": 0}
    assert running["timing"]["estimatedRemainingSeconds"] is not None
    assert cancelled["skipped"] == 2
    assert [file["status"] for file in status["files"]] == ["completed", "skipped", "skipped"]
    assert kept.status_code == 200
