"""A server of somebody else, on loopback, that behaves as a test wants: well, or not."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

Behave = Callable[[socket.socket], None]


@dataclass
class Got:
    """A request as it arrived; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Keeps what it got; `behave` writes each answer. After `stop`, `start` uses the same port."""

    behave: Behave = field(default=lambda guest: answer(guest))  # noqa: PLW0108 - defined below
    tls: ssl.SSLContext | None = None
    got: list[Got] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def start(self) -> None:
        self._door = socket.create_server(("127.0.0.1", self.port))
        self._guests: list[socket.socket] = []
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._welcome, args=[self._door], daemon=True).start()

    def stop(self) -> None:
        for each in (self._door, *self._guests):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def until(self, number: int, *, limit_s: float = 30) -> list[Got]:
        """Wait until so many requests have arrived."""
        until = time.monotonic() + limit_s
        while len(self.got) < number:
            assert time.monotonic() < until, f"only {len(self.got)} requests arrived"
            time.sleep(0.02)
        return self.got

    def _welcome(self, door: socket.socket) -> None:
        while True:
            try:
                guest, _ = door.accept()
            except OSError:
                return
            self._guests.append(guest)
            threading.Thread(target=self._serve, args=[guest], daemon=True).start()

    def _serve(self, guest: socket.socket) -> None:
        try:
            if self.tls is not None:
                guest = self.tls.wrap_socket(guest, server_side=True)
            with guest:
                self.got.append(_read(guest))
                self.behave(guest)
        except OSError:
            guest.close()


def _read(guest: socket.socket) -> Got:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = guest.recv(65_536)
        if not piece:
            raise OSError("the caller left")
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += guest.recv(65_536)
    method, path, _ = first.split(" ")
    return Got(method, path, headers, body)


def answer(guest: socket.socket, status: int = 200, body: bytes = b"", **headers: str) -> None:
    """Write a whole answer."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} So\r\n{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    guest.sendall(head.encode() + body)


def hang(guest: socket.socket) -> None:
    """Never answer."""
    while guest.recv(1):
        pass


def drip(guest: socket.socket) -> None:
    """Answer for ever, a byte at a time."""
    guest.sendall(b"HTTP/1.1 200 So\r\n\r\n")
    while True:
        guest.sendall(b"x")
        time.sleep(0.02)


def flood(guest: socket.socket) -> None:
    """Answer for ever, as fast as it goes."""
    guest.sendall(b"HTTP/1.1 200 So\r\n\r\n")
    while True:
        guest.sendall(bytes(2**20))


def flood_headers(guest: socket.socket) -> None:
    """Write headers without an end."""
    guest.sendall(b"HTTP/1.1 200 So\r\n")
    while True:
        guest.sendall(b"x-more: " + b"y" * 8_000 + b"\r\n")
