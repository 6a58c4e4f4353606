"""Crowds who ask for the status of one running batch, or listen to it: what they cost its work.

    make bench-pollers

`serve` with its own worker and SQLite, as it is started with one command, works on a ZIP of files
that take no time: first alone, then before each crowd. Every caller has a connection of its own and
asks every BENCH_EVERY seconds; every listener holds a stream of events. The crowd runs in one
process on the same cores, and answers are timed there: the figures include what that process itself
waits for, and its CPU is the work's loss too. So its CPU stands beside, and what is left of the
work when the crowd's own share of the cores is given back. Writes benchmarks/results/pollers.md.
"""

import asyncio
import io
import os
import resource
import statistics
import tempfile
import time
import zipfile
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from systems import NOOP, System, batchmill, circumstances

HERE = Path(__file__).parent
CROWDS = ((20, 0), (300, 0), (1_000, 0), (1_000, 200))
"""Callers and listeners."""
EVERY_S = float(os.environ.get("BENCH_EVERY", "2"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "25"))
FILES = int(os.environ.get("BENCH_FILES", "250000"))
"""Enough for the whole time."""


@dataclass
class Seen:
    """Whom a crowd asks about what, until when, and what it met."""

    host: str
    batch: str
    until: float
    ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    events: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """The work's rate alone and beside a crowd; CPU seconds of the server and of the crowd."""

    callers: int
    listeners: int
    alone: float
    beside: float
    server_s: float
    crowd_s: float
    seen: Seen

    @property
    def given_back(self) -> float:
        """The rate beside the crowd, if that had used no core of this machine."""
        cores = os.cpu_count() or 1
        return self.beside / (1 - self.crowd_s / (cores * SECONDS))


def main() -> None:
    found = []
    with tempfile.TemporaryDirectory() as name, _serving(Path(name) / "data") as system:
        batch = _running_batch(system)
        quiet_bytes = _rss_bytes(system)
        for callers, listeners in CROWDS:
            found.append(_measured(system, batch, callers, listeners))
            print(callers, listeners, round(found[-1].alone), round(found[-1].beside), flush=True)
    table = _table(found, quiet_bytes)
    print(table)
    (HERE / "results/pollers.md").write_text(table, encoding="utf-8")


def _serving(folder: Path) -> AbstractContextManager[System]:
    return batchmill(folder, BATCHMILL_TIERS_ANONYMOUS_ARCHIVE_ENTRIES=str(FILES))


