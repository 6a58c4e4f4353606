import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.runner.sandbox import Sandbox

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


@pytest.fixture
def outcome(in_shared_mill):
    """Let a child try something; return `done` or the name of the error it met."""

    def find(what, *, needs=None, **options):
        found = {}

        async def story(mill):
            await mill.pool.start()
            _need(needs, mill.pool.sandbox)
            report = await mill.run("try_out", what=what, **options)
            assert report.error is None
            found.update(report.data)

        in_shared_mill(story)
        return found["outcome"]

    return find


def _need(part, sandbox):
    """Skip where the kernel lacks a part of the sandbox: then nothing is claimed."""
    if part in sandbox.missing():
        reason = f"{part}: {sandbox.missing()[part]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.parametrize("what", ["inet", "inet6", "unix", "netlink"])
def test_child_opens_no_socket(outcome, what):
    assert outcome(what, needs="network") == "PermissionError"


@pytest.mark.parametrize("what", ["fork", "clone3", "exec", "raise_limit", "share_memory"])
def test_child_starts_no_process_raises_no_limit_and_shares_no_memory(outcome, what):
    assert outcome(what, needs="processes") != "done"


def test_child_sends_no_signal_to_its_worker(outcome):
    assert outcome("signal", needs="processes", pid=os.getpid()) == "PermissionError"


@pytest.mark.parametrize("what", ["read", "write", "delete"])
def test_child_touches_no_file_outside_its_folder(outcome, tmp_path, what):
    outside = tmp_path / "passwords"
    outside.write_bytes(b"secret")
    assert outcome(what, needs="files", path=str(outside)) == "PermissionError"
    assert outside.read_bytes() == b"secret"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", f"/proc/{os.getpid()}/environ", "/proc/1/cmdline"],
    ids=["a file", "our environment", "another process"],
)
def test_child_reads_nothing_of_the_system(outcome, path):
    assert outcome("read", needs="files", path=path) == "PermissionError"


@pytest.mark.parametrize("path", ["/", "/etc", "/home"])
def test_child_lists_no_folder_of_the_system(outcome, path):
    assert outcome("list", needs="files", path=path) == "PermissionError"


def test_child_cannot_change_its_source_which_may_be_a_link_to_the_original(outcome):
    assert outcome("overwrite_source", needs="files") == "PermissionError"


def test_child_leaves_no_symbolic_links(outcome):
    assert outcome("symlink", needs="files") == "PermissionError"


def test_change_of_a_mode_outside_has_no_effect(outcome, tmp_path):
    outside = tmp_path / "key"
    outside.touch(mode=0o600)
    outcome("change_mode", needs="processes", path=str(outside))
    assert outside.stat().st_mode & 0o777 == 0o600


def test_temporary_files_of_libraries_lie_in_the_childs_folder(outcome):
    assert outcome("temporary_file") == "done"


def test_data_folder_that_children_may_read_as_modules_is_told(with_mill, tmp_path):
    async def story(mill):
        await mill.run("copy")
        assert "folder of Python's modules" in mill.pool.sandbox.missing()["files"]

    path = os.pathsep.join([str(TESTS / "support"), str(tmp_path)])
    with_mill(story, environ={"PYTHONPATH": path})


def test_environment_of_a_child_has_no_secrets(with_mill):
    async def story(mill):
        environment = (await mill.run("tell_environment")).data["environment"]
        assert "hunter2" not in environment.values()
        assert environment["VIPS_BLOCK_UNTRUSTED"] == "1"

    with_mill(story, environ={"BATCHMILL_S3_SECRET_ACCESS_KEY": "hunter2", "PASSWORD": "hunter2"})


def test_old_kernel_runs_jobs_kills_offspring_and_says_what_is_missing(tmp_path):
    script = """
import asyncio, os, sys
from pathlib import Path
from batchmill.errors.item import AttemptTimeoutError
from support.old_kernel import refuse_calls
from support.mill import opened

async def main():
    refuse_calls()
    async with opened(Path(sys.argv[1])) as mill:
        report = await mill.run("copy", body=b"bytes")
        found = mill.pool.sandbox
        print(report.outputs[0].bytes, found.files, found.processes, sep="|")
        job = mill.job("breed")
        try:
            await mill.pool.run(job, owner="anna", wall_s=1)
        except AttemptTimeoutError:
            pid = int(Path(job.folder, "offspring").read_text())
            print(os.path.exists(f"/proc/{pid}/fd/0"))

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "scratch")],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    missing = "Function not implemented"
    status, offspring_lives = done.stdout.splitlines()
    assert status == f"5|landlock: {missing}|seccomp: {missing}"
    assert offspring_lives == "False"


def test_status_names_the_missing_parts_with_their_reasons():
    partly = Sandbox("on", "on", "landlock: Function not implemented", "on")
    assert not partly.complete
    assert partly.missing() == {"files": "landlock: Function not implemented"}
    assert Sandbox("on", "on", "on", "on").complete
