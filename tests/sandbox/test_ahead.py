"""Jobs that a child is sent ahead: each has its own limits, its own blame and its own files."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors.item import (
    AttemptTimeoutError,
    ChildCrashedError,
    ItemError,
    OutOfMemoryError,
)
from batchmill.model.limits import Limits
from batchmill.operations import registry
from batchmill.sandbox.child_process import AHEAD_JOBS, Child
from batchmill.sandbox.messages import Job, JobStep, Report
from batchmill.sandbox.spawning import EXECUTOR
from support.pictures import scene
from support.pool_session import PoolSession, RunStory, left, staged

Outcome = Report | BaseException


def busy_child(context: PoolSession) -> Child:
    (child,) = context.pool._busy
    return child


async def quick_child(context: PoolSession) -> int:
    """Start one child, which counts as quick however busy this machine is; return its id."""
    context.pool.patience_s = context.pool.backlog_s = 60
    pid = int((await context.run("tell_pid")).data["pid"])
    (child,) = context.pool._idle
    child.mean_s = 0.001
    return pid


async def together(context: PoolSession, *uses: str, **more: Any) -> list[Outcome]:
    """Send jobs at once to a child that is known to be quick, and return what became of each."""
    await quick_child(context)
    before = asyncio.create_task(context.run("wait", seconds=0.2))
    await asyncio.sleep(0)
    running = [asyncio.create_task(context.run(use, **more)) for use in uses]
    await asyncio.sleep(0)
    assert len(busy_child(context).asked) > 1
    await before
    return await asyncio.gather(*running, return_exceptions=True)


def kinds(outcomes: list[Outcome]) -> list[type]:
    return [type(each) for each in outcomes]


def test_a_quick_child_is_sent_jobs_ahead_and_no_more_than_it_may(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        pid = await quick_child(context)
        jobs = [context.job("copy", body=b"%d" % number) for number in range(3 * AHEAD_JOBS)]
        running = [
            asyncio.create_task(context.pool.run(job, owner="anna", wall_s=60)) for job in jobs
        ]
        await asyncio.sleep(0)
        assert len(busy_child(context).asked) == AHEAD_JOBS
        await asyncio.gather(*running)
        assert [left(job) for job in jobs] == [b"%d" % number for number in range(len(jobs))]
        assert (await context.run("tell_pid")).data["pid"] == pid

    with_server_context(story)


def test_time_limit_counts_from_when_a_job_begins_and_costs_that_job_alone(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        uses = ["wait", "wait", "hang", "wait", "wait", "wait"]
        outcomes = await together(context, *uses, seconds=0.3, wall_s=0.9)
        assert kinds(outcomes) == [AttemptTimeoutError if use == "hang" else Report for use in uses]

    with_server_context(story)


@pytest.mark.parametrize(
    ("use", "error"), [("spin", AttemptTimeoutError), ("hog", OutOfMemoryError)]
)
def test_processor_time_and_memory_are_bounded_for_each_job(
    use: str, error: type[ItemError], with_server_context: RunStory
) -> None:
    async def story(context: PoolSession) -> None:
        uses = ["burn", "burn", "burn", use, "burn"]
        limits = Limits(cpu_s=1 if use == "spin" else 60, memory_bytes=2**30)
        outcomes = await together(context, *uses, seconds=0.5, limits=limits, wall_s=15)
        assert kinds(outcomes[:3] + outcomes[4:]) == [Report] * 4
        if isinstance(outcomes[3], Report):  # the child itself has told of it
            assert outcomes[3].error is not None
            assert outcomes[3].error.code == error.code
        else:
            assert isinstance(outcomes[3], error)
            assert getattr(outcomes[3], "limit_s", 1) == 1, "it was the wall time that ended it"

    with_server_context(story)


def test_pixels_are_bounded_for_each_file(with_server_context: RunStory) -> None:
    options = registry.options("convert", {"format": "png"}).model_dump(mode="json")

    async def story(context: PoolSession) -> None:
        def job(width: int) -> Job:
            body = scene(width, 40).write_to_buffer(".png")
            folder = Path(context.job("copy", body=body).folder)
            steps = (JobStep("convert", options=options, id="1"),)
            source, limits = str(folder.parent / "source"), Limits(pixels=4_000)
            return Job(source, str(folder), "cat.png", steps, limits=limits)

        async def error_of(width: int) -> str | None:
            report = await context.pool.run(job(width), owner="anna", wall_s=60)
            return report.error.code if report.error else None

        await error_of(80)
        codes = await asyncio.gather(*map(error_of, (80, 90, 120, 100, 101)))
        assert codes == [None, None, "too_many_pixels", None, "too_many_pixels"]

    with_server_context(story, executor=EXECUTOR)


@pytest.mark.parametrize("use", ["segfault", "exit_zero", "write_garbage", "answer_for_the_next"])
def test_a_crash_costs_the_job_at_work_and_none_that_was_sent_ahead(
    use: str, with_server_context: RunStory
) -> None:
    async def story(context: PoolSession) -> None:
        uses = ["copy", "copy", use, "copy", "copy"]
        outcomes = await together(context, *uses)
        assert kinds(outcomes) == [Report, Report, ChildCrashedError, Report, Report]

    with_server_context(story)


def test_job_that_a_doubtful_child_has_begun_already_is_not_blamed(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        outcomes = await together(context, "refuse", "wait", "wait", seconds=0.1)
        assert kinds(outcomes) == [Report] * 3
        assert context.pool.stats().crashed == 0

    with_server_context(story)


def test_what_waits_behind_a_long_job_goes_to_another_child(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        pid = await quick_child(context)
        long = asyncio.create_task(context.run("wait", seconds=6))
        others = [asyncio.create_task(context.run("tell_pid")) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(busy_child(context).asked) == 4
        context.pool.patience_s = 0.05
        reports = await asyncio.gather(*others)
        assert not long.done()
        assert pid not in {report.data["pid"] for report in reports}
        assert (await long).error is None

    with_server_context(story, size=2)


def test_cancelled_job_that_was_sent_ahead_is_not_done(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        pid = await quick_child(context)
        at_work = asyncio.create_task(context.run("wait", seconds=0.3))
        await asyncio.sleep(0)
        job = context.job("hang", body=b"not me")
        ahead = asyncio.create_task(context.pool.run(job, owner="anna", wall_s=60))
        after = asyncio.create_task(context.run("tell_pid"))
        await asyncio.sleep(0.05)
        assert len(busy_child(context).asked) == 3
        ahead.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ahead
        assert staged(job) == b"not me"
        assert (await at_work).error is None
        assert (await after).data["pid"] == pid

    with_server_context(story)


def test_hijacked_child_changes_no_file_that_it_has_answered_for(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        job = context.job("keep_open", body=b"as it was")
        answered = await context.pool.run(job, owner="anna", wall_s=60)
        spoilt = await context.run("spoil", body=b"next")
        assert spoilt.data == {"spoilt": [9, 9]}
        assert left(job) == b"as it was"
        assert answered.outputs[0].bytes == len(left(job))

    with_server_context(story)
