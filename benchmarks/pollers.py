"""A thousand callers who ask for the status of one running batch, and two hundred who listen.

    make bench-pollers

`serve` with its own worker and SQLite, as it is started with one command, works on a ZIP of files
that take no time: first alone, then before the crowd. Every caller has a connection of its own and
asks every BENCH_EVERY seconds; every listener holds a stream of events. The callers run in one
process beside the server, on the same cores, and answers are timed there: the figures include what
that process itself waits for. Writes benchmarks/results/pollers.md.
"""

import asyncio
import io
import os
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
CALLERS = int(os.environ.get("BENCH_CALLERS", "1000"))
LISTENERS = int(os.environ.get("BENCH_LISTENERS", "200"))
EVERY_S = float(os.environ.get("BENCH_EVERY", "2"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
FILES = int(os.environ.get("BENCH_FILES", "60000"))
"""Enough for the whole time."""


@dataclass
class Seen:
    """Whom the crowd asks about what, until when, and what it met."""

    host: str
    batch: str
    until: float
    ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    events: int = 0
    peak_bytes: int = 0


def main() -> None:
    with tempfile.TemporaryDirectory() as name, _serving(Path(name) / "data") as system:
        batch = _running_batch(system)
        quiet_bytes = _rss_bytes(system)
        before = _done(system, batch)
        time.sleep(SECONDS)
        alone = (_done(system, batch) - before) / SECONDS
        spent, before = system.cpu_s()["server"], _done(system, batch)
        seen = asyncio.run(_crowd(system, batch))
        beside = (_done(system, batch) - before) / SECONDS
        spent = system.cpu_s()["server"] - spent
    table = _table(seen, quiet_bytes, spent, (alone, beside))
    print(table)
    (HERE / "results/pollers.md").write_text(table, encoding="utf-8")


def _serving(folder: Path) -> AbstractContextManager[System]:
    return batchmill(folder, BATCHMILL_TIERS_ANONYMOUS_ARCHIVE_ENTRIES=str(FILES))


def _running_batch(system: System) -> str:
    """Send a batch that runs for longer than the crowd stays, and wait until it is under way."""
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


async def _crowd(system: System, batch: str) -> Seen:
    host = urlsplit(str(system.client.base_url)).netloc
    seen = Seen(host, batch, until=time.monotonic() + SECONDS)
    async with asyncio.TaskGroup() as group:
        for number in range(LISTENERS):
            group.create_task(_listen(seen, number / LISTENERS))
        for number in range(CALLERS):
            group.create_task(_ask(seen, EVERY_S * number / CALLERS))
        group.create_task(_watch(system, seen))
    return seen


async def _ask(seen: Seen, first_s: float) -> None:
    await asyncio.sleep(first_s)
    reader, writer = await _connected(seen.host)
    request = _request(seen, "")
    while time.monotonic() < seen.until:
        began = time.perf_counter()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        seen.ms.append(1000 * (time.perf_counter() - began))
        seen.statuses[head.split()[1]] += 1
        await asyncio.sleep(EVERY_S)
    writer.close()


async def _listen(seen: Seen, first_s: float) -> None:
    await asyncio.sleep(first_s)
    reader, writer = await _connected(seen.host)
    writer.write(_request(seen, "/events"))
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    seen.statuses[f"stream {head.split()[1]}"] += 1
    try:
        async with asyncio.timeout(seen.until - time.monotonic()):
            while line := await reader.readline():
                seen.events += line.startswith(b"event:")
            seen.statuses["stream broken off"] += 1
    except TimeoutError:
        writer.close()


def _request(seen: Seen, below: str) -> bytes:
    return f"GET /v1/batches/{seen.batch}{below} HTTP/1.1\r\nHost: {seen.host}\r\n\r\n".encode()


async def _connected(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name, _, port = host.rpartition(":")
    return await asyncio.open_connection(name, int(port))


async def _watch(system: System, seen: Seen) -> None:
    while time.monotonic() < seen.until:
        seen.peak_bytes = max(seen.peak_bytes, _rss_bytes(system))
        await asyncio.sleep(1)


def _rss_bytes(system: System) -> int:
    pages = Path(f"/proc/{system.parts['server']}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _table(seen: Seen, quiet_bytes: int, cpu_s: float, rates: tuple[float, float]) -> str:
    p50, p95 = statistics.median(seen.ms), statistics.quantiles(seen.ms, n=20)[-1]
    heard = seen.events / SECONDS / LISTENERS
    alone, beside = rates
    share = beside / alone if alone else 0.0
    facts = {
        "files a second alone, and beside the crowd": f"{alone:.0f}, {beside:.0f}: {share:.2f} ×",
        "answers": f"{len(seen.ms):,} ({len(seen.ms) / SECONDS:.0f} a second)",
        "by status": ", ".join(f"{n} × {status}" for status, n in seen.statuses.items()),
        "answered after, p50": f"{p50:.0f} ms",
        "answered after, p95": f"{p95:.0f} ms (target 200)",
        "events received": f"{seen.events:,}, {heard:.1f} a second and listener",
        "memory of the server before": f"{quiet_bytes / 1e6:.0f} MB",
        "memory of the server at most": f"{seen.peak_bytes / 1e6:.0f} MB (target 400)",
        "CPU of the server and its children": f"{cpu_s:.1f} s in {SECONDS:.0f} s",
    }
    return (
        "# A crowd that watches one batch\n\n"
        f"{CALLERS} callers who ask every {EVERY_S:g} s, {LISTENERS} listeners, {SECONDS:.0f} s;"
        f" {circumstances()}.\n\n| what | measured |\n| --- | --- |\n"
        + "\n".join(f"| {name} | {value} |" for name, value in facts.items())
        + "\n"
    )


if __name__ == "__main__":
    main()
