"""The fork server: loads what jobs need once, then forks a child whenever the pool asks for one.

    pool    ──► {"fork": root of its place} with two descriptors: the child's line and its stderr
    server  ──► {"ready": pid} · {"forked": pid} with its pidfd · {"ended": [pid, exit code]}

Run as `python -m batchmill.sandbox.fork_server EXECUTOR PARENT CONTROL`. It never sees a client's
bytes, and starts no threads, so that forking is safe. A fork costs a few milliseconds where a
fresh interpreter with its imports costs hundreds.

What a child has started, where no filter of calls kept it from that, comes to this process when
its parent ends, and is killed. An end is told once nothing of the kind is left.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchmill.sandbox import child_main, confine
from batchmill.sandbox.folders import ChildFolders
from batchmill.sandbox.messages import decode, encode

REQUEST_BYTES = 8192
IDLE_S = 1.0
"""Asked for nothing for so long, it loads the rest: a short run has ended by then."""
WARM_BY_S = 5.0
"""After so long it loads the rest although it is asked all the time."""


def main(executor: str, parent: str, control: str) -> None:
    """Load `executor`, then fork on request until the pool closes its end of `control`."""
    confine.die_with_parent(int(parent))
    pool = socket.socket(fileno=int(control))
    gc.disable()  # what is loaded stays
    module = importlib.import_module(executor)
    module.warm()
    gc.freeze()  # or the first collection in each child would copy every page
    confine.adopt_orphans()
    ends, family = _notified_of_exits(), _Family()
    pool.sendall(encode("ready", os.getpid()))
    warm_by, is_warm = time.monotonic() + WARM_BY_S, False
    while True:
        readable = select.select([ends, pool], [], [], None if is_warm else IDLE_S)[0]
        for each in readable:
            if each is ends:
                _report_exits(ends, pool, family)
            elif not _fork(pool, module, family):
                return
        if not is_warm and (not readable or time.monotonic() > warm_by):
            _load_the_rest(module)
            is_warm = True


def _load_the_rest(module: Any) -> None:  # noqa: ANN401 - a module
    """Load what fewer jobs need; what can't be loaded fails in the jobs that need it."""
    try:
        module.warm_more()
    except Exception:  # an operation of any kind, by anybody
        traceback.print_exc()
    gc.freeze()


@dataclass(slots=True)
class _Family:
    """The children that were forked here, and those that ended and are not told of yet."""

    forked: set[int] = field(default_factory=set)
    ended: list[tuple[int, int]] = field(default_factory=list)


def _fork(pool: socket.socket, module: Any, family: _Family) -> bool:  # noqa: ANN401 - a module
    request, descriptors, _, _ = socket.recv_fds(pool, REQUEST_BYTES, 2)
    if not request:
        return False
    fork_server = os.getpid()
    pid = os.fork()
    if pid == 0:
        gc.enable()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child_main.run_child(
            module.execute, ChildFolders.at(decode(request)[1]), fork_server, descriptors
        )
    family.forked.add(pid)
    with contextlib.suppress(OSError):  # it may have done so itself, or be dead already
        os.setpgid(pid, pid)
    for descriptor in descriptors:
        os.close(descriptor)
    _tell_fork(pool, pid)
    return True


def _tell_fork(pool: socket.socket, pid: int) -> None:
    """Send the pidfd along: it is made before the child can be reaped, so it is the child's."""
    message = encode("forked", pid)
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        pool.sendall(message)
        return
    socket.send_fds(pool, [message], [pidfd])
    os.close(pidfd)


def _notified_of_exits() -> socket.socket:
    """Return a socket that becomes readable when a child ends."""
    ours, kernels = socket.socketpair()
    kernels.setblocking(False)
    signal.set_wakeup_fd(kernels.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return ours


def _report_exits(ends: socket.socket, pool: socket.socket, family: _Family) -> None:
    ends.recv(4096)
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if ended[0] in family.forked:
                family.forked.remove(ended[0])
                family.ended.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    # They are ours to reap, so their ids are theirs. Each end leads here again.
    strangers = _children() - family.forked
    for pid in strangers:
        os.kill(pid, signal.SIGKILL)
    if strangers:
        return
    for pid, status in family.ended:
        pool.sendall(encode("ended", [pid, status]))
    family.ended.clear()


def _children() -> set[int]:
    """Return the ids of this process's children, dead ones that are not reaped included."""
    own = os.getpid()
    try:
        return set(map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split()))
    except OSError:  # a kernel without that list
        found = (each.name for each in Path("/proc").glob("[0-9]*"))
        return {int(name) for name in found if _parent(name) == own}


def _parent(pid: str) -> int | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:  # ended meanwhile
        return None
    return int(status.rpartition(")")[2].split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
