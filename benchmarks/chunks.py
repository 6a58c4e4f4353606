"""Delivery alone: no-op items a second, statements and CPU an item, on each database.

    make bench-chunks                            all rows
    BENCH_ROWS='postgresql*' make bench-chunks   some of them
    BENCH_BEFORE=FOLDER make bench-chunks        beside an earlier commit, checked out there

Workers run no child: an attempt ends where it begins (`inline_worker.py`), so that what is measured
is claim, finish and all between. A batch of BENCH_ITEMS lies in the database before it is started;
its time is what its own row says, from the first claim to its end, by the database's clock. Rows
with a link reach the database over a line that takes LINK_MS there and back. CPU counts the workers
and the database, but not the line. Medians of BENCH_ROUNDS, the rows in turn. PostgreSQL is a
private one; MariaDB is the one that the tests use. Writes benchmarks/results/chunks.md.
"""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatch
from pathlib import Path

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import make_url
from systems import circumstances, tree_cpu_s

import databases
from batchmill.db import batches, items, schema
from batchmill.db import statistics as statistic
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.db.types import NOW
from batchmill.model import ids
from batchmill.model.batch import BatchDraft, BatchId, BatchStatus, OwnerId
from batchmill.model.item import Input, ItemStatus, NewItem
from support import postgresql
from support.line import line_to

