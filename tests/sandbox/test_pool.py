import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uvloop

from batchmill.errors.item import (
    AttemptTimeoutError,
    ChildCrashedError,
    ItemError,
    OutOfMemoryError,
)
from batchmill.errors.outage import RunnerUnavailableError
from batchmill.model.limits import Limits
from batchmill.sandbox.fork_server import IDLE_S
from batchmill.sandbox.messages import Job, StepProgress
from batchmill.sandbox.pool import Pool, Recycling
from support.pool_session import PoolSession, RunStory, left, opened, staged

TESTS = Path(__file__).parents[1]


def test_report_names_an_output_that_lies_in_the_jobs_folder(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        job = context.job("copy", body=b"bytes of a cat")
        report = await context.pool.run(job, owner="anna", wall_s=60)
        assert report.outputs[0].name == "copy"
        assert left(job) == b"bytes of a cat"

    with_server_context(story)


def test_one_child_serves_all_jobs_of_an_owner(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        reports = [await context.run("tell_pid") for _ in range(5)]
        assert len({report.data["pid"] for report in reports}) == 1
        assert context.pool.stats().started == 1

    with_server_context(story)


@pytest.mark.parametrize(
    ("patience_s", "backlog_s", "started"), [(60.0, 60.0, 1), (0.0, 60.0, 2), (60.0, 0.0, 2)]
)
def test_a_job_waits_for_its_owners_busy_child_as_long_as_a_start_would_take(
    patience_s: float, backlog_s: float, started: int, with_server_context: RunStory
) -> None:
    async def story(context: PoolSession) -> None:
        context.pool.patience_s, context.pool.backlog_s = patience_s, backlog_s
        await asyncio.gather(*(context.run("wait", seconds=0.05) for _ in range(4)))
        assert context.pool.stats().started == started

    with_server_context(story, size=2)


def test_who_waits_for_a_child_gets_another_where_that_one_dies(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        context.pool.patience_s = 60
        results = await asyncio.gather(
            context.run("abort"), context.run("tell_pid"), return_exceptions=True
        )
        assert isinstance(results[0], ChildCrashedError)
        assert not isinstance(results[1], BaseException)

    with_server_context(story, size=2)


def test_started_pool_has_all_children_before_the_first_job(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        await context.pool.start()
        assert (context.pool.stats().idle, context.pool.stats().started) == (2, 2)
        await asyncio.gather(context.run("wait", seconds=0.2), context.run("wait", seconds=0.2))
        assert context.pool.stats().started == 2

    with_server_context(story, size=2)


def test_child_of_one_owner_never_works_for_another(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        annas = (await context.run("tell_pid", owner="anna")).data["pid"]
        bertas = (await context.run("tell_pid", owner="berta")).data["pid"]
        assert annas != bertas
        assert not _exists(annas)

    with_server_context(story)


def test_owners_who_take_turns_find_their_own_children_again_where_there_is_room(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        pids: dict[str, set[int]] = {}
        for owner in ["anna", "berta", "carl"] * 3:
            pid = (await context.run("tell_pid", owner=owner)).data["pid"]
            pids.setdefault(owner, set()).add(pid)
        assert [len(own) for own in pids.values()] == [1, 1, 1]
        assert len(set.union(*pids.values())) == context.pool.stats().started == 3
        dora = (await context.run("tell_pid", owner="dora")).data["pid"]
        assert len(context.pids()) == 3
        assert dora in context.pids()
        assert not _exists(next(iter(pids["anna"]))), "the eldest"

    with_server_context(story, spare=lambda: 2)


def test_idle_children_go_when_there_is_no_room_for_them_any_more(
    with_server_context: RunStory,
) -> None:
    room = [2]

    async def story(context: PoolSession) -> None:
        for owner in ("anna", "berta", "carl"):
            await context.run("tell_pid", owner=owner)
        room[0] = 0
        await context.run("tell_pid", owner="dora")
        assert len(context.pids()) == 1

    with_server_context(story, spare=lambda: room[0])


def test_idle_children_are_ended_when_memory_gets_short(with_server_context: RunStory) -> None:
    room = [2]

    async def story(context: PoolSession) -> None:
        for owner in ("anna", "berta", "carl"):
            await context.run("tell_pid", owner=owner)
        room[0] = 0
        await context.pool.trim()
        assert len(context.pids()) == 1
        room[0] = -1
        await context.pool.trim()
        assert context.pids() == []
        await context.run("tell_pid", owner="anna")

    with_server_context(story, spare=lambda: room[0])


def test_child_is_replaced_after_its_number_of_jobs(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        pids = [(await context.run("tell_pid")).data["pid"] for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]

    with_server_context(story, recycling=Recycling(jobs=2))


def test_child_that_has_grown_is_replaced(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        pids = [(await context.run("tell_pid")).data["pid"] for _ in range(2)]
        assert pids[0] != pids[1]

    with_server_context(story, recycling=Recycling(rss_bytes=1))


def test_child_is_replaced_after_an_error_of_a_decoder(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        before = (await context.run("tell_pid")).data["pid"]
        report = await context.run("refuse")
        assert report.error is not None
        assert report.error.code == "unreadable_file"
        assert (await context.run("tell_pid")).data["pid"] != before

    with_server_context(story)


@pytest.mark.parametrize(
    ("use", "error", "how"),
    [
        ("segfault", ChildCrashedError, "SIGSEGV"),
        ("abort", ChildCrashedError, "SIGABRT"),
        ("exit_zero", ChildCrashedError, "exit status 0"),
        ("leave", ChildCrashedError, "exit status 1"),
        ("close_line", ChildCrashedError, "SIGKILL"),
        ("write_garbage", ChildCrashedError, "nonsense"),
        ("write_wrong_report", ChildCrashedError, "no report"),
        ("write_deep_nesting", ChildCrashedError, "nonsense"),
        ("write_huge_line", ChildCrashedError, "too much"),
        ("hog_in_native_code", OutOfMemoryError, "more than 2 GB of memory"),
    ],
)
def test_misbehaviour_costs_exactly_its_own_job(
    with_server_context: RunStory, use: str, error: type[ItemError], how: str
) -> None:
    async def story(context: PoolSession) -> None:
        with pytest.raises(error, match=how) as caught:
            await context.run(use)
        assert caught.value.step == use
        assert caught.value.budget == "crashes"
        report = await context.run("copy", body=b"next")
        assert report.outputs[0].bytes == 4

    with_server_context(story)


def test_hog_of_memory_is_reported_and_the_child_replaced(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        report = await context.run("hog", limits=Limits(memory_bytes=512 * 2**20))
        assert report.error is not None
        assert (report.error.code, report.error.budget) == ("out_of_memory", "crashes")
        assert (await context.run("copy")).outputs

    with_server_context(story)


@pytest.mark.parametrize("use", ["spin", "hang", "escape", "stop_itself"])
def test_job_over_its_wall_time_is_killed(with_server_context: RunStory, use: str) -> None:
    async def story(context: PoolSession) -> None:
        pid = (await context.run("tell_pid")).data["pid"]
        with pytest.raises(AttemptTimeoutError, match=r"longer than 2 s") as caught:
            await context.run(use, wall_s=2)
        assert caught.value.step == use
        assert not _exists(pid)
        assert (await context.run("copy")).outputs

    with_server_context(story)


@pytest.mark.long
def test_job_ends_at_its_limit_although_the_fork_server_has_stopped(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        found = (await context.run("tell_pid", "tell_parent")).data
        os.kill(found["parent"], signal.SIGSTOP)
        with pytest.raises(AttemptTimeoutError):
            await context.run("hang", wall_s=0.2)
        assert (await context.run("tell_parent")).data["parent"] != found["parent"]
        assert not _exists(found["parent"])

    with_server_context(story)


def test_job_over_its_cpu_time_is_killed_by_the_kernel(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        with pytest.raises(AttemptTimeoutError, match="longer than 1 s"):
            await context.run("spin", limits=Limits(cpu_s=1))
        assert (await context.run("copy")).outputs

    with_server_context(story)


def test_cpu_time_of_earlier_jobs_does_not_count_against_a_later_one(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        pids = set()
        for _ in range(3):
            report = await context.run("tell_pid", "burn", seconds=0.6, limits=Limits(cpu_s=1))
            pids.add(report.data["pid"])
        assert len(pids) == 1

    with_server_context(story)


def test_second_report_of_a_job_is_not_taken_for_the_next_jobs(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        for _ in range(3):
            await context.run("write_after_report")
            try:
                report = await context.run("copy", body=b"mine")
            except ChildCrashedError:  # it had that answer before it; a new child has its own
                report = await context.run("copy", body=b"mine")
            assert (report.data, report.warnings) == ({}, ())
            assert report.outputs[0].bytes == len(b"mine")

    with_server_context(story)


def test_child_that_goes_on_after_its_answer_is_replaced(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        await context.run("write_more_after_report")
        report = await context.run("copy", body=b"mine")
        assert report.outputs[0].bytes == 4

    with_server_context(story)


def test_what_libraries_print_does_not_reach_the_line(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        report = await context.run("print_to_stdout", "flood_stderr", body=b"quiet")
        assert report.outputs[0].bytes == 5

    with_server_context(story)


def test_report_that_is_no_json_fails_its_own_job(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        report = await context.run("report_nan")
        assert report.error is not None
        assert report.error.code == "operation_failed"

    with_server_context(story)


def test_public_text_of_an_unforeseen_error_has_no_traceback_and_no_path(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        report = await context.run("fail")
        assert report.error is not None
        assert report.error.message == "fail could not process cat.jpg"
        assert "RuntimeError: secret of" in (report.error.detail or "")

    with_server_context(story)


def test_progress_is_forwarded_at_most_once_a_second(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        heard: list[StepProgress] = []
        clock = asyncio.get_running_loop().time
        begun_at = clock()
        await context.run("count", seconds=2.2, on_progress=heard.append)
        assert 1 <= len(heard) <= 1 + clock() - begun_at
        assert {progress.step for progress in heard} == {"count"}
        fractions = [progress.fraction for progress in heard]
        assert sorted(fractions) == fractions

    with_server_context(story)


def test_cancelled_job_leaves_no_process(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        pid = (await context.run("tell_pid")).data["pid"]
        job = context.job("hang")
        running = asyncio.create_task(context.pool.run(job, owner="anna", wall_s=60))
        await context.busy()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not _exists(pid)
        assert staged(job) == b"hello"
        async with asyncio.timeout(60):
            while list(context.pool.scratch.path.glob("child-*")):
                await asyncio.sleep(0.01)
        assert (await context.run("copy")).outputs

    with_server_context(story)


def test_operation_that_removes_its_own_folder_does_no_harm(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        await context.run("remove_own_folder")
        assert (await context.run("copy")).outputs

    with_server_context(story)


def test_nursery_that_is_killed_is_replaced(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        first = (await context.run("tell_parent")).data["parent"]
        os.kill(first, signal.SIGKILL)
        await context.bereft()
        second = (await context.run("tell_parent")).data["parent"]
        assert second != first
        assert len(context.pids()) == 1

    with_server_context(story)


def test_runs_at_once_bury_each_dead_child_once(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        await context.pool.start()
        fork_server = (await context.run("tell_parent")).data["parent"]
        os.kill(fork_server, signal.SIGKILL)
        await context.bereft()
        await asyncio.gather(context.run("copy"), context.run("copy"))
        assert len(context.pids()) <= 2

    with_server_context(story, size=2)


def test_closing_the_pool_ends_a_run_whose_child_is_just_being_started(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        running = asyncio.create_task(context.run("hang", wall_s=5))
        async with asyncio.timeout(60):
            while not list(context.pool.scratch.path.glob("child-*")):
                await asyncio.sleep(0)
        await context.pool.aclose()
        with pytest.raises(RunnerUnavailableError):
            await running

    with_server_context(story)


def test_closing_the_pool_ends_runs_that_are_under_way(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        hanging = [context.job("hang") for _ in range(3)]
        running = [
            asyncio.create_task(context.pool.run(job, owner="anna", wall_s=60)) for job in hanging
        ]
        await context.busy(2)
        await context.pool.aclose()
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {
            ChildCrashedError,  # was at work
            RunnerUnavailableError,  # was waiting for a slot
        }
        assert context.pids() == []

    with_server_context(story, size=2)


def test_number_of_children_never_exceeds_the_size(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        owners = ["anna", "berta", "carl"] * 5
        seen = []

        async def one(owner: str) -> None:
            await context.run("wait", owner=owner, seconds=0.02)
            seen.append(len(context.pids()))

        async with asyncio.TaskGroup() as group:
            group.create_task(context.pool.start())
            for owner in owners:
                group.create_task(one(owner))
        assert max(seen) <= 2

    with_server_context(story, size=2)


def test_pool_works_on_uvloop_too(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path / "scratch") as context:
            assert (await context.run("copy", body=b"bytes")).outputs[0].bytes == 5
            with pytest.raises(ChildCrashedError):
                await context.run("segfault")
            with pytest.raises(AttemptTimeoutError):
                await context.run("hang", wall_s=0.2)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


def test_children_die_with_their_worker_even_if_it_is_killed(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from support.pool_session import opened

async def main():
    async with opened(Path(sys.argv[1])) as sandbox:
        report = await sandbox.run("tell_parent")
        print(report.data["parent"], *sandbox.pids(), flush=True)
        await sandbox.run("hang")

asyncio.run(main())
"""
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", script, str(tmp_path / "scratch")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as worker:
        assert worker.stdout is not None
        pids = [int(word) for word in worker.stdout.readline().split()]
        worker.kill()
    assert len(pids) == 2
    assert _all_gone(pids, within_s=60)


async def test_what_can_not_be_loaded_later_costs_no_child(tmp_path: Path) -> None:
    async with opened(tmp_path, executor="broken_later") as context:
        pid = (await context.run("tell_pid")).data["pid"]
        await asyncio.sleep(2 * IDLE_S)
        assert (await context.run("tell_pid")).data["pid"] == pid


async def test_pool_without_its_executor_says_that_the_runner_is_away(tmp_path: Path) -> None:
    pool = Pool(1, tmp_path / "scratch", executor="batchmill.runner.nowhere")
    job = Job(source="/nowhere/source", folder="/nowhere/work", name="cat.jpg", steps=())
    with pytest.raises(RunnerUnavailableError):
        await pool.run(job, owner="anna", wall_s=1)
    await pool.aclose()


def test_idle_child_that_was_killed_costs_no_job(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        pid = (await context.run("tell_pid")).data["pid"]
        os.kill(pid, signal.SIGKILL)
        await context.bereft()
        assert (await context.run("tell_pid")).data["pid"] != pid

    with_server_context(story)


def test_neighbours_of_misbehaving_jobs_get_their_own_results(
    with_server_context: RunStory,
) -> None:
    bad = ["segfault", "exit_zero", "write_garbage", "abort", "refuse", "close_line"]
    chance = random.Random(7)  # noqa: S311 - a seed makes failures repeat
    order = chance.choices(["copy", *bad], weights=[94, 1, 1, 1, 1, 1, 1], k=300)

    async def story(context: PoolSession) -> None:
        async def one(number: int, use: str) -> None:
            body = f"job {number}".encode() * (number % 7 + 1)
            job = context.job(use, body=body)
            try:
                await context.pool.run(job, owner=f"owner {number // 100}", wall_s=60)
            except ItemError:
                assert use in bad
                return
            if use == "copy":
                assert left(job) == body

        async with asyncio.TaskGroup() as group:
            for number, use in enumerate(order):
                group.create_task(one(number, use))

    with_server_context(story, size=3)


def test_children_killed_at_random_cost_only_the_jobs_that_ran(
    with_server_context: RunStory,
) -> None:
    async def story(context: PoolSession) -> None:
        done, killed = 0, 0

        async def one(number: int) -> None:
            nonlocal done, killed
            body = f"job {number}".encode()
            job = context.job("wait", body=body, seconds=0.005)
            try:
                await context.pool.run(job, owner="anna", wall_s=60)
            except ChildCrashedError:
                killed += 1
                return
            assert left(job) == body
            done += 1

        async def kill(chance: random.Random) -> None:
            for _ in range(8):
                await asyncio.sleep(0.05)
                children = context.pids()
                if children:
                    os.kill(chance.choice(children), signal.SIGKILL)

        async with asyncio.TaskGroup() as group:
            group.create_task(kill(random.Random(3)))  # noqa: S311 - a seed, as above
            for number in range(200):
                group.create_task(one(number))
        assert done + killed == 200
        assert killed <= 8

    with_server_context(story, size=2)


def _all_gone(pids: list[int], *, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while any(map(_exists, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(_exists, pids))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
