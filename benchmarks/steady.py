"""Half an hour of steady mixed load: what grows that should not.

    make bench-steady
    BENCH_SECONDS=300 make bench-steady

`serve --no-worker` and two workers of one child on a private PostgreSQL. Every two seconds a batch
comes: photos in the preset `web`, or a ZIP of files that take no time, in turn. One in ten is
canceled at once; every other one is fetched when it has ended. All are deleted. Callers ask for
the status of what runs, and listeners follow it. Each minute the memory and open files of every
process, the database's connections, tables and log, and the files kept are read from themselves.
A cache, a pool and a table that is vacuumed grow at first; compare the last samples. Writes
benchmarks/results/steady.md.
"""

import asyncio
import io
import os
import statistics
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pyvips
from sqlalchemy import Engine, create_engine, text
from systems import NOOP, System, batchmill, circumstances

from support import postgresql

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("BENCH_SECONDS", "1800"))
EVERY_S = 2.0
SAMPLES = 30
CALLERS, LISTENERS = 20, 5
FINAL = ("completed", "partial", "failed", "cancelled")


@dataclass
class Load:
    """What is sent, what runs now, and what came of it."""

    client: httpx.AsyncClient
    photos: list[tuple[str, tuple[str, bytes]]]
    archive: bytes
    until: float
    running: set[str] = field(default_factory=set)
    ended: Counter[str] = field(default_factory=Counter)
    status_ms: list[float] = field(default_factory=list)
    events: int = 0


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        with postgresql.running(folder) as private:
            settings = {"BATCHMILL_DATABASE_URL": private.url, "BATCHMILL_LOG_LEVEL": "warning"}
            with batchmill(folder / "data", workers=2, **settings) as system:
                engine = create_engine(private.url)
                load, samples = asyncio.run(_loaded(system, engine, folder / "data"))
                engine.dispose()
    table = _table(load, samples)
    print(table)
    (HERE / "results/steady.md").write_text(table, encoding="utf-8")


