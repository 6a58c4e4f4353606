"""What a child gives up before its first job: privileges, network, other folders, other processes.

Each part works on its own and without root; where the system does not offer one, the child
runs without it and `Sandbox` says so to `/readyz` and `batchmill doctor`.
"""

import contextlib
import errno
import os
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from batchmill.sandbox import landlock, seccomp
from batchmill.sandbox.in_force import ON, Sandbox
from batchmill.sandbox.syscalls import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
    syscall,
)

OPEN_FILES = 512
FILE_BYTES = 8 * 2**30
PROCESSES = 4096
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x20080522
_CAP_OPEN = 1 << 1 | 1 << 2  # DAC_OVERRIDE, DAC_READ_SEARCH
_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share", "/usr/local/lib", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/fonts", "/etc/localtime", "/etc/mime.types", "/etc/alternatives"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when process `parent` ends; end at once if it has."""
    if sys.platform == "linux":
        prctl("parent-death signal", PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, where the system has that."""
    if sys.platform == "linux":
        _attempt(lambda: prctl("child subreaper", PR_SET_CHILD_SUBREAPER, 1))


def confine(inbox: str, folder: str) -> Sandbox:
    """Confine this process for good: it may read `inbox` and write only below `folder`.

    To be called before other threads exist. Never raises for what a system does not offer.
    """
    _set_limits()
    if sys.platform != "linux":
        absent = f"not available on {sys.platform}"
        return Sandbox(absent, absent, absent, absent)
    privileges = _attempt(lambda: prctl("no new privileges", PR_SET_NO_NEW_PRIVS, 1))
    files = _attempt(lambda: _restrict_files(inbox, folder))
    network = calls = _attempt(seccomp.install)
    if calls != ON:  # such as on an architecture whose call numbers we do not know
        network = _attempt(_leave_network)
        _lower(resource.RLIMIT_NPROC, PROCESSES)
    if privileges == ON:
        privileges = _attempt(_drop_capabilities)
    return Sandbox(privileges, network, files, calls)


def _attempt(part: Callable[[], object]) -> str:
    try:
        part()
    except OSError as error:
        return str(error.strerror or error)
    return ON


def _set_limits() -> None:
    """Bound what counts per process; memory and CPU are set by the parent for each job."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, FILE_BYTES)


def _lower(kind: int, bound: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, value))


def _drop_capabilities() -> None:
    """Give up every capability for good, but those that open files of other users.

    A root child must still read inputs that belong to somebody else; Landlock says which.
    """
    held = _capabilities()
    if held == 0:
        return
    number = _CAPSET.get(os.uname().machine)
    if number is None:
        raise OSError(f"capabilities: unknown call on {os.uname().machine}")
    kept = held & _CAP_OPEN
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    syscall("capabilities", number, header, struct.pack("=6I", kept, kept, 0, 0, 0, 0))


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _leave_network() -> None:
    new_user, new_network = 0x10000000, 0x40000000
    number = {"x86_64": 272}.get(os.uname().machine, 97)
    syscall("network namespace", number, new_network | (new_user if os.geteuid() else 0))


def _restrict_files(inbox: str, folder: str) -> None:
    readable = _readable()
    landlock.restrict([inbox, *readable], [folder, os.devnull])
    if any(Path(folder).is_relative_to(path) for path in readable):
        raise OSError(errno.EACCES, "the data folder lies inside a folder of Python's modules")


def _readable() -> list[str]:
    """Return where Python, its packages and the system's libraries lie.

    Never a whole prefix: that may be `/usr`, or hold the folder where files are kept.
    """
    paths = sysconfig.get_paths()
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {f"{prefix}/{part}" for prefix in prefixes for part in ("lib", "lib64", "share")}
    found |= {each for each in sys.path if each}
    return [*sorted(found), *_SYSTEM]
