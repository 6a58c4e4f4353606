"""A thousand real photos on many machines while things are killed at random.

    make bench-storm                                          crops of photos that two packages ship
    BENCH_DATABASE=mariadb BENCH_REDIS=0 make bench-storm     on another database, without Redis
    BENCH_FAULTS=bucket_away,bucket_away make bench-storm     these faults

One server, two workers, a private PostgreSQL and a private S3 server, and a private Redis unless
BENCH_REDIS is 0; every process has a data folder of its own, as on machines of its own. On SQLite
it is one server that works by itself. At random moments a worker, Redis or the server is killed
with SIGKILL and started again, Redis is emptied, a worker is stopped past its lease and woken, or
the bucket does not answer for 3 to 12 s. At the end every photo must have been settled exactly
once, with the bytes that `process_batch` makes of it without any server, and the bucket must hold
one output of each and nothing else. Recovery is the time from the fault until all items that were
being processed in that moment have ended. Writes benchmarks/results/storm.md, or a page named after
what differs.
"""

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pyvips
from obstore.store import S3Store
from photos import stills
from sqlalchemy import create_engine, text
from systems import circumstances

import databases
from batchmill import process_batch_sync
from batchmill.storage.objects import Bucket
from support import postgresql, redis_server, seaweed, sent
from support.ports import free_port
from support.processes import Process, Worker, serving, working

HERE = Path(__file__).parent
PHOTOS = int(os.environ.get("BENCH_PHOTOS", "1000"))
SEED = int(os.environ.get("BENCH_SEED", "20261122"))
DATABASE = os.environ.get("BENCH_DATABASE", "postgresql")
HAS_REDIS = os.environ.get("BENCH_REDIS", "1") != "0" and DATABASE != "sqlite"
WANTED = [name for name in os.environ.get("BENCH_FAULTS", "").split(",") if name]
PATIENCE_S = 1_200
FINAL = ("completed", "skipped", "failed", "quarantined", "cancelled")


@dataclass
class Machines:
    """All that runs, and how to start more of it."""

    folder: Path
    redis: redis_server.PrivateRedis | None
    line: "Line"
    settings: dict[str, str]
    stack: ExitStack
    workers: list[Worker] = field(default_factory=list)
    started: int = 0

    def __post_init__(self) -> None:
        self.server = self.serve()
        own = f"sqlite:///{self.folder / 'server' / 'batchmill.sqlite3'}"
        self.database = create_engine(self.settings.get("BATCHMILL_DATABASE_URL", own))

    def serve(self) -> Process:
        options = [] if DATABASE == "sqlite" else ["--no-worker"]
        server = serving(self.folder / "server", *options, **self.settings)
        self.server = self.stack.enter_context(server)
        return self.server

    def hire(self) -> None:
        self.started += 1
        worker = working(self.folder / f"worker-{self.started}", "--jobs", "1", **self.settings)
        self.workers.append(self.stack.enter_context(worker))

    def status(self) -> dict[str, str]:
        """Return the status of every item that has been sent, from the database itself."""
        with self.database.connect() as conn:
            rows = conn.execute(text("SELECT id, status FROM items"))
            return {row.id: row.status for row in rows}

    def running(self) -> set[str]:
        held = ("queued", "processing")
        return {item for item, status in self.status().items() if status in held}

    def ended(self) -> int:
        return sum(status in FINAL for status in self.status().values())


