"""The nursery: loads what jobs need once, then forks a child whenever the pool asks for one.

    pool    ──► {"fork": root of its place} with two descriptors: the child's line and its stderr
    nursery ──► {"ready": pid} · {"forked": pid} · {"ended": [pid, exit code]}

Run as `python -m batchmill.runner.nursery EXECUTOR PARENT CONTROL`. It never sees a client's
bytes, and starts no threads, so that forking is safe. A fork costs a few milliseconds where a
fresh interpreter with its imports costs hundreds.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from typing import Any

from batchmill.runner import child, sandbox
from batchmill.runner.messages import decode, encode
from batchmill.runner.place import Place

REQUEST_BYTES = 8192


def main(executor: str, parent: str, control: str) -> None:
    """Load `executor`, then fork on request until the pool closes its end of `control`."""
    sandbox.die_with_parent(int(parent))
    pool = socket.socket(fileno=int(control))
    module = importlib.import_module(executor)
    module.warm()
    gc.collect()
    gc.freeze()  # or the first collection in each child would copy every page
    ends = _told_of_ends()
    pool.sendall(encode("ready", os.getpid()))
    while True:
        for readable in select.select([ends, pool], [], [])[0]:
            if readable is ends:
                _tell_ends(ends, pool)
            elif not _fork(pool, module):
                return


def _fork(pool: socket.socket, module: Any) -> bool:  # noqa: ANN401 - a module has no type
    request, descriptors, _, _ = socket.recv_fds(pool, REQUEST_BYTES, 2)
    if not request:
        return False
    nursery = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child.live(module.execute, Place.at(decode(request)[1]), nursery, descriptors)
    with contextlib.suppress(OSError):  # it may have done so itself, or be dead already
        os.setpgid(pid, pid)
    for descriptor in descriptors:
        os.close(descriptor)
    pool.sendall(encode("forked", pid))
    return True


def _told_of_ends() -> socket.socket:
    """Return a socket that becomes readable when a child ends."""
    ours, kernels = socket.socketpair()
    kernels.setblocking(False)
    signal.set_wakeup_fd(kernels.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return ours


def _tell_ends(ends: socket.socket, pool: socket.socket) -> None:
    ends.recv(4096)
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            pool.sendall(encode("ended", [ended[0], os.waitstatus_to_exitcode(ended[1])]))


if __name__ == "__main__":
    main(*sys.argv[1:])
