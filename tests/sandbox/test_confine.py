import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchmill.sandbox.in_force import Sandbox
from support import parts
from support.pool_session import PoolSession, RunStory, Story

TESTS = Path(__file__).parents[1]
Outcome = Callable[..., str]
"""Tries what is named in a child, and says what came of it."""
pytestmark = parts.linux_only


@pytest.fixture
def outcome(in_shared_server_context: Callable[[Story], None]) -> Outcome:
    """Let a child try something; return `done` or the name of the error it met."""

    def find(what: str, *, needs: str | None = None, **options: Any) -> str:
        found = {}

        async def story(context: PoolSession) -> None:
            await context.pool.start()
            assert context.pool.sandbox is not None
            _need(needs, context.pool.sandbox)
            report = await context.run("try_out", what=what, **options)
            assert report.error is None
            found.update(report.data)

        in_shared_server_context(story)
        return found["outcome"]

    return find


def _need(part: str | None, sandbox: Sandbox) -> None:
    """Skip where the kernel lacks a part of the sandbox: then nothing is claimed."""
    if part in sandbox.missing():
        parts.missing("the kernel's sandbox", f"{part}: {sandbox.missing()[part]}")


@pytest.mark.parametrize("what", ["inet", "inet6", "unix", "netlink"])
def test_child_opens_no_socket(outcome: Outcome, what: str) -> None:
    assert outcome(what, needs="network") == "PermissionError"


@pytest.mark.parametrize("what", ["fork", "clone3", "exec", "raise_limit", "share_memory"])
def test_child_starts_no_process_raises_no_limit_and_shares_no_memory(
    outcome: Outcome, what: str
) -> None:
    assert outcome(what, needs="processes") != "done"


@pytest.mark.parametrize("what", ["setpgid", "setsid", "outlive_parent"])
def test_child_leaves_neither_its_group_nor_its_session_nor_its_parent(
    outcome: Outcome, what: str
) -> None:
    assert outcome(what, needs="processes") == "PermissionError"


def test_child_names_its_threads(outcome: Outcome) -> None:
    assert outcome("name_thread") == "done"


def test_child_sends_no_signal_to_its_worker(outcome: Outcome) -> None:
    assert outcome("signal", needs="processes", pid=os.getpid()) == "PermissionError"


@pytest.mark.parametrize("what", ["read", "write", "delete"])
def test_child_touches_no_file_outside_its_folder(
    outcome: Outcome, tmp_path: Path, what: str
) -> None:
    outside = tmp_path / "passwords"
    outside.write_bytes(b"secret")
    assert outcome(what, needs="files", path=str(outside)) == "PermissionError"
    assert outside.read_bytes() == b"secret"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", f"/proc/{os.getpid()}/environ", "/proc/1/cmdline"],
    ids=["a file", "our environment", "another process"],
)
def test_child_reads_nothing_of_the_system(outcome: Outcome, path: str) -> None:
    assert outcome("read", needs="files", path=path) == "PermissionError"


@pytest.mark.parametrize("path", ["/", "/etc", "/home"])
def test_child_lists_no_folder_of_the_system(outcome: Outcome, path: str) -> None:
    assert outcome("list", needs="files", path=path) == "PermissionError"


def test_child_cannot_change_its_source_which_may_be_a_link_to_the_original(
    outcome: Outcome,
) -> None:
    assert outcome("overwrite_source", needs="files") == "PermissionError"


def test_child_leaves_no_symbolic_links(outcome: Outcome) -> None:
    assert outcome("symlink", needs="files") == "PermissionError"


def test_change_of_a_mode_outside_has_no_effect(outcome: Outcome, tmp_path: Path) -> None:
    outside = tmp_path / "key"
    outside.touch(mode=0o600)
    outcome("change_mode", needs="processes", path=str(outside))
    assert outside.stat().st_mode & 0o777 == 0o600


def test_temporary_files_of_libraries_lie_in_the_childs_folder(outcome: Outcome) -> None:
    assert outcome("temporary_file") == "done"


