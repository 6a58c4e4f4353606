"""The line to a child: one question and its answer at a time, and the end of what it said."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any, cast

from batchmill.sandbox.handle import ProcessHandle
from batchmill.sandbox.messages import StepProgress, decode

OnProgress = Callable[[StepProgress], None]

MAX_ANSWER_BYTES = 8 * 2**20
"""How much a child may say about one job; more is taken for garbage."""
STDERR_BYTES = 8192
_PROGRESS_INTERVAL_S = 1.0
_STDERR_TAIL_S = 0.5
KILL_WAIT_S = 5.0
"""How long a killed child may take to end: longer only for one that hangs in the kernel."""
CLOSED = "it closed its line"


class Gone(Exception):  # noqa: N818 - an event, translated before anybody else sees it
    """A process ended, or was killed for what it said or for how long it took."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class Channel(asyncio.Protocol):
    """The socket to a child, which carries one question and its answer at a time.

    Plain callbacks: a stream reader costs more than the whole message.
    """

    def __init__(self, on_unreaped: Callable[[], None]) -> None:
        self.handle: ProcessHandle | None = None
        self.returncode: int | None = None
        self.ended = False
        self.given_up = asyncio.Event()
        self.stderr_tail = StderrTail(self)
        self.on_progress: OnProgress | None = None
        self._heard = bytearray()
        self._heard_bytes = 0
        self._progress_at = 0.0
        self._expected = "ready"
        self._killed_for: Gone | None = None
        self._on_unreaped = on_unreaped
        self._on_end: list[Callable[[], object]] = []
        self._patience: asyncio.TimerHandle | None = None
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def alive(self) -> bool:
        """False once the child has ended, was killed, or has closed the line."""
        return self._killed_for is None

    def ask(self, line: bytes, expected: str) -> None:
        """Send `line`; the answer is to be of kind `expected`."""
        if not self.alive:
            raise Gone("it ended before the job")
        self._heard_bytes, self._expected = 0, expected
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(line)

    async def answer(self, wait_s: float) -> Any:  # noqa: ANN401 - the JSON border
        """Return the body of the answer, or raise `Gone` once the child is reaped or given up."""
        late = Gone("it took too long", timed_out=True)
        timer = asyncio.get_running_loop().call_later(wait_s, self.kill, late)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def kill(self, reason: Gone | None = None) -> None:
        """Kill the child, once; the question that is open is answered with `reason`."""
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
        """Note the end; what is still in the pipes is heard before the question is answered."""
        self.returncode = returncode
        self._killed_for = self._killed_for or Gone("it ended")
        if self.stderr_tail.ended:
            self.finish()
        else:
            asyncio.get_running_loop().call_later(_STDERR_TAIL_S, self.finish)

    def finish(self) -> None:
        """Answer the open question with the child's end, once that is known."""
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
        self._resolve(self._killed_for)
        self.given_up.set()

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
        self._killed_for = self._killed_for or Gone(CLOSED)
        asyncio.get_running_loop().call_later(_STDERR_TAIL_S, self.kill)

    def _may_go_on(self) -> bool:
        if self._answer.done():
            self.kill(Gone("it went on after its answer"))
        return self.alive

    def _hear(self, line: bytes) -> None:
        try:
            kind, body = decode(line)
            if kind == "progress":
                self._forward(StepProgress(float(body["fraction"]), str(body["step"])[:200]))
            elif kind == self._expected:
                self._resolve(body)
            else:
                raise ValueError(kind)  # noqa: TRY301 - garbage of whatever kind ends the same
        except (KeyError, RecursionError, TypeError, ValueError):
            self.kill(Gone("it spoke nonsense"))

    def _forward(self, progress: StepProgress) -> None:
        now = asyncio.get_running_loop().time()
        if self.on_progress is not None and now >= self._progress_at:
            self._progress_at = now + _PROGRESS_INTERVAL_S
            self.on_progress(progress)

    def _resolve(self, outcome: object) -> None:
        if self._answer.done():
            return
        if isinstance(outcome, Gone):
            self._answer.set_exception(outcome)
        else:
            self._answer.set_result(outcome)


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
        self._channel.finish()

    def close(self) -> None:
        """Stop listening."""
        self._transport.close()
