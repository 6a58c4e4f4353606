"""A server that speaks OpenAI's chat API on loopback, and misbehaves as it is told.

    with VisionServer() as server:
        server.then("busy", "ok")       the first question is answered 429, the next ones rightly

What it does when nothing is left of the script is `server.usual`.
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import pytest

RIGHT = {
    "title": "A red bicycle",
    "description": "A red bicycle leans against a white wall in the sun.",
    "keywords": ["bicycle", "red", "wall", "sun"],
    "category": "Transport",
    "alt_text": "Red bicycle in front of a white wall",
}
TOKENS = {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960}
VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL")


@dataclass
class Asked:
    """One question as it arrived; `closed` once the asker has hung up before the answer."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    path: str
    at_s: float = field(default_factory=time.monotonic)
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def image_url(self) -> str:
        """Where the picture was said to be."""
        return self.body["messages"][0]["content"][1]["image_url"]["url"]


class VisionServer:
    """Listens between `__enter__` and `__exit__`; `url` ends with /v1."""

    def __init__(self, usual: str = "ok") -> None:
        self.usual = usual
        self.right: Mapping[str, Any] = RIGHT
        self.seconds = 0.0
        self.retry_after = "1"
        self.counts = True
        self.asked: list[Asked] = []
        self.running = self.most = 0
        self.look: Callable[[Asked], object] = lambda _: None
        self._script: deque[str] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def then(self, *behaviours: str) -> None:
        """Add to what the next questions meet."""
        self._script.extend(behaviours)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead to this server."""
        return {
            "OPENAI_API_KEY": "sk-a-made-up-key",
            "OPENAI_BASE_URL": self.url,
            "OPENAI_MODEL": "fake-vision",
        }

    def __enter__(self) -> Self:
        vision = self

        class Handler(_Handler):
            server_of: VisionServer = vision

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def take(self, asked: Asked) -> str:
        """Note a question and say how to behave."""
        with self._lock:
            self.asked.append(asked)
            self.running += 1
            self.most = max(self.most, self.running)
            return self._script.popleft() if self._script else self.usual

    def leave(self) -> None:
        """Note that a question is over."""
        with self._lock:
            self.running -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: VisionServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(body, headers, self.path)
        behaviour = self.server_of.take(asked)
        try:
            self.server_of.look(asked)
            BEHAVIOURS[behaviour](self, asked)
        except (BrokenPipeError, ConnectionResetError):
            asked.closed.set()
        finally:
            self.server_of.leave()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def reply(self, status: int, body: object, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", **headers}
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def say(self, text: str | None, *, ended: str = "stop", refusal: str | None = None) -> None:
        message = {"role": "assistant", "content": text, "refusal": refusal}
        choice = {"index": 0, "finish_reason": ended, "message": message}
        body = {"model": "fake-vision-1", "choices": [choice]}
        self.reply(200, body | ({"usage": TOKENS} if self.server_of.counts else {}))

    def refuse(self, status: int, code: str, **headers: str) -> None:
        self.reply(status, {"error": {"message": f"It says {code}.", "code": code}}, **headers)

    def wait(self, asked: Asked, seconds: float) -> bool:
        """Wait; True: the asker hung up meanwhile."""
        self.connection.settimeout(0.02)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.server_of._stopping.is_set():
            try:
                if self.connection.recv(1) == b"":
                    asked.closed.set()
                    return True
            except TimeoutError:
                continue
        self.connection.settimeout(None)
        return False


def _ok(handler: _Handler, _: Asked) -> None:
    handler.say(json.dumps(handler.server_of.right))


def _slow(handler: _Handler, asked: Asked) -> None:
    if not handler.wait(asked, handler.server_of.seconds):
        _ok(handler, asked)


def _never(handler: _Handler, asked: Asked) -> None:
    handler.wait(asked, 600)


def _drop(handler: _Handler, _: Asked) -> None:
    handler.close_connection = True
    handler.connection.close()


def _break_off(handler: _Handler, _: Asked) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    _drop(handler, _)


def _huge(handler: _Handler, _: Asked) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for _number in range(10_000):
        handler.wfile.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")


def _busy(handler: _Handler, _: Asked) -> None:
    after = {"Retry-After": handler.server_of.retry_after} if handler.server_of.retry_after else {}
    handler.refuse(429, "rate_limit_exceeded", **after)


def _status(status: int, code: str) -> Callable[[_Handler, Asked], None]:
    return lambda handler, _: handler.refuse(status, code)


def _text(text: str) -> Callable[[_Handler, Asked], None]:
    return lambda handler, _: handler.say(text)


BEHAVIOURS: dict[str, Callable[[_Handler, Asked], None]] = {
    "ok": _ok,
    "slow": _slow,
    "never": _never,
    "drop": _drop,
    "break_off": _break_off,
    "huge": _huge,
    "busy": _busy,
    "fenced": _text(f"```json\n{json.dumps(RIGHT, indent=1)}\n```"),
    "prose_around": _text(f"Sure! {json.dumps(RIGHT)} I hope that helps."),
    "prose": _text("It is a red bicycle in front of a wall."),
    "wrong_schema": _text(json.dumps({"caption": "A bicycle", "tags": 3})),
    "hostile": _text(
        json.dumps(
            {
                "title": "=cmd|' /C calc'!A0 \u202egpj.exe\x00\x1b[31m",
                "description": "<script>alert(1)</script>\n" + "very long " * 1_000,
                "keywords": ["@SUM(A1)", "a" * 500, "", 7, "dog", "Dog", *map(str, range(100))],
                "category": "transport",
                "alt_text": "\u2066hidden\u2069 " + "word " * 500,
            }
        )
    ),
    "refusal": lambda handler, _: handler.say(None, refusal="I can't help with that."),
    "filtered": lambda handler, _: handler.say(None, ended="content_filter"),
    "cut_off": lambda handler, _: handler.say(json.dumps(RIGHT)[:40], ended="length"),
    "no_chat": lambda handler, _: handler.reply(200, {"hello": "world"}),
    "html": lambda handler, _: handler.reply(
        502, b"<html>Bad gateway</html>", **{"Content-Type": "text/html"}
    ),
    "redirect": lambda handler, _: handler.reply(
        307, {}, Location=f"{handler.server_of.url}/elsewhere"
    ),
    "bad_request": _status(400, "invalid_image"),
    "wrong_key": _status(401, "invalid_api_key"),
    "no_permission": _status(403, "forbidden"),
    "no_model": _status(404, "model_not_found"),
    "unprocessable": _status(422, "unprocessable"),
    "no_credit": _status(429, "insufficient_quota"),
    "fault": _status(500, "server_error"),
    "overloaded": _status(503, "overloaded"),
}


def without_model(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment in which no model is set up."""
    kept = {name: value for name, value in environ.items() if name not in VARIABLES}
    return {name: value for name, value in kept.items() if not name.startswith("BATCHMILL_LLM")}


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Iterator[VisionServer]:
    """A model's server, and an environment that leads to it and to nothing else."""
    for name in set(os.environ) - set(without_model()):
        monkeypatch.delenv(name)
    with VisionServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("BATCHMILL_LLM_INPUT_USD", "0.15")
        monkeypatch.setenv("BATCHMILL_LLM_OUTPUT_USD", "0.6")
        yield server
