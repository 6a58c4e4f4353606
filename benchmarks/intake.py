"""What a large ZIP costs the server that takes it: time beside `cp`, and memory.

    make bench-intake

Starts `batchmill serve`, makes an archive of 1,000 photos and one of 2 GB in a temporary folder
(noise behind a JPEG's header: it does not shrink, and is no two times the same), sends each with
`Client` and waits for its last item. Memory is the resident set of the server's process, of its
children, and of this process, read from /proc ten times a second. `cp` copies the same file onto
the same disk and syncs it. Writes benchmarks/results/intake.md.
"""

import os
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyvips
from systems import HERE, System, batchmill, circumstances

from batchmill import Client

MIB = 2**20
PHOTOS, LARGE = 1_000, 400
LARGE_BYTES = 5_000_000
LOOK_MS = 100


@dataclass
class Memory:
    """Resident bytes of a server's process, its children together, and of this process."""

    pid: int
    server: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    client: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Take one reading of all."""
        self.server.append(_rss_bytes(self.pid))
        self.children.append(sum(map(_rss_bytes, _below(self.pid))))
        self.client.append(_rss_bytes(os.getpid()))


@dataclass(frozen=True, slots=True)
class Run:
    """One archive on its way: sizes, times, and memory before, at its most, and afterwards."""

    what: str
    files: int
    archive_bytes: int
    cp_s: float
    accepted_s: float
    ended_s: float
    counts: str
    memory: Memory


def main() -> None:
    """Send both archives and write the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = _archive(folder / "photos.zip", PHOTOS, 0)
        large = _archive(folder / "large.zip", LARGE, LARGE_BYTES)
        with batchmill(folder / "data") as server:
            _send(server, folder, _archive(folder / "first.zip", 4, 0), "warm-up")
            runs = [
                _send(server, folder, small, "1,000 photos"),
                _send(server, folder, large, "2 GB"),
            ]
    text = _page(runs)
    (HERE / "results" / "intake.md").write_text(text, encoding="utf-8")
    print(text)


def _archive(path: Path, files: int, padding_bytes: int) -> Path:
    """Write an archive of stored JPEGs; `padding_bytes` of noise follow each picture."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(files):
            noise = pyvips.Image.gaussnoise(640, 480, sigma=40, mean=128, seed=number)
            picture = noise.bandjoin([noise.rot180(), noise.fliphor()]).cast("uchar")
            body = picture.copy(interpretation="srgb").jpegsave_buffer(Q=85)
            archive.writestr(f"{number % 10}/{number:04}.jpg", body + os.urandom(padding_bytes))
    return path


def _send(server: System, folder: Path, archive: Path, what: str) -> Run:
    cp_s = _timed(lambda: _copy(archive, folder / "copy"))
    with Client(str(server.client.base_url)) as client, _watched(server.parts["server"]) as memory:
        began = time.perf_counter()
        batch = client.submit([archive], "web")
        accepted_s = time.perf_counter() - began
        ended = client.wait(batch.id)
        ended_s = time.perf_counter() - began
        time.sleep(3)  # what is given back is given back by now
    done = {name: number for name, number in ended.counts.model_dump().items() if number}
    counts = ", ".join(f"{number:,} {name}" for name, number in done.items())
    size = archive.stat().st_size
    return Run(what, ended.counts.total, size, cp_s, accepted_s, ended_s, counts, memory)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", source, target], check=True)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@contextmanager
def _watched(pid: int) -> Iterator[Memory]:
    memory, stop = Memory(pid), threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_MS / 1000):
            memory.look()

    memory.look()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _below(pid: int) -> list[int]:
    """Return every process below one."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in map(int, own) for each in (child, *_below(child))]


def _page(runs: list[Run]) -> str:
    rows = [
        f"| {run.what} | {run.files:,} | {run.archive_bytes / 1e6:,.0f} MB | {run.cp_s:.2f} s"
        f" | {run.accepted_s:.2f} s | {run.ended_s:.1f} s | {run.counts} |"
        for run in runs
    ]
    memory = [
        f"| {run.what} | {name} | {values[0] / MIB:.0f} | {max(values) / MIB:.0f}"
        f" | {values[-1] / MIB:.0f} |"
        for run in runs
        for name, values in (
            ("server", run.memory.server),
            ("children", run.memory.children),
            ("client", run.memory.client),
        )
    ]
    return "\n".join(
        [
            "# Large archives",
            "",
            f"Preset `web`; {circumstances()}.",
            "",
            "| archive | files | bytes | `cp` | accepted after | ended after | counts |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "Resident memory in MiB (children together; pages that they share count for each):",
            "",
            "| archive | whose | before | most | after |",
            "| --- | --- | --- | --- | --- |",
            *memory,
            "",
        ]
    )


if __name__ == "__main__":
    main()