def _running_batch(system: System) -> str:
    """Send a batch that runs for longer than the crowds stay, and wait until it is under way."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number in range(FILES):
            archive.writestr(zipfile.ZipInfo(f"{number:06}.csv"), b"a\n")
    files = [("files", ("files.zip", body.getvalue()))]
    answer = system.client.post("/v1/batches", files=files, data={"pipeline": NOOP})
    assert answer.status_code == 202, answer.text
    batch = str(answer.json()["id"])
    while _done(system, batch) < FILES // 100:
        time.sleep(0.2)
    return batch


def _done(system: System, batch: str) -> int:
    return int(system.client.get(f"/v1/batches/{batch}").json()["counts"]["completed"])


def _measured(system: System, batch: str, callers: int, listeners: int) -> Measured:
    before = _done(system, batch)
    time.sleep(SECONDS)
    alone = (_done(system, batch) - before) / SECONDS
    spent_s, own_s, before = system.cpu_s()["server"], _own_cpu_s(), _done(system, batch)
    seen = asyncio.run(_crowd(system, batch, callers, listeners))
    beside = (_done(system, batch) - before) / SECONDS
    assert _done(system, batch) < FILES, "the batch ended too early: set BENCH_FILES"
    spent_s, own_s = system.cpu_s()["server"] - spent_s, _own_cpu_s() - own_s
    return Measured(callers, listeners, alone, beside, spent_s, own_s, seen)


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _crowd(system: System, batch: str, callers: int, listeners: int) -> Seen:
    host = urlsplit(str(system.client.base_url)).netloc
    seen = Seen(host, batch, until=time.monotonic() + SECONDS)
    async with asyncio.TaskGroup() as group:
        for number in range(listeners):
            group.create_task(_listen(seen, number / listeners))
        for number in range(callers):
            group.create_task(_ask(seen, EVERY_S * number / callers))
        group.create_task(_watch(system, seen))
    return seen


class _Answers(asyncio.Protocol):
    """Answers to one request after another, read with as little work as can be."""

    def __init__(self) -> None:
        self._head = b""
        self._came: asyncio.Future[bytes] | None = None

    def expect(self) -> asyncio.Future[bytes]:
        """Return what will hold the head of the next answer."""
        self._head = b""
        self._came = asyncio.get_running_loop().create_future()
        return self._came

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end and self._came is not None:
            at = head.lower().index(b"content-length: ") + 16
            if len(body) >= int(head[at:].split(b"\r\n", 1)[0]):
                self._came.set_result(head)
                self._came = None


async def _ask(seen: Seen, first_s: float) -> None:
    await asyncio.sleep(first_s)
    host, _, port = seen.host.rpartition(":")
    loop = asyncio.get_running_loop()
    transport, answers = await loop.create_connection(_Answers, host, int(port))
    request = _request(seen, "")
    while time.monotonic() < seen.until:
        began, came = time.perf_counter(), answers.expect()
        transport.write(request)
        head = await came
        seen.ms.append(1000 * (time.perf_counter() - began))
        seen.statuses[head[9:12].decode()] += 1
        await asyncio.sleep(EVERY_S)
    transport.close()


class _Events(asyncio.Protocol):
    """A stream of events of which only the number counts."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._is_first = True

    def data_received(self, data: bytes) -> None:
        if self._is_first:
            self._seen.statuses[f"stream {data[9:12].decode()}"] += 1
            self._is_first = False
        self._seen.events += data.count(b"event:")

    def connection_lost(self, _error: Exception | None) -> None:
        if time.monotonic() < self._seen.until:
            self._seen.statuses["stream broken off"] += 1


async def _listen(seen: Seen, first_s: float) -> None:
    await asyncio.sleep(first_s)
    host, _, port = seen.host.rpartition(":")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: _Events(seen), host, int(port))
    transport.write(_request(seen, "/events"))
    await asyncio.sleep(seen.until - time.monotonic())
    transport.close()


def _request(seen: Seen, below: str) -> bytes:
    return f"GET /v1/batches/{seen.batch}{below} HTTP/1.1\r\nHost: {seen.host}\r\n\r\n".encode()


async def _watch(system: System, seen: Seen) -> None:
    while time.monotonic() < seen.until:
        seen.peak_bytes = max(seen.peak_bytes, _rss_bytes(system))
        await asyncio.sleep(1)


def _rss_bytes(system: System) -> int:
    pages = Path(f"/proc/{system.parts['server']}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _table(found: list[Measured], quiet_bytes: int) -> str:
    lines = [
        "# Crowds that watch one batch\n",
        f"Callers ask every {EVERY_S:g} s, for {SECONDS:.0f} s; {circumstances()}.\n",
        f"Memory of the server before: {quiet_bytes / 1e6:.0f} MB (target at most 400). CPU in"
        f" seconds of the {(os.cpu_count() or 1) * SECONDS:.0f} that the cores have.\n",
        "| callers | listeners | files/s alone | beside | share | if the crowd ran elsewhere"
        " | answered after, p50, ms | p95 (target 200) | answers | events a second, each"
        " | memory, MB | CPU, server | crowd |",
        "| --- " * 13 + "|",
    ]
    for each in found:
        seen = each.seen
        p50, p95 = statistics.median(seen.ms), statistics.quantiles(seen.ms, n=20)[-1]
        heard = seen.events / SECONDS / each.listeners if each.listeners else 0
        statuses = ", ".join(f"{n:,} × {status}" for status, n in seen.statuses.items())
        lines.append(
            f"| {each.callers} | {each.listeners} | {each.alone:.0f} | {each.beside:.0f}"
            f" | {each.beside / each.alone:.2f} | {each.given_back / each.alone:.2f} | {p50:.0f}"
            f" | {p95:.0f} | {statuses} | {heard:.1f} | {seen.peak_bytes / 1e6:.0f}"
            f" | {each.server_s:.1f} | {each.crowd_s:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
