"""One connection of the HTTP server: who has asked for nothing for long is hung up on."""

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    """uvicorn's own, with a limit of `timeout_keep_alive` for the head of a request as well.

    uvicorn limits only the silence between two requests, which any single byte ends. The time
    runs from the connection, from the end of an answer and from the first byte of a request
    until its headers are complete; bodies have limits of their own.
    """

    _hanging_up: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Give a request that begins its whole time."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Let the answer take as long as it takes."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._await_head()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._hanging_up = self.loop.call_later(self.timeout_keep_alive, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._hanging_up is not None:
            self._hanging_up.cancel()

    def _hang_up(self) -> None:
        answering: Any = self.cycle
        if answering is None or answering.response_complete:  # else its end begins the time anew
            self.timeout_keep_alive_handler()
