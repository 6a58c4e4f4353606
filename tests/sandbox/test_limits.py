"""A child's bounds are those of its job, and its end by memory is told by what it has said."""

import resource
import subprocess
import sys

import pytest

from batchmill.model.limits import Limits
from batchmill.sandbox.rlimits import ran_out_of_memory, set_for_job
from support.parts import linux_only


@linux_only
def test_bounds_rise_and_fall_with_each_job() -> None:
    # A kernel that counts by ticks says 0 of a process that has used less than one.
    program = "import time\nwhile time.process_time() < 0.1: pass\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = []
        for memory_bytes, cpu_s in ((2**33, 50), (2**31, 40), (2**32, 60)):
            set_for_job(child.pid, Limits(memory_bytes=memory_bytes, cpu_s=cpu_s))
            kinds = resource.RLIMIT_AS, resource.RLIMIT_CPU
            memory, cpu = (resource.prlimit(child.pid, kind)[0] for kind in kinds)
            found.append((memory, cpu_s < cpu < cpu_s + 10))
        child.communicate(b"\n")
    assert found == [(2**33, True), (2**31, True), (2**32, True)]


@linux_only
def test_a_child_that_is_gone_needs_no_bounds() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        set_for_job(child.pid, Limits())
        assert child.returncode == 0


@pytest.mark.parametrize(
    "said",
    [
        "MemoryError",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "VipsJpeg: out of memory",
        "GLib: failed to allocate 1048576 bytes",
    ],
)
def test_every_library_s_way_to_say_that_memory_is_used_up_is_known(said: str) -> None:
    assert ran_out_of_memory(f"Traceback\n{said}\n")


def test_another_end_is_not_taken_for_one_by_memory() -> None:
    assert not ran_out_of_memory("Segmentation fault in memory card reader")
