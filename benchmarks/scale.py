"""Jobs per second and CPU per item with 1, 2 and 4 workers, against the peer on the same Redis.

    make bench-scale                   photos that two packages ship
    make bench-scale PHOTOS=FOLDER     your own

batchmill is `serve --no-worker` with workers of one child each, a private PostgreSQL and a
private Redis; the peer is the same shape in Node: Express and multer, workers of BullMQ and sharp
that take one job at a time (sharp uses as many threads as it likes). Photos go through preset
`web`; a no-op is a file of two bytes of which nothing is asked. Time and CPU count from the first
byte of the upload to the last result, over all processes; Redis and PostgreSQL stand apart.
Systems take turns; medians of the runs count. Writes benchmarks/results/scale.md.
"""

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from photos import stills
from systems import System, batchmill, circumstances, peer

from support import postgresql, redis_server

HERE = Path(__file__).parent
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
NOOPS = int(os.environ.get("BENCH_NOOPS", "1000"))
WORKERS = (1, 2, 4)
SERVICES = ("Redis", "PostgreSQL")


@dataclass(frozen=True)
class Services:
    """What both systems stand on."""

    redis: redis_server.PrivateRedis
    postgresql: postgresql.PrivatePostgresql


@dataclass(frozen=True, slots=True)
class Run:
    """One run over all files: its time, and the CPU of the system and of what it stands on."""

    wall_s: float
    own_cpu_s: float
    services_cpu_s: float


Runs = dict[tuple[str, str, int], list[Run]]
"""By kind of work, system, and number of workers."""


def main(photos: Path) -> None:
    """Let the systems take turns, print and write the table."""
    runs: Runs = {}
    with tempfile.TemporaryDirectory() as name, _services(Path(name)) as services:
        work = {
            "noop": _noops(Path(name) / "noop"),
            "web": [path for path in stills(photos) if path.suffix != ".heic"],
        }
        for _ in range(RUNS):
            for kind, files in work.items():
                for workers in WORKERS:
                    for system in ("batchmill", "peer"):
                        done = _one(Path(name), services, system, workers, files, kind)
                        runs.setdefault((kind, system, workers), []).append(done)
                        print(kind, system, workers, done, flush=True)
    table = _table({kind: len(files) for kind, files in work.items()}, runs)
    print(table)
    (HERE / "results/scale.md").write_text(table, encoding="utf-8")


@contextlib.contextmanager
def _services(folder: Path) -> Iterator[Services]:
    folder.chmod(0o755)  # PostgreSQL runs as a user of its own
    with redis_server.private(folder) as redis, postgresql.running(folder) as database:
        yield Services(redis, database)


def _noops(folder: Path) -> list[Path]:
    folder.mkdir()
    for number in range(NOOPS):
        (folder / f"{number:05}.csv").write_text("a\n")
    return sorted(folder.iterdir())


def _one(  # noqa: PLR0917 - what a run is
    folder: Path, services: Services, name: str, workers: int, files: list[Path], kind: str
) -> Run:
    """Start a system, warm it up, measure it over all files, and end it."""
    home = folder / "run"
    if name == "peer":
        starting = peer(home, services.redis.url, workers=workers)
    else:
        addresses = {
            "BATCHMILL_DATABASE_URL": services.postgresql.url,
            "BATCHMILL_REDIS_URL": services.redis.url,
        }
        starting = batchmill(home, workers=workers, **addresses)
    with starting as system:
        system.parts["Redis"] = services.redis.pid
        system.parts["PostgreSQL"] = services.postgresql.pid
        system.server(files[: 2 * workers], kind)
        done = _measured(system, files, kind)
    shutil.rmtree(home)
    return done


def _measured(system: System, files: list[Path], kind: str) -> Run:
    before, began = system.cpu_s(), time.perf_counter()
    system.server(files, kind)
    wall_s = time.perf_counter() - began
    spent = {part: cpu_s - before[part] for part, cpu_s in system.cpu_s().items()}
    services_cpu_s = sum(spent.pop(name) for name in SERVICES)
    return Run(wall_s, sum(spent.values()), services_cpu_s)


def _table(totals: dict[str, int], runs: Runs) -> str:
    header = (
        "| workers | items/s | peer | ratio | CPU ms an item | peer | ratio | Redis and PostgreSQL"
        " | peer's Redis |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    titles = {"noop": "No-op items", "web": "Photos, preset `web`"}
    parts = [
        "# Workers on Redis and PostgreSQL beside the peer\n",
        f"Median of {RUNS} alternating runs; {circumstances()}.",
    ]
    for kind, total in totals.items():
        rows = [_row(kind, workers, total, runs) for workers in WORKERS]
        parts.append(f"\n## {titles[kind]}: {total}\n\n{header}\n" + "\n".join(rows))
    return "\n".join(parts) + "\n"


def _row(kind: str, workers: int, total: int, runs: Runs) -> str:
    ours, peers = runs[kind, "batchmill", workers], runs[kind, "peer", workers]
    rate, peers_rate = (
        total / statistics.median(run.wall_s for run in each) for each in (ours, peers)
    )
    own, peers_own = (
        1000 * statistics.median(run.own_cpu_s for run in each) / total for each in (ours, peers)
    )
    under, peers_under = (
        1000 * statistics.median(run.services_cpu_s for run in each) / total
        for each in (ours, peers)
    )
    return (
        f"| {workers} | {rate:.1f} | {peers_rate:.1f} | {rate / peers_rate:.2f} | {own:.1f}"
        f" | {peers_own:.1f} | {own / peers_own:.2f} | {under:.1f} | {peers_under:.1f} |"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
