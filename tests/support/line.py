"""A line to a server that can be cut, or go dead without a word, as networks do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Line:
    """Carries bytes between clients and a server on loopback, from a port of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._server_at = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._alive = asyncio.Event()
        self._alive.set()
        self._is_cut = False
        self.delay_s = 0.0
        """How long each piece takes, and that a caller has hung up."""
        self.port = 0

    def cut(self) -> None:
        """End every connection; new ones end at once."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def go_dead(self) -> None:
        """Carry nothing more, while every connection stays open."""
        self._alive.clear()

    def mend(self) -> None:
        """Carry on."""
        self._is_cut = False
        self._alive.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one client's bytes until either end closes."""
        if self._is_cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(*self._server_at)
        self._writers |= {writer, back}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        self._writers -= {writer, back}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        delay_s = 0.0
        try:
            while piece := await reader.read(65_536):
                await self._alive.wait()
                delay_s = self.delay_s
                await asyncio.sleep(delay_s)
                writer.write(piece)
                await writer.drain()
            await asyncio.sleep(delay_s)
        finally:
            writer.close()


@asynccontextmanager
async def line_to(host: str, port: int) -> AsyncIterator[Line]:
    """Open a line to a server; it ends with the block."""
    line = Line(host, port)
    server = await asyncio.start_server(line.accept, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        line.mend()
        line.cut()
        server.close()
