import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydantic import ConfigDict

from batchmill.attempt.context import AttemptContext, Remote
from batchmill.attempt.run import Finished, run_attempt
from batchmill.attempt.staging import InputFile
from batchmill.errors.item import (
    AttemptTimeoutError,
    ChildCrashedError,
    InputLostError,
    ItemError,
    OperationFailedError,
    UnreadableFileError,
)
from batchmill.errors.request import UnknownNameError
from batchmill.model.item import SkipReason
from batchmill.model.media import Family
from batchmill.model.pipeline import Condition, OnError, Pipeline, Step
from batchmill.operations.contract import Operation, Options, RemoteCall, Source, Transform
from support.pool_session import PoolSession, RunStory, files_left
from support.staged import local_file

Attempt = Callable[..., None]
"""Runs a pipeline on a picture and lets a test look at what is finished."""
Look = Callable[[Finished], None]
JPEG = b"\xff\xd8\xff\xe0" + b"pixels" * 10


class Anything(Options):
    model_config = ConfigDict(extra="allow")


async def _describe(source: Source, options: object, clients: object) -> dict[str, str]:
    return {"title": f"{source.media.extension} of {source.bytes} bytes for {clients}"}


async def _refuse(source: Source, options: object, clients: object) -> NoReturn:
    raise UnreadableFileError(source.name, "the model sees nothing")


async def _break(source: Source, options: object, clients: object) -> dict[str, str]:
    nothing: dict[str, dict[str, str]] = {}
    return nothing["nothing"]


async def _wait(source: Source, options: object, clients: object) -> dict[str, str]:
    await asyncio.sleep(0.3)
    return {}


async def _never_answer(source: Source, options: object, clients: object) -> dict[str, str]:
    await asyncio.Event().wait()
    return {}


CALLS: dict[str, Callable[..., Awaitable[dict[str, str]]]] = {
    "describe": _describe,
    "refuse_remotely": _refuse,
    "break_remotely": _break,
    "wait_remotely": _wait,
    "never_answer": _never_answer,
}


def find(name: str) -> Operation:
    """Look an operation up as the registry does; all but `CALLS` run in the child."""
    if name == "nothing":
        raise UnknownNameError("operation", name, sorted(CALLS))
    common: dict[str, Any] = {
        "name": name,
        "summary": "",
        "version": 1,
        "accepts": frozenset(Family),
    }
    if name in CALLS:
        copy = (Step("copy", id="prepare"),)
        return RemoteCall(**common, options=Anything, prepare=lambda _: copy, call=CALLS[name])
    return Transform(**common, options=Anything, run=lambda work, options: work)


def pipeline(*uses: str | tuple[str, dict[str, Any]], **more: Any) -> Pipeline:
    """Make steps of names, or of (name, fields of `Step`)."""
    pairs = [use if isinstance(use, tuple) else (use, {}) for use in uses]
    steps = [Step(use, id=f"{n}-{use}", **own) for n, (use, own) in enumerate(pairs, start=1)]
    return Pipeline("test", tuple(steps), **more)


@pytest.fixture
def attempt(with_server_context: RunStory, tmp_path: Path) -> Attempt:
    """Run one attempt on a JPEG, hand what is finished to `look`; no folder may remain."""

    def run(
        made: Pipeline, look: Look | None = None, *, source: InputFile | None = None, **more: Any
    ) -> None:
        path = tmp_path / "cat.jpg"
        path.write_bytes(JPEG)

        async def story(context: PoolSession) -> None:
            attempt_context = AttemptContext(context.pool, find, "anna", **more)
            try:
                entered = await run_attempt(
                    source or local_file(path, "a/cat.jpg"), made, context=attempt_context
                )
                async with entered as finished:
                    if look:
                        look(finished)
            finally:
                assert files_left(context.pool) == []

        with_server_context(story)
        assert path.read_bytes() == JPEG

    return run


