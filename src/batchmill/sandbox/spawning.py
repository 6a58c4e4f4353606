"""Starts fork servers: one at the very beginning of a command that surely needs it, others later.

Imports little, so that the first loads its libraries while its parent loads its own.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from batchmill.sandbox.child_environment import environment

EXECUTOR = "batchmill.sandbox.run_job"
"""The module whose `execute` children call, unless a pool says otherwise."""


class Spawned:
    """A process that becomes a fork server, our end of the line to it, and of its stderr."""

    def __init__(self, executor: str, environ: Mapping[str, str]) -> None:
        """Start the process; it says "ready" on `control` once it has loaded `executor`.

        Raises:
            OSError: the system starts no process.
        """
        self.control, theirs = socket.socketpair()
        self.stderr, writing = os.pipe()
        command = [sys.executable, "-P", "-m", "batchmill.sandbox.fork_server", executor]
        command += [str(os.getpid()), str(theirs.fileno())]
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writing,
                cwd="/",
                env=environment(environ),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(writing)
        self.control.setblocking(False)
        os.set_blocking(self.stderr, False)

    def close(self) -> None:
        """Close our ends, upon which the process ends."""
        self.control.close()
        os.close(self.stderr)


_ahead: list[Spawned] = []


def start_ahead() -> None:
    """Start the fork server that the first pool of this process will take."""
    with suppress(OSError):  # the pool will try again, and say so
        _ahead.append(Spawned(EXECUTOR, os.environ))


def spawned(executor: str, environ: Mapping[str, str]) -> Spawned:
    """Return the process that was started ahead, where it fits, or else a new one.

    Raises:
        OSError: the system starts no process.
    """
    fits = executor == EXECUTOR and environ is os.environ
    return _ahead.pop() if fits and _ahead else Spawned(executor, environ)