class Line:
    """What carries bytes to the bucket, in a process of its own that can be killed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = free_port()
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(HERE / "storm.py"), "line", str(self._port), str(self.port)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


async def _carry_all(port: int, own_port: int) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        with suppress(OSError):
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))

    async with await asyncio.start_server(carry, "127.0.0.1", own_port):
        print("carries", flush=True)
        await asyncio.Event().wait()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


# ---------------------------------------------------------------- faults


def worker_killed(machines: Machines) -> None:
    machines.workers.pop(0).kill()
    machines.hire()


def redis_killed(machines: Machines) -> None:
    assert machines.redis is not None
    machines.redis.kill()
    time.sleep(2)
    machines.redis.start()


def redis_emptied(machines: Machines) -> None:
    assert machines.redis is not None
    machines.redis.client().flushall()


def server_killed(machines: Machines) -> None:
    machines.server.kill()
    machines.serve()


def worker_asleep(machines: Machines) -> None:
    sleeper = machines.workers[0].popen
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(15)  # the lease is 12
    sleeper.send_signal(signal.SIGCONT)


def server_stopped(machines: Machines) -> None:
    machines.server.popen.send_signal(signal.SIGSTOP)
    time.sleep(15)
    machines.server.popen.send_signal(signal.SIGCONT)


def bucket_away(machines: Machines) -> None:
    machines.line.kill()
    time.sleep(random.uniform(3, 12))  # noqa: S311 - no secret
    machines.line.start()


OF_REDIS = (redis_killed, redis_emptied)
ALL = (worker_killed, *OF_REDIS, server_killed, worker_asleep, server_stopped, bucket_away)
ON_SQLITE = (server_killed, server_killed, server_stopped)
ON_MANY = (worker_killed, server_killed, worker_asleep, *(OF_REDIS if HAS_REDIS else ()))
FAULTS = [each for name in WANTED for each in ALL if each.__name__ == name] or (
    ON_SQLITE if DATABASE == "sqlite" else ON_MANY
)


# ---------------------------------------------------------------- the storm


def main(photos: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        files = _crops(photos, folder / "photos", chance)
        expected = _alone(files, folder / "alone")
        machines, bucket = stack.enter_context(_machines(folder))
        batch_id = sent.send(machines.server, [(file.name, file.read_bytes()) for file in files])
        began = time.monotonic()
        recoveries = _storm(machines, chance)
        _until(lambda: machines.ended() == PHOTOS)
        took_s = time.monotonic() - began
        _until(lambda: _stored(bucket, batch_id) == PHOTOS)
        _check(machines, batch_id, expected)
        table = _table(machines, batch_id, recoveries, took_s)
    print(table)
    differs = [DATABASE] * (DATABASE != "postgresql") + ["no-redis"] * (not HAS_REDIS)
    page = "-".join(["storm", *differs, *["faults"] * bool(WANTED)])
    (HERE / f"results/{page}.md").write_text(table, encoding="utf-8")


@contextmanager
def _machines(folder: Path) -> Iterator[tuple[Machines, Bucket]]:
    folder.chmod(0o755)  # PostgreSQL runs as a user of its own
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server.private(folder)) if HAS_REDIS else None
        (folder / "bucket").mkdir()
        bucket = stack.enter_context(seaweed.running(folder / "bucket"))
        line = Line(urlsplit(bucket.endpoint or "").port or 80)
        stack.callback(line.kill)
        settings = {
            **({"BATCHMILL_REDIS_URL": redis.url} if redis else {}),
            "BATCHMILL_STORAGE_URL": bucket.url,
            "BATCHMILL_S3_ENDPOINT": f"http://127.0.0.1:{line.port}",
            "BATCHMILL_S3_REGION": bucket.region or "",
            "BATCHMILL_S3_ACCESS_KEY_ID": bucket.access_key_id or "",
            "BATCHMILL_S3_SECRET_ACCESS_KEY": bucket.secret_access_key or "",
            "BATCHMILL_LOG_FORMAT": "json",
        }
        if DATABASE == "postgresql":
            settings["BATCHMILL_DATABASE_URL"] = stack.enter_context(postgresql.running(folder)).url
        elif DATABASE == "mariadb":
            made = stack.enter_context(databases.new_database(DATABASE, folder))
            url = made.engine.url.render_as_string(hide_password=False)
            settings["BATCHMILL_DATABASE_URL"] = url
        machines = Machines(folder, redis, line, settings, stack.enter_context(ExitStack()))
        if DATABASE != "sqlite":
            machines.hire()
            machines.hire()
        yield machines, bucket
        machines.database.dispose()


def _crops(photos: Path, folder: Path, chance: random.Random) -> list[Path]:
    """Cut PHOTOS different pictures of many sizes out of a few real ones."""
    folder.mkdir()
    sources = [path for path in stills(photos) if path.suffix != ".heic"]
    for number in range(PHOTOS):
        image = pyvips.Image.new_from_file(str(sources[number % len(sources)])).autorot()
        width = chance.randint(min(300, image.width), min(1_400, image.width))
        height = chance.randint(min(200, image.height), min(1_000, image.height))
        left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
        crop = image.crop(left, top, width, height)
        suffix = ".jpg" if not crop.hasalpha() and number % 3 else ".png"
        crop.write_to_file(str(folder / f"{number:04}{suffix}"))
    return sorted(folder.iterdir())


def _alone(files: list[Path], out: Path) -> dict[str, str]:
    """Return what becomes of each photo without any server: the digest by name."""
    done = process_batch_sync(files, "web", output_dir=out, concurrency=os.cpu_count() or 1)
    assert not done.failed, done
    return {path.stem: _digest(path.read_bytes()) for path in out.iterdir()}


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _storm(machines: Machines, chance: random.Random) -> list[tuple[str, int, int, float]]:
    """Break something at random moments; return what, when, how many were held, how long."""
    faults: list[Callable[[Machines], None]] = list(FAULTS)
    if not WANTED:
        faults += chance.choices(FAULTS, k=4)
    chance.shuffle(faults)
    recoveries = []
    for number, fault in enumerate(faults, start=1):
        share = number * PHOTOS * 0.8 / len(faults)
        at = round(share * chance.uniform(0.8, 1.0))
        _until(partial(_have_ended, machines, at))
        held = machines.running()
        began = time.monotonic()
        fault(machines)
        _until(partial(_are_let_go, machines, held))
        _until(partial(_are_final, machines, held))
        recoveries.append((fault.__name__, at, len(held), time.monotonic() - began))
        print(recoveries[-1], flush=True)
    return recoveries


def _have_ended(machines: Machines, number: int) -> bool:
    return machines.ended() >= number


def _are_let_go(machines: Machines, held: set[str]) -> bool:
    return held.isdisjoint(machines.running())


def _are_final(machines: Machines, held: set[str]) -> bool:
    return all(machines.status()[item] in FINAL for item in held)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.2)


def _stored(bucket: Bucket, batch_id: str) -> int:
    """Count the outputs of the batch in the bucket."""
    return sum("/out/" in key for key in _keys(bucket, f"batches/{batch_id}"))


def _keys(bucket: Bucket, prefix: str) -> list[str]:
    """List a bucket from outside, with a client of its own."""
    parts = urlsplit(bucket.url)
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=bucket.endpoint,
        region=bucket.region,
        access_key_id=bucket.access_key_id,
        secret_access_key=bucket.secret_access_key,
        client_options={"allow_http": True},
    )
    return [each["path"] for chunk in store.list(prefix) for each in chunk]


def _check(machines: Machines, batch_id: str, expected: dict[str, str]) -> None:
    batch = sent.look(machines.server, batch_id)
    assert batch["status"] == "completed", batch
    found = sent.hashes(machines.server, batch_id)
    wrong = [name for name, made in found.items() if made != [expected[Path(name).stem]]]
    assert len(found) == PHOTOS, len(found)
    assert not wrong, wrong
    assert set(_settled(machines).values()) == {1}


def _settled(machines: Machines) -> Counter[str]:
    """Count how often each item was settled, over the logs of all processes."""
    lines = (machines.folder / "server.log").read_text(encoding="utf-8").splitlines()
    told = (json.loads(line) for line in lines if '"item.finished"' in line)
    return Counter(line["item"] for line in told)


def _table(
    machines: Machines,
    batch_id: str,
    recoveries: list[tuple[str, int, int, float]],
    took_s: float,
) -> str:
    with machines.database.connect() as conn:
        again = conn.execute(text("SELECT count(*) FROM items WHERE attempt > 1")).scalar_one()
    head = (
        "# A storm on many machines\n\n"
        f"{PHOTOS} photos through preset `web`, {_who()}, SeaweedFS; seed {SEED};"
        f" {circumstances()}.\n\n"
        f"All ended {took_s:.0f} s after the upload; {len(_settled(machines))} settled exactly"
        f" once, {again} of them needed more than one attempt; {PHOTOS} digests equal those of a"
        f" run without a server; {PHOTOS} outputs in the bucket, nothing else of the attempts.\n\n"
        "| fault | after … photos | being processed | all of them ended after, s |\n"
        "| --- | --- | --- | --- |\n"
    )
    rows = (f"| {name.replace('_', ' ')} | {at} | {n} | {s:.1f} |" for name, at, n, s in recoveries)
    return head + "\n".join(rows) + "\n"


def _who() -> str:
    if DATABASE == "sqlite":
        return "one server that works by itself, SQLite"
    names = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
    redis = "Redis" if HAS_REDIS else "no Redis"
    return f"one server, two workers of one child, {redis}, {names[DATABASE]}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["line"]:
        asyncio.run(_carry_all(int(sys.argv[2]), int(sys.argv[3])))
    else:
        main(Path(sys.argv[1]))