async def _loaded(
    system: System, engine: Engine, data: Path
) -> tuple[Load, list[Mapping[str, float]]]:
    limits = httpx.Limits(max_connections=None)
    samples: list[Mapping[str, float]] = []
    async with httpx.AsyncClient(
        base_url=system.client.base_url, timeout=120, limits=limits
    ) as client:
        load = Load(client, _photos(20), _archive(500), time.monotonic() + SECONDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(_batches(load))
            for number in range(CALLERS):
                group.create_task(_ask(load, number * EVERY_S / CALLERS))
            for _ in range(LISTENERS):
                group.create_task(_listen(load))
            for number in range(SAMPLES + 1):
                sample = await asyncio.to_thread(_sample, system, engine, data)
                samples.append(sample | {"batches running": len(load.running)})
                print(number, {name: round(value, 1) for name, value in samples[-1].items()})
                if number < SAMPLES:
                    await asyncio.sleep(SECONDS / SAMPLES)
    return load, samples


def _photos(number: int) -> list[tuple[str, tuple[str, bytes]]]:
    made = []
    for seed in range(number):
        noise = pyvips.Image.gaussnoise(640, 480, mean=128, sigma=30, seed=seed).cast("uchar")
        picture = noise.gaussblur(2).bandjoin([noise, noise.invert()])
        made.append(("files", (f"{seed:02}.jpg", picture.jpegsave_buffer(Q=85))))
    return made


def _archive(number: int) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for each in range(number):
            archive.writestr(zipfile.ZipInfo(f"{each:04}.csv"), b"a\n")
    return body.getvalue()


async def _batches(load: Load) -> None:
    number = 0
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < load.until:
            group.create_task(_batch(load, number))
            number += 1
            await asyncio.sleep(EVERY_S)


async def _batch(load: Load, number: int) -> None:
    """Send a batch, wait for its end, take its results, and delete it."""
    if number % 2:
        files, pipeline = load.photos, "web"
    else:
        files, pipeline = [("files", ("files.zip", load.archive))], NOOP
    answer = await load.client.post("/v1/batches", files=files, data={"pipeline": pipeline})
    assert answer.status_code == 202, answer.text
    batch = f"/v1/batches/{answer.json()['id']}"
    load.running.add(batch)
    if number % 10 == 9:
        (await load.client.post(f"{batch}/cancel")).raise_for_status()
    status = await _ended(load, batch)
    load.running.discard(batch)
    load.ended[status] += 1
    if number % 4 == 1 and status == "completed":
        await _fetch(load, batch)
    (await load.client.delete(batch)).raise_for_status()


async def _ended(load: Load, batch: str) -> str:
    while True:
        status = await _status(load, batch)
        if status in FINAL:
            return status
        await asyncio.sleep(0.5)


async def _status(load: Load, batch: str) -> str:
    began = time.perf_counter()
    answer = (await load.client.get(batch)).raise_for_status()
    load.status_ms.append(1000 * (time.perf_counter() - began))
    return str(answer.json()["status"])


async def _fetch(load: Load, batch: str) -> None:
    async with load.client.stream("GET", f"{batch}/results.zip") as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_bytes():
            pass


async def _ask(load: Load, first_s: float) -> None:
    await asyncio.sleep(first_s)
    while time.monotonic() < load.until:
        for batch in list(load.running)[:1]:
            answer = await load.client.get(batch)
            assert answer.status_code in (200, 404), answer.text
        await asyncio.sleep(EVERY_S)


async def _listen(load: Load) -> None:
    """Follow one batch after another to its end."""
    while time.monotonic() < load.until:
        for batch in list(load.running)[:1]:
            async with load.client.stream("GET", f"{batch}/events") as answer:
                async for line in answer.aiter_lines():
                    load.events += line.startswith("event:")
        await asyncio.sleep(0.2)


def _sample(system: System, engine: Engine, data: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, pid in system.parts.items():
        found[f"{name}, MB"] = _rss_bytes(pid) / 1e6
        found[f"{name}, open files"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    tables = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
    with engine.connect() as conn:
        ask = {
            "connections": "SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL",
            "tables, MB": f"{tables} AND relnamespace = 'public'::regnamespace",
            "write-ahead log, MB": "SELECT sum(size) FROM pg_ls_waldir()",
            "rows of items": "SELECT count(*) FROM items",
        }
        for name, question in ask.items():
            value = float(conn.execute(text(question)).scalar_one())
            found[name] = value / 1e6 if name.endswith("MB") else value
    found["files kept"] = sum(len(files) for _, _, files in os.walk(data))
    return found


def _rss_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _table(load: Load, samples: list[Mapping[str, float]]) -> str:
    third = max(1, SAMPLES // 3)
    p95 = statistics.quantiles(load.status_ms, n=20)[-1]
    parts = {"first": samples[1 : third + 1], "second": samples[third + 1 : 2 * third + 1]}
    parts["last"] = samples[2 * third + 1 :]
    lines = [
        "# Steady mixed load\n",
        f"{SECONDS / 60:.0f} minutes, a batch every {EVERY_S:g} s; {circumstances()}.\n",
        f"Batches that ended: {', '.join(f'{n} {status}' for status, n in load.ended.items())}."
        f" Status answered after {statistics.median(load.status_ms):.0f} ms (p50),"
        f" {p95:.0f} ms (p95). {load.events:,} events.\n",
        "| what | at the start | first third | second | last | at most |",
        "| --- " * 6 + "|",
    ]
    for name in samples[0]:
        each = [f"{samples[0][name]:,.0f}"]
        each += [f"{statistics.median(one[name] for one in part):,.0f}" for part in parts.values()]
        each.append(f"{max(sample[name] for sample in samples):,.0f}")
        lines.append(f"| {name} | {' | '.join(each)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
