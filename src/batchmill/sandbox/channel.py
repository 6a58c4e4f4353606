"""The line to a child: whole messages, in order, and the end of what it said."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from batchmill.sandbox.handle import ProcessHandle
from batchmill.sandbox.messages import decode

MAX_ANSWER_BYTES = 8 * 2**20
"""How much a child may say about one job; more is taken for garbage."""
STDERR_BYTES = 8192
_STDERR_TAIL_S = 0.5
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
KILL_WAIT_S = 5.0
"""How long a killed child may take to end: longer only for one that hangs in the kernel."""
CLOSED = "it closed its line"


class Gone(Exception):  # noqa: N818 - an event, translated before anybody else sees it
    """A process ended, or was killed for what it said or for how long it took."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class Hearing(Protocol):
    """Hears what a child says, one whole message at a time."""

    @property
    def expects(self) -> bool:
        """False when the child has answered all that it was asked."""

    def hear(self, kind: str, body: Any) -> bool:  # noqa: ANN401 - the JSON border
        """Take a message; True when it was an answer.

        Raises:
            Gone, KeyError, TypeError, ValueError: it is none that may come now.
        """

    def gone(self, reason: Gone) -> None:
        """Learn that the child is reaped or given up: nothing more will come."""


class Channel(asyncio.Protocol):
    """The socket to a child.

    Plain callbacks: a stream reader costs more than the whole message.
    """

    def __init__(self, line: socket.socket, on_unreaped: Callable[[], None]) -> None:
        self._line = line
        self.handle: ProcessHandle | None = None
        self.returncode: int | None = None
        self.ended = False
        self.given_up = asyncio.Event()
        self.stderr_tail = StderrTail(self)
        self.listener: Hearing | None = None
        self._heard = bytearray()
        self._heard_bytes = 0
        self._line_ended = self._is_deaf = False
        self._killed_for: Gone | None = None
        self._on_unreaped = on_unreaped
        self._on_end: list[Callable[[], object]] = []
        self._patience: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        """False once the child has ended, was killed, or has closed the line."""
        return self._killed_for is None and self.returncode is None and not self._is_deaf

    def say(self, line: bytes) -> None:
        """Send a line.

        Raises:
            Gone: the child has ended.
        """
        if not self.alive:
            raise self._killed_for or Gone("it ended")
        # Not by the transport: one that can't write gives up what is still to be read, such as an
        # answer of a child that has died over its next job.
        with suppress(BlockingIOError):
            if not self._transport.get_write_buffer_size():
                try:
                    line = line[self._line.send(line, _NO_SIGNAL) :]
                except (BrokenPipeError, ConnectionResetError) as error:
                    self._is_deaf = True  # it may live on; what it has said is heard before
                    asyncio.get_running_loop().call_later(_STDERR_TAIL_S, self.kill, Gone(CLOSED))
                    raise Gone(CLOSED) from error
        if line:
            self._transport.write(line)

    def kill(self, reason: Gone | None = None) -> None:
        """Kill the child, once, for `reason`."""
        self._killed_for = self._killed_for or reason or Gone("it was stopped")
        if self._patience is None and not self.ended:
            self._patience = asyncio.get_running_loop().call_later(KILL_WAIT_S, self._give_up)
        if self.handle is not None and self.returncode is None:
            self.handle.kill()

    def started(self, handle: ProcessHandle) -> None:
        """Note the process; a child that is not waited for any more is killed."""
        self.handle = handle
        if not self.alive:
            handle.kill()

    def abandon(self) -> None:
        """Give the child up, started or not."""
        self.kill()
        self._transport.close()

    def orphaned(self) -> None:
        """Kill a child whose fork server is gone, and learn of its end from the kernel."""
        if self.handle is None:
            return
        self.kill(Gone("it ended"))
        self.handle.kill_group()
        self.handle.when_ended(lambda: self.process_ended(-signal.SIGKILL))

    def when_ended(self, call: Callable[[], object]) -> None:
        """Call once the child has ended; at once if it has."""
        if self.ended:
            call()
        else:
            self._on_end.append(call)

    def process_ended(self, returncode: int) -> None:
        """Note the end; what is still in the pipes is heard before the listener learns of it."""
        self.returncode = returncode
        self.pipe_ended()
        if not self.ended:
            asyncio.get_running_loop().call_later(_STDERR_TAIL_S, self._finish)

    def pipe_ended(self) -> None:
        """Finish if the process has ended, and all that it had said was heard."""
        if self._line_ended and self.stderr_tail.ended:
            self._finish()

    def _finish(self) -> None:
        """Tell the listener of the child's end, once that is known."""
        if self.returncode is None or self.ended:
            return
        self.ended = True
        if self._patience is not None:
            self._patience.cancel()
        if self.handle is not None:
            self.handle.close()
        self._close()
        for call in self._on_end:
            call()

    def _give_up(self) -> None:
        """Wait no more for the end of a killed child: its file has an end of its own."""
        if self.handle is not None and not self.handle.runs():
            self._on_unreaped()
        self._close()

    def _close(self) -> None:
        self._transport.close()
        self.stderr_tail.close()
        if not self.given_up.is_set():
            self.given_up.set()
            if self.listener is not None:
                self.listener.gone(self._killed_for or Gone("it ended"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Hear whole lines; whatever follows an answer, or exceeds one, ends the child."""
        self._heard_bytes += len(data)
        if self._heard_bytes > MAX_ANSWER_BYTES:
            self.kill(Gone("it said too much"))
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._may_go_on():
                self._hear(bytes(self._heard + line))
                self._heard.clear()
        if rest and self._may_go_on():
            self._heard += rest

    def connection_lost(self, exc: Exception | None) -> None:
        """Give a child without its line a moment to end by itself, to learn how."""
        self._line_ended = True
        self._killed_for = self._killed_for or Gone(CLOSED)
        self.pipe_ended()
        if not self.ended:
            asyncio.get_running_loop().call_later(_STDERR_TAIL_S, self.kill)

    def _may_go_on(self) -> bool:
        if self._killed_for is None and (self.listener is None or not self.listener.expects):
            self.kill(Gone("it went on after its answer"))
        return self._killed_for is None

    def _hear(self, line: bytes) -> None:
        try:
            if self.listener is not None and self.listener.hear(*decode(line)):
                self._heard_bytes = 0
        except Gone as end:
            self.kill(end)
        except (KeyError, RecursionError, TypeError, ValueError):
            self.kill(Gone("it spoke nonsense"))


class StderrTail(asyncio.Protocol):
    """The end of what a child has written to its stderr."""

    def __init__(self, line: Channel) -> None:
        self.ended = False
        self._tail = b""
        self._channel = line

    @property
    def text(self) -> str:
        """What was said last, at most `STDERR_BYTES`."""
        return self._tail.decode(errors="replace")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep the end of it."""
        self._tail = (self._tail + data)[-STDERR_BYTES:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more will be said."""
        self.ended = True
        self._channel.pipe_ended()

    def close(self) -> None:
        """Stop listening."""
        self._transport.close()
