"""The eight acceptance criteria of reference document 003, each measured at a real model's server.

How many questions overlap is counted where they arrive: a barrier there lets nobody go before
five are together, so that nothing depends on how fast this machine is.
"""

import asyncio
import json
import os
import tempfile
import threading
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batchmill.errors.request import EmptyBatchError, InvalidOptionError, ModelKeyMissingError
from batchmill.local.process import process_batch, process_batch_sync
from batchmill.local.results import Progress
from batchmill.model.item import ItemStatus
from batchmill.operations import presets
from support.faulty import faulty
from support.folders import files_below
from support.local_runs import Process, process
from support.pictures import scene
from support.processes import descendants
from support.vision_server import RIGHT, VisionServer, without_model

__all__ = ["faulty", "process"]


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where this process's temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    tempfile.tempdir = str(folder)
    yield folder
    tempfile.tempdir = None


def pictures(folder: Path, number: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{n}.jpg" for n in range(number)]
    for path in paths:
        scene(320, 240).write_to_file(str(path))
    return paths


def our_processes() -> list[int]:
    """Return the processes of the product below this one; tests keep servers of other kinds."""
    pids = descendants(os.getpid())
    return [pid for pid in pids if b"batchmill" in Path(f"/proc/{pid}/cmdline").read_bytes()]


# ------------------------------------------------------------ AC1: five at once, never more


def test_five_questions_are_under_way_at_once_and_never_more(
    tmp_path: Path, vision: VisionServer
) -> None:
    together = threading.Barrier(5)
    vision.look = lambda _: together.wait(60)

    result = process_batch_sync(pictures(tmp_path / "in", 15), "describe")

    assert result.successful == 15
    assert vision.most == 5


# ------------------------------------------------------------ AC2: compress, address, model, clean


def test_the_preset_compresses_then_asks() -> None:
    pipeline = presets.get("describe")

    assert [step.use for step in pipeline.steps] == ["compress", "describe"]
    assert (pipeline.concurrency, pipeline.timeout_s, pipeline.retries) == (5, 30, 1)


def test_a_picture_goes_through_the_whole_pipeline(
    tmp_path: Path, temporary: Path, vision: VisionServer
) -> None:
    path = tmp_path / "big.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Secret camera"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 30.0)
    Image.effect_mandelbrot((2000, 1500), (-2, -1, 1, 1), 60).convert("RGB").save(
        path, quality=97, exif=exif
    )

    (item,) = process_batch_sync([path], "describe", output_dir=tmp_path / "out").items

    assert item.status is ItemStatus.COMPLETED
    assert {field: item.data[field] for field in RIGHT} == RIGHT
    assert (item.data["source"], item.data["model"]) == ("model", "fake-vision-1")
    assert item.data["usage"] == {
        "calls": 1,
        "input_tokens": 900,
        "output_tokens": 60,
        "cost_usd": 0.000171,
    }
    (asked,) = vision.asked
    assert asked.headers["authorization"] == "Bearer sk-a-made-up-key"
    assert asked.body["model"] == "fake-vision"
    assert asked.body["response_format"]["json_schema"]["strict"] is True
    sent = b64decode(asked.image_url.removeprefix("data:image/jpeg;base64,"))
    assert b"Secret" not in sent
    copy = Image.open(BytesIO(sent))
    assert (copy.format, max(copy.size), dict(copy.getexif())) == ("JPEG", 512, {})
    (made,) = (tmp_path / "out").iterdir()
    assert made.stat().st_size < path.stat().st_size
    assert not files_below(temporary)


def test_options_reach_the_question(tmp_path: Path, vision: VisionServer, process: Process) -> None:
    options = {"language": "de", "keywords": 3, "detail": "high", "context": "shoes of a shop"}
    steps = {"steps": [{"use": "describe", "with": options}]}

    (item,) = process(pictures(tmp_path, 1), steps).items

    text, image = vision.asked[0].body["messages"][0]["content"]
    assert "'de'" in text["text"]
    assert "shoes of a shop" in text["text"]
    assert image["image_url"]["detail"] == "high"
    assert item.data["keywords"] == RIGHT["keywords"][:3]
    assert item.data["language"] == "de"


# ------------------------------------------------------------ AC3: a failure blocks nobody


def test_one_failure_neither_blocks_nor_raises(
    tmp_path: Path, vision: VisionServer, process: Process
) -> None:
    vision.then("ok", "refusal", "ok")

    result = process(pictures(tmp_path, 3), "describe", concurrency=1)

    assert [item.ok for item in result.items] == [True, False, True]
    assert result.items[1].error is not None
    assert result.items[1].error.step == "2-describe"


