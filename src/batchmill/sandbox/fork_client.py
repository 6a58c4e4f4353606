"""The pool's end of a fork server: asks it for children and hears of their ends."""

import asyncio
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any, Self

from batchmill.sandbox.channel import Channel, Gone
from batchmill.sandbox.child_process import Child
from batchmill.sandbox.folders import ChildFolders
from batchmill.sandbox.handle import ProcessHandle
from batchmill.sandbox.messages import decode, encode
from batchmill.sandbox.spawning import Spawned, spawned

START_TIMEOUT_S = 60.0
_RECEIVE_BYTES = 65536
_STDERR_BYTES = 4096
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ForkServer:
    """A running fork server. When it ends, so do its children."""

    def __init__(self, spawned: Spawned) -> None:
        self.alive = True
        self._spawned = spawned
        self._control = spawned.control
        self._said = b""
        self._heard = b""
        self._channels: dict[int, Channel] = {}
        self._pending: Channel | None = None
        self._one_request = asyncio.Lock()
        self._ended = asyncio.Event()
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, executor: str, environ: Mapping[str, str]) -> Self:
        """Start a fork server and wait until it has loaded `executor`.

        Raises:
            Gone: it ended before, and says why.
            OSError: the system starts no process.
        """
        fork_server = cls(spawned(executor, environ))
        loop = asyncio.get_running_loop()
        loop.add_reader(fork_server._control, fork_server._readable)
        loop.add_reader(fork_server._spawned.stderr, fork_server._listen)
        try:
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
        channel = Channel(ours, on_unreaped=self.kill)
        child = Child(folders, channel)
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
        await child.ready(START_TIMEOUT_S)
        return child

    async def aclose(self) -> None:
        """Kill the fork server, and so its children."""
        if self.alive:
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """Kill the process; `lost` is called once it has closed its line."""
        self._spawned.process.kill()

    def lost(self) -> None:
        """Give the process up, be it gone or not; its children are killed."""
        if not self.alive:
            return
        self.alive = False
        self.kill()
        loop = asyncio.get_running_loop()
        self._listen()  # what it said, it said before it closed its line
        if self._spawned.process.poll() is None:  # it is about to end, or hangs in the kernel
            threading.Thread(target=self._spawned.process.wait, daemon=True).start()
        loop.remove_reader(self._control)
        loop.remove_reader(self._spawned.stderr)
        self._spawned.close()
        self._ended.set()
        if not self._answer.done():
            self._answer.set_exception(Gone(self._said.decode(errors="replace")))
            self._answer.exception()  # whoever asked may have been cancelled
        for channel in self._channels.values():
            channel.orphaned()

    def _listen(self) -> None:
        """Read what the process has written to its stderr, and keep the end of it."""
        stderr = self._spawned.stderr
        try:
            new = os.read(stderr, _RECEIVE_BYTES)
        except OSError:  # nothing yet
            return
        if not new:
            asyncio.get_running_loop().remove_reader(stderr)
        self._said = (self._said + new)[-_STDERR_BYTES:]

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
            self.lost()
            return
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
