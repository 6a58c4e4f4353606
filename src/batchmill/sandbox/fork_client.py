"""The pool's end of a fork server: asks it for children and hears of their ends."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from batchmill.sandbox.channel import Channel, Gone
from batchmill.sandbox.child_environment import environment
from batchmill.sandbox.child_process import Child
from batchmill.sandbox.folders import ChildFolders
from batchmill.sandbox.handle import ProcessHandle
from batchmill.sandbox.messages import decode, encode

START_TIMEOUT_S = 60.0
_RECEIVE_BYTES = 65536
_STDERR_BYTES = 4096
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ForkServer:
    """A running fork server. When it ends, so do its children."""

    def __init__(self, control: socket.socket) -> None:
        self.process: asyncio.SubprocessTransport | None = None
        self.alive = True
        self.stderr = b""
        self._control = control
        self._heard = b""
        self._channels: dict[int, Channel] = {}
        self._pending: Channel | None = None
        self._one_request = asyncio.Lock()
        self._ended = asyncio.Event()
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, executor: str, environ: Mapping[str, str], folder: Path) -> Self:
        """Start a fork server and wait until it has loaded `executor`.

        Raises:
            Gone: it ended before, and says why.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        fork_server = cls(ours)
        loop = asyncio.get_running_loop()
        command = [sys.executable, "-P", "-m", "batchmill.sandbox.fork_server", executor]
        command += [str(os.getpid()), str(theirs.fileno())]
        try:
            with theirs:
                await loop.subprocess_exec(
                    lambda: _Process(fork_server),
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    cwd=folder,
                    env=environment(environ),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            loop.add_reader(ours, fork_server._readable)
            await fork_server._answered()
        except BaseException:
            fork_server.lost()
            raise
        return fork_server

    async def fork(self, folders: ChildFolders) -> Child:
        """Return a new child that has confined itself to `folders`.

        Raises:
            Gone: the fork server or the child ended first.
        """
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        channel = Channel(on_unreaped=self.kill)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: channel, ours)
        await loop.connect_read_pipe(lambda: channel.stderr_tail, os.fdopen(reading, "rb"))
        try:
            async with self._one_request:
                await self._answered()  # of a request that was cancelled
                self._ask(folders, channel, [theirs.fileno(), writing])
                await self._answered()
        except BaseException:
            channel.abandon()
            raise
        finally:
            theirs.close()
            os.close(writing)
        return await Child.ready(folders, channel, START_TIMEOUT_S)

    async def aclose(self) -> None:
        """Kill the fork server, and so its children."""
        if self.alive:
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """Kill the process; `lost` is called once it has ended."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def lost(self) -> None:
        """Give the process up, be it gone or not; its children are killed."""
        if not self.alive:
            return
        self.alive = False
        self.kill()
        self._ended.set()
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        if not self._answer.done():
            self._answer.set_exception(Gone(self.stderr.decode(errors="replace")))
            self._answer.exception()  # whoever asked may have been cancelled
        for channel in self._channels.values():
            channel.orphaned()

    def _ask(self, folders: ChildFolders, channel: Channel, descriptors: list[int]) -> None:
        if not self.alive:
            raise Gone("the fork server has ended")
        self._pending = channel
        self._answer = asyncio.get_running_loop().create_future()
        request = encode("fork", folders.root)
        socket.send_fds(self._control, [request], descriptors)

    async def _answered(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await asyncio.shield(self._answer)
        except TimeoutError as error:
            self.kill()
            raise Gone("the fork server does not answer") from error

    def _readable(self) -> None:
        data, descriptors = b"", list[int]()
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._control, _RECEIVE_BYTES, 1, _CLOSE_ON_EXEC
            )
        except BlockingIOError:
            return
        except OSError:
            pass
        if not data:
            asyncio.get_running_loop().remove_reader(self._control)
        *messages, self._heard = (self._heard + data).split(b"\n")
        for message in messages:
            self._hear(*decode(message), descriptors)

    def _hear(self, kind: str, body: Any, descriptors: list[int]) -> None:  # noqa: ANN401 - JSON
        match kind:
            case "ended":
                self._channels.pop(body[0]).process_ended(body[1])
            case "forked" if self._pending is not None:
                self._channels[body] = self._pending
                pidfd = descriptors.pop() if descriptors else None
                self._pending.started(ProcessHandle(body, pidfd))
                self._answer.set_result(body)
            case "ready":
                self._answer.set_result(body)


class _Process(asyncio.SubprocessProtocol):
    """Collects the stderr tail of a fork server and notes its end."""

    def __init__(self, fork_server: ForkServer) -> None:
        self._fork_server = fork_server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._fork_server.process = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._fork_server.stderr = (self._fork_server.stderr + data)[-_STDERR_BYTES:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._fork_server.lost()
