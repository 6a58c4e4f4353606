"""What a stranger without a key can make a server keep: the memory of `serve` under each flood.

    python benchmarks/floods.py [MB]        # sends so much of each kind, 100 by default

Each line names the flood, what was sent before the server hung up or answered, what it
answered, and the most memory (VmHWM) that the server used meanwhile, beside what it used before.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

HOST = b"Host: 127.0.0.1\r\n"
FIELD = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
KINDS = {
    "nothing": (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n", None),
    "one header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: ", b"a" * 8192),
    "headers": (b"GET / HTTP/1.1\r\n" + HOST, b"X: a\r\n" * 1000),
    "path": (b"GET /", b"a" * 8192),
    "cookies": (b"GET /v1/batches HTTP/1.1\r\n" + HOST + b"Cookie: ", b"a=b; " * 1000),
    "trailers": (
        b"POST /v1/batches HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n0\r\n",
        b"X: a\r\n" * 1000,
    ),
    "extension of a chunk": (
        b"POST /v1/batches HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n1;",
        b"a" * 8192,
    ),
    "pipelined requests": (b"", (b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") * 200),
    "JSON body": (b"/v1/batches application/json", b'"' + b"a" * 8190),
    "JSON body of a key": (b"/v1/keys application/json", b"[" * 8192),
    "JSON body of a session": (b"/v1/session application/json", b'"' + b"a" * 8190),
    "body of no route": (b"/nowhere text/plain", b"a" * 8192),
    "fields of a form": (b"/v1/batches multipart/form-data; boundary=b", FIELD * 100),
    "headers of a part": (b"/v1/batches multipart/form-data; boundary=b", None),
    "one field": (b"/v1/batches multipart/form-data; boundary=b", None),
    "a file": (b"/v1/batches multipart/form-data; boundary=b", None),
    "preamble": (b"/v1/batches multipart/form-data; boundary=b", b"a" * 8192),
    "tus metadata": (b"POST /v1/uploads HTTP/1.1\r\n" + HOST + b"Upload-Metadata: a ", b"a" * 8192),
    "tus body": (b"/v1/uploads application/offset+octet-stream", b"a" * 8192),
    "reference form": (b"/api/process multipart/form-data; boundary=b", FIELD * 100),
}
STARTS = {
    "headers of a part": (b"--b\r\nX: ", b"a" * 8192),
    "one field": (b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n', b"a" * 8192),
    "a file": (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n',
        b"a" * 8192,
    ),
}


def main(megabytes: int) -> None:
    """Print one line for each flood."""
    with serving() as (process, port):
        for name in KINDS:
            report(name, process, port, megabytes * 10**6)
        idle(process, port, 2_000)


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server at which callers without a key may do nothing."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            **os.environ,
            "BATCHMILL_DATA_DIR": folder,
            "BATCHMILL_ANONYMOUS": os.environ.get("BATCHMILL_ANONYMOUS", "off"),
            "BATCHMILL_CHILDREN": "1",
        }
        command = [sys.executable, "-m", "batchmill", "serve", "--port", "0"]
        with (
            open(os.devnull, "w") as nowhere,  # noqa: PTH123
            subprocess.Popen(
                command, env=environ, stdout=subprocess.PIPE, stderr=nowhere, text=True
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"listens on http://127\.0\.0\.1:(\d+)", line):
                    break
            time.sleep(3)  # until the child has started
            try:
                yield process, int(found[1]) if found else 0
            finally:
                process.send_signal(signal.SIGTERM)


def report(name: str, process: "subprocess.Popen[str]", port: int, most: int) -> None:
    """Send one flood from six connections, one after the other, and print what became of it."""
    before = memory(process.pid, "VmRSS")
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # begin VmHWM again
    outcomes = [flood(name, port, most) for _ in range(6)]
    peak, after = memory(process.pid, "VmHWM"), memory(process.pid, "VmRSS")
    sent = max(sent for sent, _ in outcomes) / 1e6
    answers = ", ".join(sorted({told for _, told in outcomes}))
    print(
        f"{name:24} sent {sent:8.2f} MB  answered {answers:30}"
        f" memory {before:6.0f} → {peak:6.0f} MB, then {after:6.0f} MB",
        flush=True,
    )


def flood(name: str, port: int, most: int) -> tuple[int, str]:
    """Return how much could be sent and the status of the answer."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with suppress(OSError):
            for piece in pieces(name, most):
                connection.sendall(piece)
                sent += len(piece)
                connection.setblocking(False)
                with suppress(BlockingIOError):
                    if connection.recv(1, socket.MSG_PEEK) is not None and name != "nothing":
                        break
                connection.settimeout(20)
        connection.settimeout(20)
        try:
            told = connection.recv(12).decode()
        except OSError as error:
            told = type(error).__name__
    return sent, told.removeprefix("HTTP/1.1 ") or "closed"


def pieces(name: str, most: int) -> Iterator[bytes]:
    """Yield the bytes of a flood; a body goes in chunks."""
    begin, more = KINDS[name]
    if not begin.startswith(b"/"):
        return chain([begin], repeat(more, most // len(more)) if more else [])
    path, _, kind = begin.partition(b" ")
    first, more = STARTS.get(name, (b"", more or b""))
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = chain([first] if first else [], repeat(more, most // len(more)))
    framed = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body)
    return chain([head % (path, HOST, kind)], framed)


def idle(process: "subprocess.Popen[str]", port: int, number: int) -> None:
    """Open connections that say nothing."""
    before = memory(process.pid, "VmRSS")
    with ExitStack() as stack, suppress(OSError):
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(1)
        print(f"{number} idle connections: {before:.0f} → {memory(process.pid, 'VmRSS'):.0f} MB")


def memory(pid: int, field: str) -> float:
    """Return a field of /proc/PID/status in MB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1e3 if found else 0.0


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
