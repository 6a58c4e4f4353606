"""Bounds that the parent sets on a running child for each job, with prlimit.

Only soft limits are set, so that they can rise again without root; the child's seccomp filter
keeps it from raising them itself. Where there is no prlimit (macOS) the wall clock is what
remains.
"""

import contextlib
import math
import resource
import sys
import time

from batchmill.model.limits import Limits

_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "out of memory", "failed to allocate")


def set_for_job(pid: int, limits: Limits) -> None:
    """Let process `pid` use `cpu_s` more than it has used, and map `memory_bytes` in all."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(ProcessLookupError):
        cpu_s = math.ceil(_cpu_used_s(pid) + limits.cpu_s)
        _set_soft(pid, resource.RLIMIT_CPU, cpu_s)
        _set_soft(pid, resource.RLIMIT_AS, limits.memory_bytes)


def ran_out_of_memory(stderr: str) -> bool:
    """Tell whether the stderr tail of a dead child is about memory."""
    return any(sign in stderr for sign in _OUT_OF_MEMORY)


def _cpu_used_s(pid: int) -> float:
    """Read the CPU clock of another process; the id is made as clock_getcpuclockid(3) does."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError as error:
        raise ProcessLookupError(pid) from error


def _set_soft(pid: int, kind: int, value: int) -> None:
    hard = resource.prlimit(pid, kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, kind, (bound, hard))
