"""Document 003, criterion by criterion: images described in parallel by a vision model."""

import asyncio
import json
import logging
import os
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import batchmill
from batchmill import ProcessingError, process_batch, process_batch_sync
from batchmill.errors.base import BatchmillError
from batchmill.errors.request import EmptyBatchError
from batchmill.local.results import Progress
from support import preloaded
from support.browser import OpenPage, browser, chromium, open_page
from support.environment import environment
from support.folders import files_below
from support.pictures import scene
from support.processes import Process, serving
from support.reference_rows import PARTLY, WORKS, Row
from support.vision_server import RIGHT, VisionServer, vision

__all__ = ["browser", "chromium", "open_page", "vision"]

pytestmark = [pytest.mark.long]
WRONG = {"concurrency": 0, "timeout_s": -1, "retries": -1}
CALL = 'process_batch(files, "describe")'


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where this process's temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    tempfile.tempdir = str(folder)
    yield folder
    tempfile.tempdir = None


@pytest.fixture
def server(tmp_path: Path, vision: VisionServer) -> Iterator[Process]:
    with serving(tmp_path / "server" / "data") as server:
        yield server


def pictures(folder: Path, number: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{n}.jpg" for n in range(number)]
    for path in paths:
        scene(320, 240).write_to_file(str(path))
    return paths


def described(files: Sequence[Any], **asked: Any) -> batchmill.BatchResult:
    return process_batch_sync(files, "describe", **asked)


# ---------------------------------------------------------------- AC1, AC5: in parallel


@pytest.mark.row("AC1", "five at once by default, never more")
def test_five_are_at_work_at_once(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    together = threading.Barrier(5)
    vision.look = lambda _: together.wait(60)
    result = described(pictures(tmp_path / "in", 10))

    assert (result.successful, vision.most) == (10, 5)
    row(f"{CALL} of 10", f"{result.successful} described, at most {vision.most} questions at once")


@pytest.mark.row("AC1", "the limit is an option")
def test_the_limit_is_an_option(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    result = described(pictures(tmp_path / "in", 4), concurrency=1)

    assert (result.successful, vision.most) == (4, 1)
    row("process_batch(…, concurrency=1)", f"at most {vision.most} question at once")


@pytest.mark.row("AC5", "10 images 3 to 4 times faster than one by one")
def test_ten_images_are_faster_together(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    vision.usual, vision.seconds = "slow", 1.0
    paths = pictures(tmp_path / "in", 10)
    took = {}
    for concurrency in (1, 5):
        began = time.monotonic()
        assert described(paths, concurrency=concurrency).successful == 10
        took[concurrency] = time.monotonic() - began
    ratio = took[1] / took[5]

    assert vision.most == 5
    row(
        "10 images at a model that takes 1 s: concurrency 1, then 5",
        f"{took[1]:.1f} s, {took[5]:.1f} s: {ratio:.1f} times faster",
        WORKS if ratio >= 3 else PARTLY,
        why="" if ratio >= 3 else "less than 3 times on this machine",
    )


# ---------------------------------------------------------------- AC2: the pipeline


@pytest.mark.row("AC2", "compress: the model gets a small copy without metadata")
def test_the_model_gets_a_small_copy(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    path = tmp_path / "big.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Secret camera"
    Image.effect_mandelbrot((2000, 1500), (-2, -1, 1, 1), 60).convert("RGB").save(
        path, quality=97, exif=exif
    )
    described([path])
    sent = b64decode(vision.asked[0].image_url.removeprefix("data:image/jpeg;base64,"))
    copy = Image.open(BytesIO(sent))

    assert b"Secret" not in sent
    assert len(sent) < path.stat().st_size
    came = f"{path.stat().st_size} B, 2000×1500 → {len(sent)} B, {copy.width}×{copy.height}"
    row(f"{CALL}; what the model got", came)


@pytest.mark.row("AC2", "temporary URL: where a public address is set, the model fetches the copy")
def test_the_model_fetches_the_copy_by_a_temporary_url(
    row: Row, tmp_path: Path, vision: VisionServer
) -> None:
    import httpx

    from support.ports import free_port

    port = free_port()
    fetched: list[int] = []

    def look(asked: Any) -> None:
        fetched.append(httpx.get(asked.image_url, timeout=60).status_code)

    vision.look = look
    url = f"http://127.0.0.1:{port}"
    env = {"BATCHMILL_PUBLIC_URL": url, "BATCHMILL_PORT": str(port)}
    with serving(tmp_path / "server" / "data", "--port", str(port), **env) as server:
        batch = _describe_on(server, pictures(tmp_path / "in", 1))
        address = vision.asked[0].image_url
        after = httpx.get(address, timeout=60).status_code

    assert batch["status"] == "completed"
    assert (fetched, after) == ([200], 404)
    row(
        "BATCHMILL_PUBLIC_URL=…; POST /v1/batches with pipeline describe",
        f"the model fetched {address[:40]}… ({fetched[0]}); afterwards {after}",
    )


def _describe_on(server: Process, paths: Sequence[Path]) -> Any:
    files = [("files", (path.name, path.read_bytes())) for path in paths]
    sent = server.client.post("/v1/batches", files=files, data={"pipeline": "describe"})
    assert sent.status_code == 202, sent.text
    return server.until(f"/v1/batches/{sent.json()['id']}", lambda batch: batch["ended_at"])


@pytest.mark.row("AC2", "OpenAI API: JSON with title, description, keywords, category, alt text")
def test_the_answer_is_typed(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    (item,) = described(pictures(tmp_path / "in", 1)).items

    assert {field: item.data[field] for field in RIGHT} == RIGHT
    asked = vision.asked[0]
    assert asked.headers["authorization"] == "Bearer sk-a-made-up-key"
    assert asked.body["response_format"]["json_schema"]["strict"] is True
    row("OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL; " + CALL, item.data)


@pytest.mark.row("AC2", "cleanup: results are in the folder, or in memory")
def test_results_are_where_they_are_asked_for(
    row: Row, tmp_path: Path, vision: VisionServer
) -> None:
    path = pictures(tmp_path / "in", 1)
    (kept,) = described(path).items
    (saved,) = described(path, output_dir=tmp_path / "out").items

    assert kept.files[0].content
    assert saved.files[0].path == tmp_path / "out" / "0.jpg"
    row("without and with output_dir", f"{len(kept.files[0].content)} B in memory; out/0.jpg")


# ---------------------------------------------------------------- AC3: failures stay alone


@pytest.mark.row("AC3", "one image fails: the others go on, nothing is raised")
def test_a_failure_stays_alone(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    vision.then("ok", "refusal", "ok")
    result = described(pictures(tmp_path / "in", 3), concurrency=1)

    assert [item.ok for item in result.items] == [True, False, True]
    error = result.items[1].error
    assert error is not None
    row(f"{CALL}; the second answer is a refusal", f"ok, {error.code}: {error.message}, ok")


@pytest.mark.row("AC3", "results come in the order of the files, one for each")
def test_results_are_in_order(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    paths = pictures(tmp_path / "in", 6)
    names = [item.source.name for item in described(paths).items]

    assert names == [path.name for path in paths]
    row(CALL, names)


# ---------------------------------------------------------------- AC4: progress


@pytest.fixture
def told(tmp_path: Path, vision: VisionServer) -> list[Progress]:
    """What on_progress was told of six images of which one failed."""
    vision.then("ok", "refusal")
    seen: list[Progress] = []
    described(pictures(tmp_path / "in", 6), on_progress=seen.append)
    return seen


@pytest.mark.row("AC4", "a callback after each image; completed only grows")
def test_progress_is_told_after_each(row: Row, told: list[Progress]) -> None:
    assert [each.completed for each in told] == list(range(1, 7))
    row("on_progress=…", f"completed {[each.completed for each in told]}")


@pytest.mark.row("AC4", "total, completed, successful, failed, processing, pending")
def test_progress_has_every_count(row: Row, told: list[Progress]) -> None:
    names = ("total", "completed", "successful", "failed", "processing", "pending")
    counted = [{name: getattr(each, name) for name in names} for each in told]

    assert all(each.completed + each.processing + each.pending == each.total for each in told)
    assert (told[-1].successful, told[-1].failed) == (5, 1)
    row("on_progress=…", counted[2])


@pytest.mark.row("AC4", "current, result, results so far, estimated time remaining")
def test_progress_has_results_and_eta(row: Row, told: list[Progress]) -> None:
    assert [len(each.results) for each in told] == list(range(1, 7))
    assert all(each.results[-1] is each.result for each in told)
    assert told[-1].eta_s == 0
    third = told[2]
    came = {"current": third.current, "results": len(third.results), "eta_s": third.eta_s}
    row("on_progress=…", came)


@pytest.mark.row("AC4", "the callback may be async")
def test_the_callback_may_be_async(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    seen: list[int] = []

    async def note(progress: Progress) -> None:
        seen.append(progress.completed)

    result = described(pictures(tmp_path / "in", 2), on_progress=note)

    assert (result.successful, seen) == (2, [1, 2])
    row("on_progress=async def …", seen)


# ---------------------------------------------------------------- AC6: time


@pytest.mark.row("AC6", "over the limit: failed, the question broken off, the others go on")
def test_an_image_over_its_time_fails(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    vision.then("never")
    result = described(pictures(tmp_path / "in", 3), concurrency=1, timeout_s=5)

    error = result.items[0].error
    assert [item.ok for item in result.items] == [False, True, True]
    assert error is not None
    assert error.code == "attempt_timeout"
    assert vision.asked[0].closed.wait(60)
    row("timeout_s=5; the first answer never comes", f"{error.message}; connection closed")


@pytest.mark.row("AC6", "30 seconds by default")
def test_the_limit_is_30_s(row: Row) -> None:
    from batchmill.operations import presets

    pipeline = presets.get("describe")

    assert (pipeline.timeout_s, pipeline.retries, pipeline.concurrency) == (30, 1, 5)
    row("batchmill presets describe", f"timeout_s {pipeline.timeout_s}, retries {pipeline.retries}")


# ---------------------------------------------------------------- AC7: retry


@pytest.mark.row("AC7", "{first} is tried once more")
@pytest.mark.parametrize("first", ["busy", "fault", "drop"])
def test_what_may_pass_is_tried_again(
    row: Row, tmp_path: Path, vision: VisionServer, first: str
) -> None:
    vision.then(first)
    (item,) = described(pictures(tmp_path / "in", 1)).items
    wait_s = vision.asked[1].at_s - vision.asked[0].at_s

    assert (item.ok, item.attempts, len(vision.asked)) == (True, 2, 2)
    what = {"busy": "429", "fault": "500", "drop": "a broken connection"}[first]
    row(f"{CALL}; first {what}", f"described by attempt 2, {wait_s:.1f} s later")


@pytest.mark.row("AC7", "a validation error is not tried again: {first}")
@pytest.mark.parametrize("first", ["bad_request", "wrong_key", "unprocessable"])
def test_what_will_not_pass_is_not_tried_again(
    row: Row, tmp_path: Path, vision: VisionServer, first: str
) -> None:
    vision.usual = first
    (item,) = described(pictures(tmp_path / "in", 1), retries=3).items

    assert item.error is not None
    assert (item.attempts, len(vision.asked)) == (1, 1)
    row(f"retries=3; the model answers {first}", f"1 attempt, {item.error.code}")


@pytest.mark.row("AC7", "the wait grows exponentially: 1 s, 2 s …")
def test_the_wait_grows(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    vision.usual = "fault"
    described(pictures(tmp_path / "in", 1), retries=2)
    first, second, third = (asked.at_s for asked in vision.asked)

    assert third - second > second - first
    row("retries=2; always 500", f"waits of {second - first:.1f} s and {third - second:.1f} s")


# ---------------------------------------------------------------- AC8: nothing stays


@pytest.mark.row("AC8", "no temporary file stays after {usual}")
@pytest.mark.parametrize("usual", ["ok", "refusal", "drop"])
def test_no_temporary_file_stays(
    row: Row, temporary: Path, vision: VisionServer, usual: str
) -> None:
    vision.usual = usual
    described(pictures(temporary.parent / "in", 3), retries=0)
    left = files_below(temporary)

    assert not left
    row(f"{CALL}; the model answers {usual}", f"{len(left)} temporary files")


@pytest.mark.row("AC8", "no temporary file stays of a batch that is cancelled")
def test_no_temporary_file_stays_of_a_cancelled_batch(
    row: Row, tmp_path: Path, temporary: Path, vision: VisionServer
) -> None:
    vision.usual = "never"
    arrived = threading.Event()
    vision.look = lambda _: arrived.set()

    async def cancelled() -> None:
        running = asyncio.create_task(process_batch(pictures(tmp_path / "in", 6), "describe"))
        await asyncio.to_thread(arrived.wait, 60)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    left = files_below(temporary)
    assert not left
    row("task.cancel() while the model is asked", f"CancelledError, {len(left)} temporary files")


# ---------------------------------------------------------------- errors, inputs, logs


@pytest.mark.row("Security notes", "an empty list is an error of its own")
def test_an_empty_list_is_a_typed_error(row: Row, vision: VisionServer) -> None:
    with pytest.raises(EmptyBatchError) as caught:
        described([])

    assert isinstance(caught.value, BatchmillError)
    row('process_batch([], "describe")', f"{type(caught.value).__name__}: {caught.value.message}")


@pytest.mark.row("Architecture", "typed ProcessingError")
def test_errors_are_typed(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    vision.usual = "refusal"
    (item,) = described(pictures(tmp_path / "in", 1)).items

    with pytest.raises(ProcessingError) as caught:
        described(pictures(tmp_path / "in", 1), strict=True)

    assert item.error is not None
    assert caught.value.code == item.error.code
    row("strict=True; from batchmill import ProcessingError", repr(caught.value))


@pytest.mark.row("Code pattern", "files as bytes or open files, as multer hands them over")
def test_files_may_be_bytes(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    body = pictures(tmp_path / "in", 1)[0].read_bytes()
    result = described([BytesIO(body), body])

    assert result.successful == 2
    row('process_batch([open file, bytes], "describe")', f"{result.successful} described")


@pytest.mark.row("Code pattern", "an option that is wrong is refused: {name}")
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.usefixtures("vision")
def test_wrong_options_are_refused(row: Row, tmp_path: Path, name: str) -> None:
    value = WRONG[name]
    asked: dict[str, Any] = {name: value}
    with pytest.raises(BatchmillError) as caught:
        described(pictures(tmp_path / "in", 1), **asked)

    assert name in caught.value.message
    row(f"process_batch(…, {name}={value})", f"{type(caught.value).__name__}: {caught.value}")


@pytest.mark.row("Definition of done", "structured logs")
def test_logs_are_structured(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    env = environment(**vision.environment, BATCHMILL_LOG_FORMAT="json")
    asked = ["run", "describe", *pictures(tmp_path / "in", 2), "--json", "-o", tmp_path / "out"]
    done = preloaded.run(asked, env=env, cwd=tmp_path)
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert [line["status"] for line in lines] == ["completed", "completed"]
    logger = logging.getLogger("batchmill").handlers
    row(
        "batchmill run describe … --json",
        {name: lines[0][name] for name in ("status", "attempts", "timings")}
        | {"handlers of the library": len(logger)},
    )


# ---------------------------------------------------------------- the same pipeline elsewhere


@pytest.mark.row("The pipeline elsewhere", "from the command line, without a server")
def test_the_command_line_describes(row: Row, tmp_path: Path, vision: VisionServer) -> None:
    asked = ["run", "describe", *pictures(tmp_path / "in", 1), "--json", "-o", tmp_path / "out"]
    done = preloaded.run(asked, env=environment(**vision.environment), cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[0])
    assert told["data"]["title"] == RIGHT["title"]
    row("batchmill run describe 0.jpg --json -o out", told["data"])


@pytest.mark.row("The pipeline elsewhere", "from the API")
def test_the_api_describes(row: Row, tmp_path: Path, server: Process) -> None:
    batch = _describe_on(server, pictures(tmp_path / "in", 2))
    (first, _) = server.client.get(f"/v1/batches/{batch['id']}/items").json()["data"]
    told = server.client.get(f"/v1/items/{first['id']}").json()["data"]

    assert batch["status"] == "completed"
    assert told["title"] == RIGHT["title"]
    row("POST /v1/batches with pipeline describe; GET /v1/items/:id", told)


@pytest.mark.row("The pipeline elsewhere", "on the web page")
def test_the_page_shows_descriptions(
    row: Row, tmp_path: Path, server: Process, open_page: OpenPage
) -> None:
    batch = _describe_on(server, pictures(tmp_path / "in", 1))
    page = open_page(f"/batches/{batch['id']}")
    page.locator("#row-0").click()
    page.get_by_role("tab", name="Data").click()
    page.get_by_text(str(RIGHT["alt_text"])).first.wait_for()
    text = page.locator("body").inner_text()

    assert str(RIGHT["title"]) in text
    row("the page /batches/:id in Chromium, the first file opened", RIGHT["title"])


@pytest.mark.row("The pipeline elsewhere", "without a key nothing is begun; it says what to set")
def test_without_a_key_nothing_is_begun(row: Row, tmp_path: Path) -> None:
    from support.vision_server import without_model

    env = {**without_model(environment()), "PATH": os.environ["PATH"]}
    asked = ["run", "describe", *pictures(tmp_path / "in", 1), "-o", tmp_path / "out"]
    done = preloaded.run(asked, env=env, cwd=tmp_path)

    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr
    row("batchmill run describe without OPENAI_API_KEY", f"exit code 2: {done.stderr}")
