"""A batch of a million items from upload to end, on PostgreSQL and on SQLite: delivery alone.

    make bench-million
    BENCH_DATABASES=sqlite BENCH_ITEMS=100000 make bench-million
    THROUGH=child make bench-million            through sandboxed children, one a worker

One ZIP of files of two bytes is sent to `serve`: on PostgreSQL without a worker of its own, beside
two workers; on SQLite with its own. Workers do nothing to a file, in their own process
(`inline.py`). While they work, the status is asked ten times a second, one question after another.
Once the batch has ended on PostgreSQL, half of the files are marked as failed by SQL, in fifty
groups, and the questions that people and pages ask are timed. Memory and sizes are read from
processes and databases themselves. Writes benchmarks/results/million.md, through children
million-child.md.
"""

import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, create_engine, text
from systems import COMMAND, INLINE, NOOP, System, batchmill, circumstances, tree_cpu_s

from support import postgresql

HERE = Path(__file__).parent
ITEMS = int(os.environ.get("BENCH_ITEMS", "1000000"))
DATABASES = os.environ.get("BENCH_DATABASES", "postgresql,sqlite").split(",")
THROUGH = os.environ.get("THROUGH", "inline")
COMMANDS = {"inline": INLINE, "child": COMMAND}
ROUNDS = 50
GROUPS = 50
SETTINGS: dict[str, Any] = {
    "BATCHMILL_TIERS_ANONYMOUS_ARCHIVE_ENTRIES": str(ITEMS),
    "BATCHMILL_LOG_LEVEL": "warning",
} | ({"BATCHMILL_CHILDREN": "1"} if THROUGH == "child" else {})


@dataclass
class Told:
    """What was measured on one database: facts, and milliseconds of answers by question."""

    facts: dict[str, str] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL runs as a user of its own
        archive = _archive(Path(name) / "million.zip")
        for kind in DATABASES:
            folder = Path(name) / kind
            folder.mkdir(mode=0o755)
            measured = _on_postgresql if kind == "postgresql" else _on_sqlite
            found[kind] = measured(folder, archive)
            print(kind, found[kind].facts, flush=True)
    table = _table(found)
    print(table)
    page = "million-child.md" if THROUGH == "child" else "million.md"
    (HERE / "results" / page).write_text(table, encoding="utf-8")


def _on_postgresql(folder: Path, archive: Path) -> Told:
    told = Told()
    with postgresql.running(folder) as private:
        settings = {**SETTINGS, "BATCHMILL_DATABASE_URL": private.url}
        with batchmill(folder / "data", workers=2, command=COMMANDS[THROUGH], **settings) as system:
            database_s = tree_cpu_s(private.pid)
            batch = _worked(system, archive, told)
            database_ms = 1000 * (tree_cpu_s(private.pid) - database_s) / ITEMS
            told.facts["CPU of the database an item"] = f"{database_ms:.2f} ms"
            engine = create_engine(private.url)
            with engine.connect() as conn:
                size = "SELECT pg_database_size(current_database())"
                told.facts["size of the database"] = _mb(conn.execute(text(size)).scalar_one())
                told.facts["marked as failed"] = f"{_half_failed(conn, batch):,}"
            engine.dispose()
            told.times |= _asked(system, batch)
    return told


def _on_sqlite(folder: Path, archive: Path) -> Told:
    told = Told()
    with batchmill(folder / "data", command=COMMANDS[THROUGH], **SETTINGS) as system:
        _worked(system, archive, told)
        size = sum(path.stat().st_size for path in (folder / "data").glob("*.sqlite3*"))
        told.facts["size of the database"] = _mb(size)
    return told


def _archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(ITEMS):
            archive.writestr(zipfile.ZipInfo(f"{number // 1000:04}/{number:07}.csv"), b"a\n")
    return path


