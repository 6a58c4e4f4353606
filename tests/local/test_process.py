"""The library without a server: what reference document 003 asks for, and what users meet."""

import asyncio
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import batchmill
from batchmill import logs
from batchmill.errors.item import InputMissingError, ProcessingError
from batchmill.errors.request import (
    EmptyBatchError,
    InvalidPipelineError,
    UnknownNameError,
    UsageError,
)
from batchmill.local.process import process_batch, process_batch_sync
from batchmill.local.results import BatchResult, Progress
from batchmill.model.item import ItemStatus
from support.faulty import faulty
from support.folders import files_below
from support.local_runs import Process, process
from support.pictures import scene

__all__ = ["faulty", "process"]

FAULTY = {"steps": [{"use": "faulty"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; temporary files of the run go into another one beside it."""
    folder, temporary = tmp_path / "files", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    yield folder
    tempfile.tempdir = None


def pictures(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(96, 64).write_to_file(str(path))
    return paths


def left_over(folder: Path) -> list[str]:
    return [str(path) for path in files_below(folder.parent / "temporary")]


def children() -> list[int]:
    """Return our own programs that this process has started and that still run.

    Servers that other tests keep for the session are not meant; what the fixture `process` keeps
    is there before and after.
    """
    me = os.getpid()
    pids = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    return [int(pid) for pid in pids if b"batchmill" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_results_come_in_the_order_of_the_files_and_lie_in_the_folder(folder: Path) -> None:
    paths = pictures(folder, "a.png", "b.jpg", "c.png")

    result = process_batch_sync(paths, "web", output_dir=folder / "out")

    assert [item.source.name for item in result.items] == ["a.png", "b.jpg", "c.png"]
    assert [item.status for item in result.items] == [ItemStatus.COMPLETED] * 3
    made = sorted(path.name for path in (folder / "out").iterdir())
    assert made == ["a.webp", "b.webp", "c.webp"]
    assert result.successful == 3


def test_without_a_folder_the_bytes_are_in_the_results(folder: Path) -> None:
    result = process_batch_sync(pictures(folder, "a.png"), "web")

    (file,) = result.items[0].files
    assert file.path is None
    assert file.content is not None
    assert file.content[8:12] == b"WEBP"


def test_the_public_names_are_the_ones_of_the_package() -> None:
    assert batchmill.process_batch is process_batch
    assert "Pipeline" in dir(batchmill)


# ------------------------------------------------------------ reference 003, AC1 and AC5


def test_five_files_are_under_way_at_once_and_never_more(
    folder: Path, faulty: Any, process: Process
) -> None:
    pipeline = {"steps": [{"use": "faulty_call", "with": {"together": 5}}]}
    paths = pictures(folder, *(f"{n}.png" for n in range(12)))

    result = process(paths, pipeline)

    assert faulty.CALLS.most == 5
    assert result.successful == 12


# ------------------------------------------------------------ AC3


def test_a_failed_file_neither_blocks_nor_raises(folder: Path, process: Process) -> None:
    paths = pictures(folder, "a.png", "c.png")
    bad = folder / "b.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 no picture")

    result = process([paths[0], bad, folder / "gone.png", paths[1]], "web")

    assert [item.status.value for item in result.items] == [
        "completed",
        "failed",
        "failed",
        "completed",
    ]
    codes = [item.error.code for item in result.items if item.error]
    assert codes == ["unreadable_file", "input_missing"]
    assert (result.successful, result.failed) == (2, 2)


def test_a_crash_costs_only_its_own_file(folder: Path, faulty: Any, process: Process) -> None:
    paths = pictures(folder, "a.png", "crash-b.png", "c.png")

    result = process(paths, FAULTY, concurrency=1, retries=0)

    assert [item.ok for item in result.items] == [True, False, True]
    assert result.items[1].error is not None
    assert result.items[1].error.code == "child_crashed"


def test_an_empty_batch_is_an_error_of_its_own() -> None:
    with pytest.raises(EmptyBatchError):
        process_batch_sync([], "web")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"concurrency": 0}, "`concurrency` must be a whole number from 1 up."),
        ({"concurrency": 2.5}, "`concurrency` must be a whole number from 1 up."),
        ({"timeout_s": 0}, "`timeout_s` must be a number of seconds above 0, at most 86400."),
        ({"timeout_s": -1}, "`timeout_s` must be a number of seconds above 0, at most 86400."),
        ({"timeout_s": float("nan")}, "`timeout_s` must be a number of seconds above 0"),
        ({"timeout_s": 100_000}, "`timeout_s` must be a number of seconds above 0, at most 86400."),
        ({"retries": -1}, "`retries` must be a whole number from 0 up."),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_a_sentence(
    folder: Path, wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidPipelineError) as caught:
        process_batch_sync(pictures(folder, "a.png"), "web", **wrong)
    assert caught.value.message.startswith(sentence)


def test_an_unknown_preset_is_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="'web'"):
        process_batch_sync(pictures(folder, "a.png"), "wev")


# ------------------------------------------------------------ ProcessingError


def test_a_failure_raises_an_error_with_its_own_code(folder: Path, process: Process) -> None:
    result = process([folder / "gone.png"], "web")

    assert result.items[0].error is not None
    with pytest.raises(ProcessingError, match=r"gone\.png is not there") as caught:
        result.items[0].error.raise_()
    assert (caught.value.code, caught.value.retryable) == ("input_missing", False)
    assert caught.value.remedy == InputMissingError.remedy
    assert isinstance(caught.value, batchmill.BatchmillError)


def test_a_strict_batch_raises_its_first_failure_once_all_files_have_ended(folder: Path) -> None:
    (good,) = pictures(folder, "a.png")
    gone = [folder / "gone-1.png", folder / "gone-2.png"]
    seen: list[Progress] = []

    with pytest.raises(ProcessingError, match=r"gone-1\.png") as caught:
        process_batch_sync([*gone, good], "web", strict=True, on_progress=seen.append)
    assert seen[-1].successful == 1
    assert caught.value.__notes__ == ["2 of 3 files failed; this is the first."]


def test_a_strict_batch_without_failures_returns_its_results(folder: Path) -> None:
    result = process_batch_sync(pictures(folder, "a.png"), "web", strict=True)

    assert result.successful == 1


# ------------------------------------------------------------ AC4


def test_progress_counts_add_up_and_never_go_back(folder: Path, process: Process) -> None:
    seen: list[Progress] = []
    paths = pictures(folder, *(f"{n}.png" for n in range(6)))
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    result = process([*paths, folder / "bad.png"], "web", concurrency=2, on_progress=seen.append)

    assert [p.completed for p in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert all(p.completed + p.processing + p.pending == p.total == 7 for p in seen)
    assert all(p.successful + p.failed == p.completed for p in seen)
    assert [len(p.results) for p in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert all(p.results[-1] is p.result for p in seen)
    assert all(p.current == p.result.source.name for p in seen)
    assert seen[-1].eta_s == 0
    assert {id(each) for each in seen[-1].results} == {id(each) for each in result.items}


def test_results_so_far_are_a_snapshot(folder: Path, process: Process) -> None:
    seen: list[Progress] = []
    process(pictures(folder, "a.png", "b.png"), "web", on_progress=seen.append)

    assert len(seen[0].results) == 1
    assert seen[0].results[0:5] == (seen[0].result,)
    with pytest.raises(IndexError):
        seen[0].results[1]


def test_an_exception_of_the_callback_is_logged_once_and_ends_nothing(folder: Path) -> None:
    called: list[str] = []
    logged: list[dict[str, Any]] = []

    def refuse(progress: Progress) -> None:
        called.append(progress.current)
        raise LookupError(progress.current)

    async def run() -> BatchResult:
        asyncio.get_running_loop().set_exception_handler(lambda _, said: logged.append(said))
        paths = pictures(folder, "a.png", "b.png", "c.png")
        return await process_batch(paths, "web", on_progress=refuse)

    result = asyncio.run(run())

    assert result.successful == len(called) == 3
    assert [repr(said["exception"]) for said in logged] == [f"LookupError({called[0]!r})"]
    assert "on_progress" in logged[0]["message"]


def test_a_callback_that_is_a_coroutine_is_awaited_before_the_next_call(
    folder: Path, process: Process
) -> None:
    steps: list[str] = []

    async def slow(progress: Progress) -> None:
        steps.append(f"begin {progress.completed}")
        await asyncio.sleep(0.05)
        steps.append(f"end {progress.completed}")

    process(pictures(folder, "a.png", "b.png", "c.png"), "web", on_progress=slow)

    assert steps == ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]


# ------------------------------------------------------------ AC6


def test_a_file_over_its_time_is_stopped_and_the_others_go_on(folder: Path, faulty: Any) -> None:
    before = children()
    pipeline = {"steps": [{"use": "faulty", "with": {"seconds": 600}}]}
    paths = pictures(folder, "slow-a.png", "b.png")

    result = process_batch_sync(paths, pipeline, timeout_s=6)

    assert [item.ok for item in result.items] == [False, True]
    assert result.items[0].error is not None
    assert result.items[0].error.code == "attempt_timeout"
    assert result.items[0].attempts == 1
    assert children() == before


# ------------------------------------------------------------ AC7


@pytest.mark.parametrize("operation", ["faulty", "faulty_call"])
def test_an_error_that_may_pass_is_tried_once_more(
    folder: Path, faulty: Any, operation: str, process: Process
) -> None:
    paths = pictures(folder, "flaky-a.png")

    result = process(paths, {"steps": [{"use": operation}]})

    assert result.items[0].ok
    assert result.items[0].attempts == 2


def test_without_retries_the_first_error_counts(
    folder: Path, faulty: Any, process: Process
) -> None:
    paths = pictures(folder, "flaky-a.png")

    result = process(paths, FAULTY, retries=0)

    assert result.items[0].status is ItemStatus.FAILED
    assert result.items[0].attempts == 1


def test_a_wrong_file_is_not_tried_again(folder: Path, faulty: Any, process: Process) -> None:
    result = process(pictures(folder, "wrong-a.png"), FAULTY, retries=3)

    assert result.items[0].attempts == 1


def test_a_file_that_crashes_twice_is_set_aside(
    folder: Path, faulty: Any, process: Process
) -> None:
    result = process(pictures(folder, "crash-a.png"), FAULTY, retries=3)

    assert result.items[0].status is ItemStatus.QUARANTINED
    assert result.items[0].attempts == 2


# ------------------------------------------------------------ AC8


def test_no_temporary_file_and_no_process_stays(folder: Path, faulty: Any) -> None:
    before = children()
    paths = pictures(folder, "a.png", "wrong-b.png", "crash-c.png")
    out = folder / "out"

    process_batch_sync(paths, FAULTY)
    process_batch_sync(paths, FAULTY, output_dir=out)

    assert not left_over(folder)
    assert not [path for path in out.rglob("*") if "scratch" in path.name]
    assert children() == before


def test_a_cancelled_batch_leaves_no_temporary_file_and_no_process(
    folder: Path, faulty: Any
) -> None:
    before = children()
    pipeline = {"steps": [{"use": "faulty", "with": {"seconds": 600}}]}
    paths = pictures(folder, "a.png", "slow-b.png", "c.png")
    out = folder / "out"

    async def cancel_after_the_first() -> None:
        first = asyncio.Event()

        def ended(progress: Progress) -> None:
            assert progress.result.ok, progress.result
            first.set()

        running = asyncio.create_task(
            process_batch(paths, pipeline, on_progress=ended, output_dir=out)
        )
        first_ended = asyncio.create_task(first.wait())
        await asyncio.wait({running, first_ended}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_after_the_first())
    assert not left_over(folder)
    assert {path.name for path in out.iterdir()} <= {"a.png", "c.png"}
    assert children() == before


# ------------------------------------------------------------ names


def test_two_inputs_of_one_name_get_two_outputs_in_their_order(
    folder: Path, process: Process
) -> None:
    paths = pictures(folder, "x/a.png", "y/a.png", "y/a.jpg")

    result = process(paths, "web", output_dir=folder / "out")

    names = [item.files[0].output.name for item in result.items]
    assert names == ["a.webp", "a-2.webp", "a-3.webp"]
    assert "a-2.webp" in result.items[1].warnings[0]


def test_what_is_there_is_not_overwritten(folder: Path, process: Process) -> None:
    out = folder / "out"
    out.mkdir()
    (out / "a.webp").write_bytes(b"precious")

    result = process(pictures(folder, "a.png"), "web", output_dir=out)

    assert result.items[0].error is not None
    assert result.items[0].error.code == "output_exists"
    assert (out / "a.webp").read_bytes() == b"precious"


def test_an_output_folder_that_is_a_file_is_refused(folder: Path) -> None:
    (folder / "out").write_bytes(b"")

    with pytest.raises(UsageError, match="can't be written"):
        process_batch_sync(pictures(folder, "a.png"), "web", output_dir=folder / "out")


def test_the_original_is_not_changed(folder: Path, process: Process) -> None:
    (path,) = pictures(folder, "a.png")
    before = path.read_bytes(), path.stat().st_mtime_ns

    result: BatchResult = process([path], "web", output_dir=folder / "out")

    assert result.failed == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_every_outcome_is_a_line_of_the_log_once_that_is_set_up(folder: Path, faulty: Any) -> None:
    stream = io.StringIO()
    logs.set_up(level="debug", style="json", stream=stream)
    try:
        process_batch_sync(pictures(folder, "a.png", "wrong-b.png"), FAULTY)
    finally:
        structlog.reset_defaults()

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = {(line["event"], line.get("item")) for line in lines}
    assert {("item.finished", "a.png"), ("item.failed", "wrong-b.png")} <= told
    assert lines[-1]["event"] == "batch.ended"
    assert (lines[-1]["items"], lines[-1]["failed"]) == (2, 1)