def test_no_pictures_are_an_error_of_its_own(vision: VisionServer) -> None:
    with pytest.raises(EmptyBatchError):
        process_batch_sync([], "describe")


# ------------------------------------------------------------ AC4: progress


def test_progress_is_told_after_every_picture_and_never_goes_back(
    tmp_path: Path, vision: VisionServer, process: Process
) -> None:
    vision.then("ok", "refusal", "busy", "ok")
    seen: list[Progress] = []

    process(pictures(tmp_path, 8), "describe", on_progress=seen.append)

    assert [told.completed for told in seen] == list(range(1, 9))
    assert all(told.completed + told.processing + told.pending == told.total for told in seen)
    assert all(0 <= told.processing <= 5 for told in seen)
    assert [len(told.results) for told in seen] == list(range(1, 9))
    assert all(told.results[-1] is told.result for told in seen)
    assert (seen[-1].successful, seen[-1].failed, seen[-1].eta_s) == (7, 1, 0)


# ------------------------------------------------------------ AC5: faster than one by one


def test_ten_pictures_wait_for_the_model_in_two_rounds_instead_of_ten(
    tmp_path: Path, vision: VisionServer, process: Process
) -> None:
    paths = pictures(tmp_path / "in", 10)
    alone = process(paths, "describe", concurrency=1)
    one_by_one = vision.most
    rounds = threading.Barrier(5)
    vision.look = lambda _: rounds.wait(60)

    together = process(paths, "describe", concurrency=5)

    assert (alone.successful, together.successful) == (10, 10)
    assert (one_by_one, vision.most) == (1, 5)


# ------------------------------------------------------------ AC6: a limit that stops the work


@pytest.mark.long
def test_a_question_over_the_limit_is_broken_off_and_the_others_go_on(
    tmp_path: Path, vision: VisionServer, process: Process
) -> None:
    vision.then("never")

    result = process(pictures(tmp_path, 3), "describe", concurrency=1, timeout_s=6)

    assert [item.ok for item in result.items] == [False, True, True]
    assert result.items[0].error is not None
    assert result.items[0].error.code == "attempt_timeout"
    assert vision.asked[0].closed.wait(60)


@pytest.mark.long
def test_a_process_over_the_limit_is_killed_while_the_batch_goes_on(
    tmp_path: Path, vision: VisionServer, faulty: Any
) -> None:
    steps = [{"use": "faulty", "with": {"seconds": 600}}, {"use": "describe"}]
    (slow,) = pictures(tmp_path, 1)
    slow = slow.rename(slow.with_name("slow.jpg"))
    others = pictures(tmp_path, 1)
    alive: list[list[int]] = []

    result = process_batch_sync(
        [slow, *others],
        {"steps": steps},
        concurrency=1,
        timeout_s=6,
        on_progress=lambda _: alive.append(our_processes()),
    )

    assert [item.ok for item in result.items] == [False, True]
    # Only what starts the children is left at once; later one child works on.
    assert len(alive[0]) == len(alive[1]) - 1


# ------------------------------------------------------------ AC7: one retry, of what may pass


@pytest.mark.parametrize("first", ["busy", "fault", "drop"])
def test_what_may_pass_is_tried_once_more(
    tmp_path: Path, vision: VisionServer, first: str, process: Process
) -> None:
    vision.usual = first

    (item,) = process(pictures(tmp_path, 1), "describe").items

    assert not item.ok
    assert (item.attempts, len(vision.asked)) == (2, 2)


@pytest.mark.parametrize("first", ["bad_request", "wrong_key", "unprocessable", "no_credit"])
def test_what_will_not_pass_is_not_tried_again(
    tmp_path: Path, vision: VisionServer, first: str, process: Process
) -> None:
    vision.usual = first

    (item,) = process(pictures(tmp_path, 1), "describe", retries=3).items

    assert (item.attempts, len(vision.asked)) == (1, 1)


# ------------------------------------------------------------ AC8: nothing stays


@pytest.mark.parametrize(
    "usual",
    ["ok", "drop", *(pytest.param(each, marks=pytest.mark.long) for each in ("refusal", "prose"))],
)
def test_no_temporary_file_stays_whatever_became_of_the_pictures(
    tmp_path: Path, temporary: Path, vision: VisionServer, usual: str
) -> None:
    before = our_processes()
    vision.usual = usual
    out = tmp_path / "out"

    process_batch_sync(pictures(tmp_path / "in", 3), "describe", output_dir=out, retries=0)

    made = ["0.jpg", "1.jpg", "2.jpg"] if usual == "ok" else []
    assert not files_below(temporary)
    assert sorted(path.name for path in files_below(out)) == made
    assert our_processes() == before


