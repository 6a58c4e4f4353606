"""Small files, each way there is to put them through: what an item costs beside its work.

    make bench-small                            3,000 PNGs of 64×64 px, preset `web`
    SMALL_FILES=10000 make bench-small          as many as the targets speak of; takes ten minutes
    BENCH_ROWS='*server*' make bench-small      some rows, and the floor
    BENCH_BEFORE=FOLDER make bench-small        beside an earlier commit, checked out there

The floor is a loop over our own decode and encode in one process. CPU counts all processes and
the database: of commands from their start to the last process, of servers from the first byte of
the ZIP to the batch's end. Needs Node and PostgreSQL. Writes benchmarks/results/small.md.
"""

import os
import statistics
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import PIL
from systems import PEER, System, circumstances
from whole import (
    Rows,
    Spent,
    against,
    batchmill,
    cpu_s,
    earlier,
    floor,
    listed,
    measured,
    module_version,
    pillow,
    publish,
    sharp,
    table,
    trees,
    turns,
    unused,
    wall_s,
    whole,
)
from zipped import embedded, scaled, through

from support.pictures import scene

FILES = int(os.environ.get("SMALL_FILES", "3000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WANTED = os.environ.get("BENCH_ROWS", "*")
SIDE_PX = 64
FLOOR = "floor: our decode and encode, one process"
RUN, SERVE = "`batchmill run`", "embedded server (`batchmill serve`, SQLite)"
SCALED = "server and 2 workers with PostgreSQL"
SHARP, PILLOW = "sharp loop, 2 in flight", "Pillow loop, one process"
SETTINGS = {
    "BATCHMILL_TIERS_ANONYMOUS_ARCHIVE_ENTRIES": str(FILES),
    "BATCHMILL_LOG_LEVEL": "warning",
}

Running = Callable[..., AbstractContextManager[System]]


@dataclass(frozen=True, slots=True)
class Work:
    """The small files: in a folder, by path, and in a ZIP; and a place for what is made of them."""

    pictures: Path
    files: Sequence[Path]
    archive: Path
    scratch: Path

    def empty(self) -> Path:
        """Return a new folder."""
        return unused(self.scratch)


def main() -> None:
    """Let the rows take turns, print and write the table."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL runs as a user of its own
        work = _work(Path(name))
        rows = dict(_peers(work))
        for when, tree in trees().items():
            rows |= {f"{row}, {when}": run for row, run in _ours(tree, work).items()}
        wanted = {
            row: run for row, run in rows.items() if row.startswith(FLOOR) or fnmatch(row, WANTED)
        }
        runs = measured(wanted, ROUNDS, warm=False)
    publish("small", _page(runs))


def _work(folder: Path) -> Work:
    pictures = folder / "pictures"
    pictures.mkdir()
    files = [pictures / f"{number:05}.png" for number in range(FILES)]
    with zipfile.ZipFile(folder / "small.zip", "w") as archive:
        for number, file in enumerate(files):
            scene(SIDE_PX, SIDE_PX, seed=number).write_to_file(str(file))
            archive.write(file, file.name)
    return Work(pictures, files, folder / "small.zip", folder / "scratch")


# ---------------------------------------------------------------- rows


def _ours(tree: Path, work: Work) -> Rows:
    def run() -> Spent:
        out = str(work.empty() / "out")
        return batchmill(tree, "run", "web", str(work.pictures), "-o", out)

    def bare(at_once: int) -> Spent:
        return floor(tree, work.files, work.empty(), "web", "webp", at_once=at_once)

    return {
        FLOOR: partial(bare, 1),
        "two such processes at once": partial(bare, 2),
        RUN: run,
        SERVE: partial(_served, embedded, tree, work),
        SCALED: partial(_served, scaled, tree, work),
    }


def _served(running: Running, tree: Path, work: Work) -> Spent:
    with running(tree, work.empty(), **SETTINGS) as system:
        return through(system, work.archive, "web", files=FILES)


def _peers(work: Work) -> Rows:
    def nothing() -> Spent:
        names = listed(work.files, work.empty() / "files.txt")
        return whole(["xargs", "-a", str(names), "-P2", "-n1", "true"])

    groups = {"small": work.files}
    return {
        "`xargs -P2 true`": nothing,
        SHARP: lambda: sharp(groups, work.empty(), "webp"),
        PILLOW: lambda: pillow(groups, work.empty(), "webp", at_once=1),
    }


# ---------------------------------------------------------------- the page


def _page(runs: Mapping[str, Sequence[Spent]]) -> str:
    has_before = "before" in trees()
    names = [name.removesuffix(", now") for name in runs if not name.endswith(", before")]
    names.sort(key=lambda name: f"{name}, now" not in runs)  # ours first
    now = {name: runs.get(f"{name}, now") or runs[name] for name in names}
    spent_ms = {name: 1000 * cpu_s(each) / FILES for name, each in now.items()}
    lines = []
    for name in names:
        own = spent_ms[name]
        line = [name, f"{own:.2f}", f"{own - spent_ms[FLOOR]:+.2f}", _ratio(now[name], now[FLOOR])]
        line.append(f"{FILES / wall_s(now[name]):,.0f}")
        if has_before:
            then, least = runs.get(f"{name}, before"), runs[f"{FLOOR}, before"]
            line += [f"{1000 * cpu_s(then) / FILES:.2f}", _ratio(then, least)] if then else ["", ""]
        lines.append(line)
    header = ["what", "CPU ms an item", "beside the floor", "÷ floor", "items/s"]
    header += ["before: CPU ms", "÷ its floor"] if has_before else []
    sharps = module_version(PEER / "node_modules" / "sharp") if SHARP in names else "none"
    parts = [
        "# Small files\n",
        f"Made by `make bench-small`: {FILES:,} PNGs of {SIDE_PX}×{SIDE_PX} px, preset `web`. CPU"
        f" is that of all processes and databases. {turns(ROUNDS)};"
        f" {circumstances()}{earlier()}; sharp {sharps}, Pillow {PIL.__version__}.\n",
        table(header, lines),
    ]
    parts += [
        f"\n{ours}, by CPU. {said}"
        for ours in (RUN, SERVE, SCALED)
        if ours in spent_ms and (said := against(ours, spent_ms, (SHARP, PILLOW)))
    ]
    return "\n".join(parts) + "\n"


def _ratio(runs: Sequence[Spent], least: Sequence[Spent]) -> str:
    """Return the median of the ratios within each round."""
    each = (run.cpu_s / floor.cpu_s for run, floor in zip(runs, least, strict=True))
    return f"{statistics.median(each):.2f}"


if __name__ == "__main__":
    main()
