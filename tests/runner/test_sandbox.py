import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.runner.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


def _outcome(with_mill, what, **options):
    found = {}

    async def story(mill):
        report = await mill.run("try_out", what=what, **options)
        assert report.error is None
        found.update(report.data, sandbox=mill.pool.sandbox)

    with_mill(story)
    return found


@pytest.fixture
def enforced(with_mill):
    """Skip where this kernel lacks a part of the sandbox: then nothing is claimed."""

    def need(part):
        reason = getattr(_outcome(with_mill, "temporary_file")["sandbox"], part)
        if reason != "on":
            pytest.skip(f"{part}: {reason}")

    return need


@pytest.mark.parametrize("what", ["inet", "inet6", "unix", "netlink"])
def test_child_opens_no_socket(with_mill, enforced, what):
    enforced("network")
    assert _outcome(with_mill, what)["outcome"] == "PermissionError"


@pytest.mark.parametrize("what", ["fork", "clone3", "exec", "raise_limit"])
def test_child_starts_no_process_and_raises_no_limit(with_mill, enforced, what):
    enforced("processes")
    assert _outcome(with_mill, what)["outcome"] != "done"


def test_child_sends_no_signal_to_its_worker(with_mill, enforced):
    enforced("processes")
    assert _outcome(with_mill, "signal", pid=os.getpid())["outcome"] == "PermissionError"


@pytest.mark.parametrize("what", ["read", "write", "delete"])
def test_child_touches_no_file_outside_its_folder(with_mill, enforced, tmp_path, what):
    enforced("files")
    outside = tmp_path / "passwords"
    outside.write_bytes(b"secret")
    assert _outcome(with_mill, what, path=str(outside))["outcome"] == "PermissionError"
    assert outside.read_bytes() == b"secret"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", f"/proc/{os.getpid()}/environ", "/proc/1/cmdline"],
    ids=["a file", "our environment", "another process"],
)
def test_child_reads_nothing_of_the_system(with_mill, enforced, path):
    enforced("files")
    assert _outcome(with_mill, "read", path=path)["outcome"] == "PermissionError"


@pytest.mark.parametrize("path", ["/", "/etc", "/home", str(Path(__file__).parents[4])])
def test_child_lists_no_folder_of_the_system(with_mill, enforced, path):
    enforced("files")
    assert _outcome(with_mill, "list", path=path)["outcome"] == "PermissionError"


def test_child_cannot_change_its_source_which_may_be_a_link_to_the_original(with_mill, enforced):
    enforced("files")
    assert _outcome(with_mill, "overwrite_source")["outcome"] == "PermissionError"


def test_child_leaves_no_symbolic_links(with_mill, enforced):
    enforced("files")
    assert _outcome(with_mill, "symlink")["outcome"] == "PermissionError"


def test_change_of_a_mode_outside_has_no_effect(with_mill, enforced, tmp_path):
    enforced("processes")
    outside = tmp_path / "key"
    outside.touch(mode=0o600)
    _outcome(with_mill, "change_mode", path=str(outside))
    assert outside.stat().st_mode & 0o777 == 0o600


def test_temporary_files_of_libraries_lie_in_the_childs_folder(with_mill):
    assert _outcome(with_mill, "temporary_file")["outcome"] == "done"


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
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
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
