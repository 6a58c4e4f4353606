"""One connection of the HTTP server, with limits of its own on how requests are put."""

from asyncio import TimerHandle, Transport
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 62 * 1024
"""How long a request line with its headers, one line about a chunk, or trailers may be."""
HEAD_LINES: Final = 100
"""How many headers and trailers a request may have."""
PIPELINED: Final = 64
"""How many requests of a connection may wait for the answer to an earlier one."""

_PIECE_BYTES: Final = 1024
_CHUNKS_BYTES: Final = 16 * 1024
_TOO_LARGE: Final = (
    f"The headers of a request may have {HEAD_LINES} lines and {HEAD_BYTES} bytes in all."
).encode()


class Connection(HttpToolsProtocol):
    """uvicorn's own, with limits on the time and the size of the head of a request.

    uvicorn limits only the silence between two requests, which any single byte ends. Here the
    time `timeout_keep_alive` runs from the connection, from the end of an answer and from the
    first byte of a request until its headers are complete; bodies have limits of their own.

    The parser keeps what it has not understood yet, however long that is. So it gets its bytes
    in small pieces, and all that are not of a body count, to the next of its events. Where that
    lies in a piece is not known: HEAD_BYTES are always allowed, and 2 kB more never. (In a
    chunked body pieces are larger, for speed, and so is that uncertainty about trailers.)
    """

    _hanging_up: TimerHandle | None = None
    _counted_bytes = _lines = 0
    _body_left_bytes = 0
    _piece_bytes = _PIECE_BYTES

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Pass on what came, as long as it stays within the limits."""
        rest = memoryview(data)
        while rest and not self.transport.is_closing():
            # a body of a known length is passed on whole: what follows is a head again
            most = self._body_left_bytes or self._piece_bytes
            piece, rest = rest[:most], rest[most:]
            if not self._body_left_bytes:
                self._counted_bytes += len(piece)
            if self._counted_bytes > HEAD_BYTES + self._piece_bytes or (
                len(self.pipeline) > PIPELINED
            ):
                self._refuse()
                return
            super().data_received(piece)  # type: ignore[arg-type] # the parser takes any buffer

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Give a request that begins its whole time."""
        super().on_message_begin()
        self._lines = 0
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header or a trailer.

        Raises:
            ValueError: it is one too many; the parser gives up and `send_400_response` follows.
        """
        self._lines += 1
        if self._lines > HEAD_LINES:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the answer take as long as it takes."""
        self._stop_waiting()
        self._counted_bytes = 0
        for name, value in self.headers:
            if name == b"content-length":
                self._body_left_bytes = int(value)
            elif name == b"transfer-encoding":
                self._piece_bytes = _CHUNKS_BYTES
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note how much of a body is still to come."""
        self._counted_bytes = 0
        self._body_left_bytes = max(0, self._body_left_bytes - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count for the next request."""
        self._counted_bytes = self._body_left_bytes = 0
        self._piece_bytes = _PIECE_BYTES
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or was not to."""
        if self._lines > HEAD_LINES:
            self._refuse()
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._await_head()

    def _refuse(self) -> None:
        """Read no more and close; an answer that is under way is not spoilt by another."""
        if not self._is_answering():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
                b"content-type: text/plain; charset=utf-8\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(_TOO_LARGE), _TOO_LARGE)
            )
        self.transport.close()

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._stop_waiting()
        self._hanging_up = self.loop.call_later(self.timeout_keep_alive, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._hanging_up is not None:
            self._hanging_up.cancel()

    def _hang_up(self) -> None:
        if not self._is_answering():  # else its end starts the timer again
            self.timeout_keep_alive_handler()