def _worked(system: System, archive: Path, told: Told) -> str:
    """Send the batch and ask for its status until it has ended."""
    began, spent_s = time.monotonic(), _cpu_s(system)
    batch = _send(system.client, archive)
    told.facts["upload of the ZIP answered after"] = f"{time.monotonic() - began:.1f} s"
    at_work_from: float | None = None
    seen: list[tuple[float, int]] = []
    times: list[float] = []
    peak = dict.fromkeys(system.parts, 0)
    while True:
        asked = time.perf_counter()
        found = system.client.get(f"/v1/batches/{batch}").raise_for_status().json()
        times.append(1000 * (time.perf_counter() - asked))
        done = found["counts"]["completed"]
        if done and at_work_from is None:
            at_work_from = time.monotonic()
        seen.append((time.monotonic(), done))
        for name, pid in system.parts.items():
            peak[name] = max(peak[name], _rss_bytes(pid))
        if found["ended_at"] is not None:
            break
        time.sleep(0.1)
    assert found["counts"]["completed"] == ITEMS, found
    passed_s = time.monotonic() - (at_work_from or began)
    told.facts["from the first claim to the end"] = f"{passed_s:.0f} s"
    told.facts["items a second"] = f"{ITEMS / passed_s:,.0f}"
    told.facts["rate of the last tenth ÷ the first"] = f"{_slope(seen):.2f}"
    told.facts["from the upload to the end"] = f"{time.monotonic() - began:.0f} s"
    spent_ms = 1000 * (_cpu_s(system) - spent_s) / ITEMS
    told.facts["CPU of server and workers an item, with intake"] = f"{spent_ms:.2f} ms"
    for name, most in peak.items():
        told.facts[f"most memory of {name}"] = _mb(most)
    told.times["status, while it runs"] = times
    return batch


def _slope(seen: list[tuple[float, int]]) -> float:
    """Compare the time that the first and the last tenth of the items took."""
    begun = next(at for at, done in seen if done)
    first_s = next(at for at, done in seen if done >= ITEMS / 10) - begun
    last_s = seen[-1][0] - next(at for at, done in seen if done >= ITEMS * 9 / 10)
    return first_s / last_s if first_s and last_s else 1.0


def _send(client: httpx.Client, archive: Path) -> str:
    with archive.open("rb") as file:
        answer = client.post(
            "/v1/batches", files={"files": file}, data={"pipeline": NOOP}, timeout=1_200
        )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _cpu_s(system: System) -> float:
    return sum(system.cpu_s().values())


def _questions(batch: str) -> Iterator[tuple[str, str]]:
    yield "status", f"/v1/batches/{batch}"
    yield "errors", f"/v1/batches/{batch}/errors"
    yield "items?status=failed", f"/v1/batches/{batch}/items?status=failed&limit=100"
    yield "items?status=completed", f"/v1/batches/{batch}/items?status=completed&limit=100"
    yield "items?q=0500/05", f"/v1/batches/{batch}/items?q=0500/05&limit=100"
    yield "items, first page", f"/v1/batches/{batch}/items?limit=100"


def _asked(system: System, batch: str) -> dict[str, list[float]]:
    """Put every question ROUNDS times; return the milliseconds of each answer."""
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, address in _questions(batch):
            began = time.perf_counter()
            system.client.get(address).raise_for_status()
            passed_ms = 1000 * (time.perf_counter() - began)
            times.setdefault(f"{name}, half failed", []).append(passed_ms)
            time.sleep(0.05)
    return times


def _half_failed(conn: Connection, batch: str) -> int:
    """Turn half of the items of an ended batch into failures of GROUPS causes, and count them."""
    groups = (
        "INSERT INTO failures (no, batch_id, code, message, retryable, count, first_at, last_at)"
        " SELECT g, :batch, 'unreadable_file', 'cause ' || g, false, 0, 0, 0"
        " FROM generate_series(1, :groups) g"
    )
    marked = (
        "UPDATE items SET status = 'failed', failure_no = 1 + position % :groups,"
        " error_code = 'unreadable_file', error_message = 'cause ' || 1 + position % :groups,"
        " error_retryable = false WHERE batch_id = :batch AND position >= :half"
    )
    counted = (
        "UPDATE failures SET count = (SELECT count(*) FROM items WHERE failure_no = failures.no)"
    )
    moved = (
        "UPDATE batches SET n_failed = n_failed + :number, n_completed = n_completed - :number,"
        " revision = revision + 1 WHERE id = :batch"
    )
    conn.execute(text(groups), {"batch": batch, "groups": GROUPS})
    half = {"batch": batch, "groups": GROUPS, "half": ITEMS // 2}
    number = conn.execute(text(marked), half).rowcount
    conn.execute(text(counted))
    conn.execute(text(moved), {"batch": batch, "number": number})
    conn.commit()
    conn.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE items"))
    return number


def _rss_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _table(found: Mapping[str, Told]) -> str:
    way = "through children, one a worker" if THROUGH == "child" else "inline"
    lines = [f"# A batch of {ITEMS:,} items that take no time, {way}\n", f"{circumstances()}.\n"]
    for kind, told in found.items():
        lines += [f"## {kind}\n", "| what | measured |\n| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in told.facts.items()]
        lines.append("\n| question, answered after | p50, ms | p95, ms |\n| --- | --- | --- |")
        for name, each in told.times.items():
            p95 = statistics.quantiles(each, n=20)[-1]
            lines.append(f"| {name} | {statistics.median(each):.1f} | {p95:.1f} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