def test_no_temporary_file_stays_of_a_cancelled_batch(
    tmp_path: Path, temporary: Path, vision: VisionServer
) -> None:
    before = our_processes()
    vision.usual = "never"
    arrived = threading.Event()
    vision.look = lambda _: arrived.set()

    async def cancelled() -> None:
        batch = process_batch(pictures(tmp_path / "in", 6), "describe", output_dir=tmp_path / "out")
        running = asyncio.create_task(batch)
        await asyncio.to_thread(arrived.wait, 60)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert not files_below(temporary, tmp_path / "out")
    assert all(asked.closed.wait(60) for asked in vision.asked)
    assert our_processes() == before


# ------------------------------------------------------------ without a model


def test_without_a_key_nothing_is_begun(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(os.environ) - set(without_model()):
        monkeypatch.delenv(name)

    with pytest.raises(ModelKeyMissingError, match="OPENAI_API_KEY"):
        process_batch_sync(pictures(tmp_path / "in", 1), "describe", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_key_the_provider_local_says_only_what_it_can_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Process
) -> None:
    for name in set(os.environ) - set(without_model()):
        monkeypatch.delenv(name)
    path = tmp_path / "old-harbour_in_fog-004.png"
    Image.new("RGB", (640, 400), (20, 60, 200)).save(path)
    steps = {"steps": [{"use": "describe", "with": {"provider": "local"}}]}

    (item,) = process([path], steps).items

    assert item.data == {
        "title": "Old harbour fog",
        "description": "An evenly lit picture in landscape format, mostly blue.",
        "keywords": ["old", "harbour", "fog", "blue", "landscape", "evenly lit"],
        "category": "",
        "alt_text": "Evenly lit picture in landscape format, mostly blue",
        "language": "en",
        "source": "heuristic",
    }


def test_a_server_without_keys_is_sent_none(
    tmp_path: Path, vision: VisionServer, monkeypatch: pytest.MonkeyPatch, process: Process
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    (item,) = process(pictures(tmp_path, 1), "describe").items

    assert item.ok
    assert "authorization" not in vision.asked[0].headers


# ------------------------------------------------------------ budget


def test_parallel_questions_stay_within_the_budget(
    tmp_path: Path, vision: VisionServer, process: Process
) -> None:
    budget = {"use": "describe", "with": {"budget_usd": 0.003}}

    result = process(pictures(tmp_path, 10), {"steps": [budget]})

    failed = [item.error for item in result.items if item.error]
    assert {error.code for error in failed} == {"budget_used_up"}
    assert 0 < result.successful < 10
    assert len(vision.asked) == result.successful
    assert "0.003 US dollars" in failed[0].message


def test_a_model_that_does_not_count_its_tokens_keeps_to_the_budget_too(
    tmp_path: Path, vision: VisionServer, process: Process
) -> None:
    vision.counts = False
    budget = {"use": "describe", "with": {"budget_usd": 0.003}}

    result = process(pictures(tmp_path, 6), {"steps": [budget]}, concurrency=1)

    assert 0 < result.successful < 6
    assert result.items[0].data["usage"]["cost_usd"] is None


@pytest.mark.parametrize(
    ("usual", "free"),
    [
        ("drop", False),
        ("break_off", False),
        ("fault", False),
        ("busy", True),
        ("bad_request", True),
    ],
)
def test_only_what_surely_was_not_answered_costs_nothing(
    tmp_path: Path, vision: VisionServer, process: Process, *, usual: str, free: bool
) -> None:
    vision.usual = usual
    budget = {"use": "describe", "with": {"budget_usd": 0.003}}

    process(pictures(tmp_path, 6), {"steps": [budget]}, concurrency=1, retries=0)

    assert (len(vision.asked) == 6) == free


def test_a_budget_without_prices_is_refused(
    tmp_path: Path, vision: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BATCHMILL_LLM_INPUT_USD")
    steps = [{"use": "describe", "with": {"budget_usd": 1}}]

    with pytest.raises(InvalidOptionError, match="BATCHMILL_LLM_INPUT_USD"):
        process_batch_sync(pictures(tmp_path, 1), {"steps": steps})


def test_the_result_is_plain_json(tmp_path: Path, vision: VisionServer, process: Process) -> None:
    vision.usual = "hostile"

    (item,) = process(pictures(tmp_path, 1), "describe").items

    text = json.dumps(item.to_json(), allow_nan=False)
    assert not set(text) & {"\x00", "\x1b", "\u202e", "\u2066"}
    assert len(item.data["keywords"]) == 15
    assert len(item.data["alt_text"]) <= 250
    assert item.data["category"] == "Transport"