HERE = Path(__file__).parent
ITEMS = int(os.environ.get("BENCH_ITEMS", "50000"))
FAR_ITEMS = int(os.environ.get("BENCH_FAR_ITEMS", "20000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
WANTED = os.environ.get("BENCH_ROWS", "*")
LINK_MS = float(os.environ.get("LINK_MS", "2.5"))
BEFORE = os.environ.get("BENCH_BEFORE")
SLOTS = 3
"""Those of a worker with two cores: its children and one."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured: the database, how far it is, how many workers, over how many batches."""

    database: str
    is_far: bool
    workers: int
    owners: int = 1
    batches: int = 1

    @property
    def name(self) -> str:
        crowd = f"-{self.owners}-owners-{self.batches}-batches" if self.batches > 1 else ""
        return f"{self.database}{'-far' if self.is_far else ''}-{self.workers}{crowd}"

    @property
    def items(self) -> int:
        return FAR_ITEMS if self.is_far else ITEMS


ROWS = [
    Row("postgresql", False, 1),
    Row("postgresql", False, 2),
    Row("postgresql", False, 4),
    Row("postgresql", True, 2),
    Row("postgresql", True, 4),
    Row("postgresql", True, 8),
    Row("mariadb", False, 2),
    Row("mariadb", False, 4),
    Row("mariadb", True, 4),
    Row("sqlite", False, 1),
    Row("postgresql", False, 2, owners=1, batches=500),
    Row("postgresql", False, 2, owners=20, batches=500),
]


@dataclass(frozen=True, slots=True)
class Measured:
    """A round: items a second; statements, commits and CPU milliseconds an item.

    `slope` is the rate of the last tenth of the items over that of the first.
    """

    rate: float
    slope: float
    statements: float
    commits: float
    own_ms: float
    database_ms: float


@dataclass(frozen=True, slots=True)
class Place:
    """A database: as this process reaches it, as workers do, and its first process."""

    url: str
    workers_url: str
    pid: int | None


def main() -> None:
    rows = [row for row in ROWS if fnmatch(row.name, WANTED)]
    trees = {"now": HERE.parent} | ({"before": Path(BEFORE)} if BEFORE else {})
    found: dict[tuple[str, str], list[Measured]] = {}
    for number in range(ROUNDS):
        for row in rows:
            for when, tree in trees.items():
                done = _in_a_process(row, tree)
                found.setdefault((row.name, when), []).append(done)
                print(number + 1, row.name, when, round(done.rate), flush=True)
    table = _table(rows, found)
    print(table)
    (HERE / "results/chunks.md").write_text(table, encoding="utf-8")


def _in_a_process(row: Row, tree: Path) -> Measured:
    """Measure a row with the package of a tree."""
    env = {**os.environ, "PYTHONPATH": f"{tree / 'src'}:{HERE.parent / 'tests'}"}
    command = [sys.executable, str(HERE / "chunks.py"), "row", row.name]
    told = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    return Measured(**json.loads(told.splitlines()[-1]))


def _measured(row: Row) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        with _place(row, folder) as place:
            database = Database(place.url)
            migrate(database.engine)
            drafts = _drafts(database, row)
            if database.is_sqlite:
                database.engine.dispose()
            with contextlib.ExitStack() as stack:
                commands = [_command(place, folder / f"w{n}") for n in range(row.workers)]
                workers = [stack.enter_context(_worker(command)) for command in commands]
                spent_s = tree_cpu_s(place.pid) if place.pid else 0.0
                passed_s, slope = _run(database, drafts, row.items)
                spent_s = (tree_cpu_s(place.pid) if place.pid else 0.0) - spent_s
                told = [_stopped(worker) for worker in workers]
            database.engine.dispose()
    return Measured(
        row.items / passed_s,
        slope,
        sum(each["statements"] for each in told) / row.items,
        sum(each["commits"] for each in told) / row.items,
        1000 * sum(each["cpu_s"] for each in told) / row.items,
        1000 * spent_s / row.items,
    )


@contextlib.contextmanager
def _place(row: Row, folder: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        pid: int | None = None
        if row.database == "sqlite":
            url = f"sqlite:///{folder / 'w0' / 'batchmill.db'}"
            (folder / "w0").mkdir(mode=0o700)
        elif row.database == "postgresql":
            private = stack.enter_context(postgresql.running(folder))
            url, pid = private.url, private.pid
        else:
            made = stack.enter_context(databases.new_database(row.database, folder))
            url = made.engine.url.render_as_string(hide_password=False)
            pid = _pid_of("mariadbd")
        far = stack.enter_context(_far(url)) if row.is_far else url
        yield Place(url, far, pid)


def _pid_of(program: str) -> int | None:
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and (folder / "comm").read_text().strip() == program:
                return int(folder.name)
    return None


@contextlib.contextmanager
def _far(url: str) -> Iterator[str]:
    """Run a process that carries bytes to a database late; yield the address of its other end."""
    parsed = make_url(url)
    command = [sys.executable, str(HERE / "chunks.py"), "line", parsed.host or "127.0.0.1"]
    command += [str(parsed.port or 3306)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield parsed.set(host="127.0.0.1", port=int(process.stdout.readline())).render_as_string(
            hide_password=False
        )
    finally:
        process.terminate()
        process.wait(10)


async def _carry(host: str, port: int) -> None:
    async with line_to(host, port) as line:
        line.delay_s = LINK_MS / 2000
        print(line.port, flush=True)
        await asyncio.Event().wait()


def _drafts(database: Database, row: Row) -> Sequence[BatchId]:
    """Enter the batches of a row, all but started."""
    each = row.items // row.batches
    with database.engine.begin() as conn:
        return [
            _draft(conn, OwnerId(f"own_{number % row.owners}"), each)
            for number in range(row.batches)
        ]


def _draft(conn: Connection, owner_id: OwnerId, number: int) -> BatchId:
    batch_id = ids.batch_id()
    draft = BatchDraft(
        pipeline={"name": "noop", "steps": [{"use": "optimize"}]},
        pipeline_name="noop",
        family="images",
        tier="free",
        priority=1050,
    )
    batches.insert(conn, batch_id, draft, owner_id=owner_id, upload_ms=3_600_000)
    new = [NewItem(each, Input("k", "a.csv", 2)) for each in ids.item_ids(number)]
    items.insert(conn, batch_id, new, first_position=0)
    batches.count(conn, batch_id, {ItemStatus.PENDING: number})
    return batch_id


@contextlib.contextmanager
def _worker(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == "takes files"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def _command(place: Place, folder: Path) -> list[str]:
    program = str(HERE / "inline_worker.py")
    return [sys.executable, program, place.workers_url, str(folder), str(SLOTS)]


def _stopped(worker: subprocess.Popen[str]) -> dict[str, float]:
    worker.send_signal(signal.SIGTERM)
    told, _ = worker.communicate(timeout=60)
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def _run(database: Database, drafts: Sequence[BatchId], number: int) -> tuple[float, float]:
    """Start batches and wait for their end.

    Returns the seconds between the first claim and the last end, by the database's clock, and how
    the rate of the last tenth compares with that of the first.
    """
    table, seen = schema.batches, [(time.monotonic(), 0)]
    with database.engine.begin() as conn:
        for batch_id in drafts:
            batches.start(conn, batch_id, status=BatchStatus.QUEUED, turn_at=NOW)
    span = select(
        func.count(table.c.ended_at), func.min(table.c.started_at), func.max(table.c.ended_at)
    )
    while True:
        time.sleep(0.25)
        with database.engine.connect() as conn:
            ended, first, last = conn.execute(span).one()
            seen.append((time.monotonic(), statistic.totals(conn, None).completed))
        if ended == len(drafts):
            return float((last - first).total_seconds()), _slope(seen, number)


def _slope(seen: Sequence[tuple[float, int]], number: int) -> float:
    """Compare the time that the first and the last tenth of the items took."""
    begun = next(at for at, done in seen if done)
    first_s = next(at for at, done in seen if done >= number / 10) - begun
    last_s = seen[-1][0] - next(at for at, done in seen if done >= number * 9 / 10)
    return first_s / last_s if first_s and last_s else 1.0


def _table(rows: Sequence[Row], found: dict[tuple[str, str], list[Measured]]) -> str:
    lines = [
        "# Delivery of no-op items\n",
        f"{ITEMS:,} items, {FAR_ITEMS:,} over a link of {LINK_MS:g} ms; medians of {ROUNDS} rounds;"
        f" {circumstances()}.\n",
        "| database | workers | items/s | statements an item | commits | CPU ms an item, workers"
        " | database | last tenth ÷ first |"
        + (" before: items/s | statements | CPU ms, workers | database |" * bool(BEFORE)),
        "| --- " * (12 if BEFORE else 8) + "|",
    ]
    for row in rows:
        now = _median(found[row.name, "now"])
        place = row.database + (f", {LINK_MS:g} ms away" if row.is_far else "")
        if row.batches > 1:
            place += f", {row.batches} batches of {row.owners} owner{'s' * (row.owners > 1)}"
        line = (
            f"| {place} | {row.workers} | {now.rate:,.0f} | {now.statements:.3f}"
            f" | {now.commits:.3f} | {now.own_ms:.2f} | {now.database_ms:.2f} | {now.slope:.2f} |"
        )
        if BEFORE:
            then = _median(found[row.name, "before"])
            line += f" {then.rate:,.0f} | {then.statements:.3f} | {then.own_ms:.2f}"
            line += f" | {then.database_ms:.2f} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _median(rounds: Sequence[Measured]) -> Measured:
    names = [each.name for each in fields(Measured)]
    return Measured(*(statistics.median(getattr(each, name) for each in rounds) for name in names))


if __name__ == "__main__":
    if sys.argv[1:2] == ["line"]:
        asyncio.run(_carry(sys.argv[2], int(sys.argv[3])))
    elif sys.argv[1:2] == ["row"]:
        (chosen,) = (each for each in ROWS if each.name == sys.argv[2])
        print(json.dumps(asdict(_measured(chosen))))
    else:
        main()
