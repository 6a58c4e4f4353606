"""Servers that never answer, and servers that ask to come again later."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from batchmill import Client
from batchmill.errors.outage import OutageError, ServerUnreachableError
from batchmill.model.item import ItemStatus
from support.pictures import scene
from support.served import Server

LATER = b'{"code": "outage", "detail": "The mill is being oiled."}'


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    scene(96, 64).write_to_file(str(tmp_path / "a.png"))
    return tmp_path / "a.png"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class Busy(ThreadingHTTPServer):
    """Answers `refusals` submissions 503, Retry-After 1; hands all else on to a server `behind`.

    `came` are the times at which submissions arrived.
    """

    def __init__(self, refusals: int, behind: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusals, self.behind = refusals, behind
        self.came: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Busy

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._tell(200, b"ok")
        else:
            self._hand_on(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.came.append(time.monotonic())
        if len(self.server.came) <= self.server.refusals:
            self._tell(503, LATER, **{"Retry-After": "1"})
        else:
            self._hand_on(body)

    def _hand_on(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        url = f"{self.server.behind}{self.path}"
        answer = httpx.request(self.command, url, headers=headers, content=body, timeout=30)
        self._tell(answer.status_code, answer.content)

    def _tell(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def busy(refusals: int, behind: str | None = None) -> Iterator[Busy]:
    with Busy(refusals, behind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_says_nothing_is_given_up(silent: str, picture: Path) -> None:
    with Client(silent, timeout_s=0.3) as client:
        with pytest.raises(ServerUnreachableError):
            client.submit([picture], "web")
        with pytest.raises(ServerUnreachableError):
            client.find()


def test_the_work_of_a_server_that_says_nothing_is_done_here(
    silent: str, picture: Path, tmp_path: Path
) -> None:
    with Client(silent, timeout_s=0.3, fallback="local") as client:
        done = client.process([picture], "web", output_dir=tmp_path / "out")

    assert (done.via, done.files[0].status) == ("local", ItemStatus.COMPLETED)
    assert done.reason == f"No batchmill server answers at {silent}. The work was done here."
    assert (tmp_path / "out" / "a.webp").exists()


def test_a_server_that_asks_for_patience_gets_it(picture: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "server") as server, busy(2, server.url) as front:
        with Client(front.url) as client:
            batch = client.submit([picture], "web")
        with Client(server.url) as client:
            assert client.wait(batch.id).counts.completed == 1
            assert len(list(client.batches())) == 1
    assert len(front.came) == 3
    assert all(later - earlier >= 1 for earlier, later in pairwise(front.came))


def test_patience_has_an_end_and_then_the_work_is_done_here(picture: Path, tmp_path: Path) -> None:
    with busy(1_000) as front:
        with Client(front.url, patience_s=1.5) as client, pytest.raises(OutageError, match="oiled"):
            client.process([picture], "web", output_dir=tmp_path / "out")
        with Client(front.url, patience_s=1.5, fallback="local") as client:
            done = client.process([picture], "web", output_dir=tmp_path / "out")

    assert done.via == "local"
    assert done.reason == "The mill is being oiled. The work was done here."
    assert (tmp_path / "out" / "a.webp").exists()


@pytest.mark.long
def test_a_server_that_is_killed_for_good_in_the_middle_is_replaced_by_this_process(
    tmp_path: Path,
) -> None:
    slow = {"steps": [{"use": "faulty", "with": {"seconds": 60}}]}
    quick = {"steps": [{"use": "convert", "with": {"format": "webp"}}]}
    for number in range(3):
        for name in (f"{number}.png", f"slow-{number}.png"):
            scene(96, 64, seed=number).write_to_file(str(tmp_path / name))
    files, slow_files = sorted(tmp_path.glob("?.png")), sorted(tmp_path.glob("slow-*.png"))
    with Server(tmp_path / "server", BATCHMILL_CHILDREN="2") as server:
        with Client(server.url, patience_s=1, fallback="local") as client:
            client.submit(slow_files, slow)  # so that the batch below has to wait
            killer = threading.Timer(1, server.kill)
            killer.start()
            done = client.process(files, quick, output_dir=tmp_path / "out")
            killer.join()
        server.start()

    assert done.via == "local"
    assert [file.status for file in done.files] == [ItemStatus.COMPLETED] * 3
    assert len(list((tmp_path / "out").iterdir())) == 3
