"""A handle on a child: what is killed through it is that process, never one that got its id."""

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable


class ProcessHandle:
    """A process id and, where the kernel has them, a pidfd; `close` gives the pidfd back.

    A process group says nothing about a hijacked child, which may leave it. Groups serve
    where there is no pidfd (macOS, Linux before 5.3), and for what a lost fork server leaves.
    """

    def __init__(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        self._pidfd = pidfd

    def kill(self) -> None:
        """Kill the process; its descendants are the fork server's to kill."""
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            else:
                self.kill_group()
                os.kill(self.pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """Kill what is still in the group that the process was born with."""
        # macOS answers "not permitted" for a group of zombies
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def runs(self) -> bool:
        """Say whether the process has not ended yet; False too where the kernel can't tell."""
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call once the process has ended; at once where the kernel can't tell."""
        if self._pidfd is None:
            call()
            return
        loop, pidfd = asyncio.get_running_loop(), self._pidfd

        def ended() -> None:
            loop.remove_reader(pidfd)
            call()

        loop.add_reader(pidfd, ended)

    def close(self) -> None:
        """Give the pidfd back, once."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