def test_data_folder_that_children_may_read_as_modules_is_told(
    with_server_context: RunStory, tmp_path: Path
) -> None:
    async def story(context: PoolSession) -> None:
        await context.run("copy")
        assert context.pool.sandbox is not None
        assert "folder of Python's modules" in context.pool.sandbox.missing()["files"]

    path = os.pathsep.join([str(TESTS / "support"), str(tmp_path)])
    with_server_context(story, environ={"PYTHONPATH": path})


def test_environment_of_a_child_has_no_secrets(with_server_context: RunStory) -> None:
    async def story(context: PoolSession) -> None:
        environment = (await context.run("tell_environment")).data["environment"]
        assert "hunter2" not in environment.values()
        assert environment["VIPS_BLOCK_UNTRUSTED"] == "1"

    with_server_context(
        story, environ={"BATCHMILL_S3_SECRET_ACCESS_KEY": "hunter2", "PASSWORD": "hunter2"}
    )


OLD_KERNEL = """
import asyncio, os, signal, sys
from pathlib import Path
from batchmill.errors.item import AttemptTimeoutError, ChildCrashedError
from support.old_kernel import refuse_calls
from support.pool_session import opened

def lives(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"

async def main(story):
    refuse_calls()
    async with opened(Path(sys.argv[1])) as sandbox:
        await story(sandbox)

"""


def on_old_kernel(scratch: Path, story: str) -> list[str]:
    """Run `async def story(sandbox)` where nothing can be filtered; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"{OLD_KERNEL}{story}\nasyncio.run(main(story))\n", str(scratch)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_old_kernel_runs_jobs_and_says_what_is_missing(tmp_path: Path) -> None:
    story = """
async def story(sandbox):
    report = await sandbox.run("copy", body=b"bytes")
    found = sandbox.pool.sandbox
    print(report.outputs[0].bytes, found.files, found.processes, sep="|")
"""
    missing = "Function not implemented"
    assert on_old_kernel(tmp_path, story) == [f"5|landlock: {missing}|seccomp: {missing}"]


@pytest.mark.parametrize(
    ("use", "number"), [pytest.param("breed", 1, marks=pytest.mark.long), ("breed_far", 4)]
)
def test_old_kernel_kills_all_descendants_of_a_child_at_its_limit(
    tmp_path: Path, use: str, number: int
) -> None:
    story = f"""
async def story(sandbox):
    running = asyncio.create_task(sandbox.run("{use}", wall_s=5))
    pids = []
    while len(pids) < {number} and not running.done():
        await asyncio.sleep(0.02)
        told = sandbox.pool.scratch.path.rglob("offspring")
        pids = [pid for path in told for pid in path.read_text().split()]
    try:
        await running
    except AttemptTimeoutError:
        print(len(pids), any(map(lives, pids)))
    print((await sandbox.run("copy", body=b"next")).outputs[0].bytes)
"""
    assert on_old_kernel(tmp_path, story) == [f"{number} False", "4"]


def test_old_kernel_kills_a_child_that_left_its_group(tmp_path: Path) -> None:
    story = """
async def story(sandbox):
    pid = (await sandbox.run("tell_pid")).data["pid"]
    try:
        await sandbox.run("escape", wall_s=2)
    except AttemptTimeoutError:
        print(lives(pid))
    print((await sandbox.run("copy", body=b"next")).outputs[0].bytes)
"""
    assert on_old_kernel(tmp_path, story) == ["False", "4"]


def test_old_kernel_kills_a_child_that_wants_to_outlive_its_fork_server(tmp_path: Path) -> None:
    story = """
async def story(sandbox):
    found = (await sandbox.run("tell_pid", "tell_parent")).data
    running = asyncio.create_task(sandbox.run("escape"))
    async with asyncio.timeout(60):
        while os.getpgid(found["pid"]) == found["pid"]:
            await asyncio.sleep(0.01)
    os.kill(found["parent"], signal.SIGKILL)
    try:
        await running
    except ChildCrashedError:
        print(lives(found["pid"]))
"""
    assert on_old_kernel(tmp_path, story) == ["False"]


def test_status_names_the_missing_parts_with_their_reasons() -> None:
    partly = Sandbox("on", "on", "landlock: Function not implemented", "on")
    assert not partly.complete
    assert partly.missing() == {"files": "landlock: Function not implemented"}
    assert Sandbox("on", "on", "on", "on").complete
