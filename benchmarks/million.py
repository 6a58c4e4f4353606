"""A batch of a million items on PostgreSQL and Redis: taken in, worked on, and looked at meanwhile.

    make bench-million

One ZIP of files of two bytes is sent to `serve --no-worker`; two workers of one child do nothing
to each file for BENCH_SECONDS. Then half of the files that still wait are marked as failed by SQL,
in fifty groups, as if they had been tried. Before and after, the questions that people and pages
ask are put ten times a second and timed from outside, one after another; the same connection is
used again. Memory of Redis, size of the database and of the processes are read from themselves.
Writes benchmarks/results/million.md.
"""

import contextlib
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
from sqlalchemy import Connection, create_engine, text
from systems import NOOP, System, batchmill, circumstances

from support import postgresql, redis_server

HERE = Path(__file__).parent
ITEMS = int(os.environ.get("BENCH_ITEMS", "1000000"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "600"))
ROUNDS = 50
GROUPS = 50
UNLIMITED = {
    "BATCHMILL_TIERS_ANONYMOUS_ARCHIVE_ENTRIES": str(ITEMS),
    "BATCHMILL_LOG_LEVEL": "warning",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        database = stack.enter_context(postgresql.running(folder))
        redis = stack.enter_context(redis_server.private(folder))
        settings = {
            **UNLIMITED,
            "BATCHMILL_DATABASE_URL": database.url,
            "BATCHMILL_REDIS_URL": redis.url,
        }
        archive = _archive(folder / "million.zip")
        system = stack.enter_context(batchmill(folder / "data", workers=2, **settings))
        engine = create_engine(database.url)
        facts, times = _told(system, engine.connect, redis, archive)
        engine.dispose()
    table = _table(facts, times)
    print(table)
    (HERE / "results/million.md").write_text(table, encoding="utf-8")


def _told(
    system: System,
    connect: Callable[[], Connection],
    redis: redis_server.PrivateRedis,
    archive: Path,
) -> tuple[dict[str, str], dict[str, list[float]]]:
    facts: dict[str, str] = {}
    began, spent = time.monotonic(), system.cpu_s()["server"]
    batch = _send(system.client, archive)
    facts["upload of the ZIP answered"] = f"{time.monotonic() - began:.1f} s"
    _until(lambda: _batch(system, batch)["counts"]["total"] == ITEMS)
    facts["all items accepted"] = f"{time.monotonic() - began:.1f} s"
    facts["CPU of the server for it"] = f"{system.cpu_s()['server'] - spent:.1f} s"
    times = _worked(system, batch, facts)
    with redis.client() as client:
        facts["used memory of Redis"] = f"{client.info()['used_memory'] / 1e6:.1f} MB"
    with connect() as conn:
        size = conn.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        facts["size of the database"] = f"{size / 1e6:.0f} MB"
        facts["marked as failed"] = f"{_half_failed(conn, batch):,}"
    facts["memory of the server"] = f"{_rss_bytes(system.parts['server']) / 1e6:.0f} MB"
    times |= {f"{name}, half failed": each for name, each in _asked(system, batch).items()}
    return facts, times


def _archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(ITEMS):
            archive.writestr(zipfile.ZipInfo(f"{number // 1000:04}/{number:07}.csv"), b"a\n")
    return path


def _send(client: httpx.Client, archive: Path) -> str:
    with archive.open("rb") as file:
        answer = client.post(
            "/v1/batches", files={"files": file}, data={"pipeline": NOOP}, timeout=1_200
        )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _batch(system: System, batch: str) -> Mapping[str, Mapping[str, int]]:
    found: Mapping[str, Mapping[str, int]] = system.client.get(f"/v1/batches/{batch}").json()
    return found


def _until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.5)


def _worked(system: System, batch: str, facts: dict[str, str]) -> dict[str, list[float]]:
    """Let the workers work for SECONDS, ask in the middle, and note the rate."""
    before, began, spent = (
        _batch(system, batch)["counts"]["completed"],
        time.monotonic(),
        _cpu(system),
    )
    _until(lambda: time.monotonic() - began > SECONDS / 2)
    times = {f"{name}, while it runs": each for name, each in _asked(system, batch).items()}
    _until(lambda: time.monotonic() - began > SECONDS)
    done = _batch(system, batch)["counts"]["completed"] - before
    passed_s = time.monotonic() - began
    facts["items processed"] = f"{done:,} in {passed_s:.0f} s"
    facts["rate of two workers"] = f"{done / passed_s:.0f} items/s"
    facts["CPU of server and workers an item"] = f"{1000 * (_cpu(system) - spent) / done:.1f} ms"
    return times


def _cpu(system: System) -> float:
    return sum(system.cpu_s().values())


def _questions(batch: str) -> Iterator[tuple[str, str]]:
    yield "status", f"/v1/batches/{batch}"
    yield "errors", f"/v1/batches/{batch}/errors"
    yield "items?status=failed", f"/v1/batches/{batch}/items?status=failed&limit=100"
    yield "items?status=pending", f"/v1/batches/{batch}/items?status=pending&limit=100"
    yield "items?q=0500/05", f"/v1/batches/{batch}/items?q=0500/05&limit=100"
    yield "items, first page", f"/v1/batches/{batch}/items?limit=100"


def _asked(system: System, batch: str) -> dict[str, list[float]]:
    """Put every question ROUNDS times; return the milliseconds of each answer."""
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, address in _questions(batch):
            began = time.perf_counter()
            system.client.get(address).raise_for_status()
            times.setdefault(name, []).append(1000 * (time.perf_counter() - began))
            time.sleep(0.1)
    return times


def _half_failed(conn: Connection, batch: str) -> int:
    """Turn half of a million items into failures of GROUPS causes, counters and all."""
    groups = (
        "INSERT INTO failures (no, batch_id, code, message, retryable, count, first_at, last_at)"
        " SELECT g, :batch, 'unreadable_file', 'cause ' || g, false, 0, 0, 0"
        " FROM generate_series(1, :groups) g"
    )
    marked = (
        "UPDATE items SET status = 'failed', failure_no = 1 + position % :groups, attempt = 1,"
        " error_code = 'unreadable_file', error_message = 'cause ' || 1 + position % :groups,"
        " error_retryable = false, ended_at = queued_at WHERE batch_id = :batch"
        " AND status = 'pending' AND position >= :half"
    )
    counted = (
        "UPDATE failures SET count = (SELECT count(*) FROM items WHERE failure_no = failures.no)"
    )
    moved = (
        "UPDATE batches SET n_failed = n_failed + :number, n_pending = n_pending - :number,"
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


def _table(facts: Mapping[str, str], times: Mapping[str, list[float]]) -> str:
    lines = [
        f"# A batch of {ITEMS:,} items on PostgreSQL and Redis\n",
        f"{circumstances()}.\n",
        "| what | measured |\n| --- | --- |",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "\n| question, answered after | p50, ms | p95, ms |\n| --- | --- | --- |",
    ]
    for name, each in times.items():
        p95 = statistics.quantiles(each, n=20)[-1]
        lines.append(f"| {name} | {statistics.median(each):.1f} | {p95:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