def test_outputs_lie_in_the_folder_under_the_names_of_the_template(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        (output,), (file,) = finished.result.outputs, finished.files
        assert output.name == "a/thumb/copy-1"
        assert file.read_bytes() == JPEG
        assert file.is_relative_to(finished.folder)

    attempt(pipeline("copy", output_path="{dir}/thumb/{stem}-{index}"), look)


@pytest.mark.parametrize(
    ("use", "error"),
    [("refuse", UnreadableFileError), ("fail", OperationFailedError), ("abort", ChildCrashedError)],
)
def test_failure_names_its_step_and_leaves_nothing(
    attempt: Attempt, use: str, error: type[ItemError]
) -> None:
    with pytest.raises(error) as caught:
        attempt(pipeline("copy", use))
    assert caught.value.step == f"2-{use}"


def test_attempt_over_the_pipelines_time_is_stopped(attempt: Attempt) -> None:
    with pytest.raises(AttemptTimeoutError, match=r"0\.3 s"):
        attempt(pipeline("hang", timeout_s=0.3))


def test_input_that_is_gone_is_said_to_be_lost(attempt: Attempt, tmp_path: Path) -> None:
    with pytest.raises(InputLostError, match="dog"):
        attempt(pipeline("copy"), source=local_file(tmp_path / "dog.jpg"))


def test_remote_call_sees_the_file_and_adds_its_findings(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        assert finished.result.data == {"title": f"jpg of {len(JPEG)} bytes for the client"}
        assert finished.result.outputs == ()

    attempt(pipeline("describe"), look, remote=_remote())


def test_findings_of_all_segments_are_merged(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        assert set(finished.result.data) == {"pid", "title"}
        assert len(finished.result.outputs) == 1
        assert set(finished.result.step_ms) == {"2-describe"}

    attempt(pipeline("tell_pid", "describe"), look, remote=_remote())


def test_remote_call_over_the_attempts_time_is_stopped(attempt: Attempt) -> None:
    with pytest.raises(AttemptTimeoutError) as caught:
        attempt(pipeline("never_answer", timeout_s=0.1), remote=_remote())
    assert caught.value.step == "1-never_answer"


def test_next_transforms_work_on_every_output_of_the_last_ones(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        names = [output.name for output in finished.result.outputs]
        assert names == ["a/copy", "a/copy-2", "a/copy-3"]
        assert [file.read_bytes() for file in finished.files] == [JPEG] * 3
        assert finished.result.data["title"]

    three = ("make", {"options": {"copies": 3}})
    attempt(pipeline(three, "describe", "copy", output_path="{dir}/{stem}"), look, remote=_remote())


def test_segment_without_outputs_leaves_the_files_as_they_are(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        assert [output.name for output in finished.result.outputs] == ["a/copy"]

    nothing = ("make", {"options": {"copies": 0}})
    made = pipeline("copy", "describe", nothing, output_path="{dir}/{stem}")
    attempt(made, look, remote=_remote())


def test_remote_call_that_fails_may_be_left_out(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        (warning,) = finished.result.warnings
        assert warning.startswith("refuse_remotely was left out: a/cat.jpg cannot be read")

    attempt(
        pipeline(("refuse_remotely", {"on_error": OnError.SKIP}), "copy"), look, remote=_remote()
    )


def test_fault_of_a_remote_call_is_its_files_own(attempt: Attempt) -> None:
    with pytest.raises(OperationFailedError, match="break_remotely could not process") as caught:
        attempt(pipeline("break_remotely"), remote=_remote())
    assert caught.value.step == "1-break_remotely"
    assert caught.value.detail is not None
    assert "KeyError" in caught.value.detail


def test_remote_call_that_fails_fails_the_attempt_by_default(attempt: Attempt) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        attempt(pipeline("refuse_remotely", "copy"), remote=_remote())
    assert caught.value.step == "1-refuse_remotely"


def test_remote_call_whose_condition_is_not_met_is_not_made(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        assert finished.result.data == {}
        assert finished.result.skipped is SkipReason.FILTERED

    attempt(
        pipeline(("describe", {"condition": Condition(min_width=5000)})), look, remote=_remote()
    )


def test_file_is_not_skipped_once_one_segment_has_changed_it(attempt: Attempt) -> None:
    def look(finished: Finished) -> None:
        assert finished.result.skipped is None
        assert len(finished.result.outputs) == 1

    never = {"condition": Condition(min_width=5000)}
    attempt(pipeline("copy", ("describe", never)), look, remote=_remote())


def test_step_with_its_own_time_is_stopped_sooner(attempt: Attempt) -> None:
    with pytest.raises(AttemptTimeoutError, match=r"0\.2 s"):
        attempt(pipeline(("hang", {"timeout_s": 0.2}), timeout_s=60))


@pytest.mark.parametrize("use", ["lock_a_folder", "leave_temporary_files"])
def test_what_an_operation_leaves_goes_with_the_attempt(attempt: Attempt, use: str) -> None:
    attempt(pipeline(use))


def test_time_of_earlier_segments_counts(attempt: Attempt) -> None:
    wait: tuple[str, dict[str, Any]] = ("wait_remotely", {"options": {}})
    with pytest.raises(AttemptTimeoutError, match=r"0\.5 s"):
        attempt(pipeline(wait, wait, "copy", timeout_s=0.5), remote=_remote())


def test_cancelled_attempt_leaves_nothing(with_server_context: RunStory, tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(JPEG)

    async def story(context: PoolSession) -> None:
        attempt_context = AttemptContext(context.pool, find, "anna")
        running = asyncio.create_task(
            run_attempt(local_file(path), pipeline("hang"), context=attempt_context)
        )
        await context.busy()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert files_left(context.pool) == []
        assert context.pids() == []

    with_server_context(story)


def _remote() -> Remote:
    return Remote(asyncio.Semaphore(1), "the client")
