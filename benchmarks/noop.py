"""Files of which nothing is asked, through children: what delivery costs with all that runs.

    make bench-noop                                     50,000 items, through children and inline
    BENCH_ITEMS=5000 BENCH_ROUNDS=1 make bench-noop     fewer, once
    BENCH_ROWS='*child*' make bench-noop                some rows
    BENCH_BEFORE=FOLDER make bench-noop                 children beside an earlier commit's

One ZIP of files of two bytes is sent to `serve`, which has one child; on PostgreSQL it has none and
two workers have one each. Inline, workers do nothing to a file in their own process (`inline.py`).
CPU counts all processes and the database, from the first byte of the ZIP to the batch's end, so
with intake. Medians of BENCH_ROUNDS, the rows in turn. Writes benchmarks/results/noop.md.
"""

import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from systems import COMMAND, INLINE, NOOP, circumstances
from whole import (
    BEHIND,
    Spent,
    cpu_s,
    earlier,
    measured,
    publish,
    table,
    trees,
    turns,
    unused,
    wall_s,
)
from zipped import embedded, scaled, through

ITEMS = int(os.environ.get("BENCH_ITEMS", "50000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1"))
WANTED = os.environ.get("BENCH_ROWS", "*")
TARGET_MS = 1.4
SETTINGS = {
    "BATCHMILL_TIERS_ANONYMOUS_ARCHIVE_ENTRIES": str(ITEMS),
    "BATCHMILL_LOG_LEVEL": "warning",
    "BATCHMILL_CHILDREN": "1",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured: the database, and whether files go through children."""

    database: str
    has_children: bool

    @property
    def name(self) -> str:
        way = "a child a worker" if self.has_children else "inline"
        return f"{self.database}, {way}"


ROWS = [Row(database, way) for database in ("PostgreSQL", "SQLite") for way in (True, False)]


def main() -> None:
    """Let the rows take turns, print and write the table."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL runs as a user of its own
        archive = _archive(Path(name) / "noop.zip")
        rows = {
            f"{row.name}, {when}": partial(_measured, row, tree, archive)
            for when, tree in trees().items()
            for row in ROWS
            if fnmatch(row.name, WANTED) and (row.has_children or when == "now")
        }
        runs = measured(rows, ROUNDS, warm=False)
    publish("noop", _page(runs))


def _archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(ITEMS):
            archive.writestr(zipfile.ZipInfo(f"{number // 1000:04}/{number:07}.csv"), b"a\n")
    return path


def _measured(row: Row, tree: Path, archive: Path) -> Spent:
    folder = unused(archive.parent / "runs")
    running = scaled if row.database == "PostgreSQL" else embedded
    command = COMMAND if row.has_children else INLINE
    with running(tree, folder, command=command, **SETTINGS) as system:
        return through(system, archive, NOOP, files=ITEMS)


def _page(runs: Mapping[str, Sequence[Spent]]) -> str:
    lines = []
    for row in ROWS:
        now, then = (runs.get(f"{row.name}, {when}") for when in ("now", "before"))
        if now:
            line = [row.name, _ms(now), f"{ITEMS / wall_s(now):,.0f}"]
            lines.append([*line, _ms(then) if then else ""] if "before" in trees() else line)
    header = ["database", "CPU ms an item", "items/s"]
    header += ["before: CPU ms an item"] if "before" in trees() else []
    late = [row.name for row in ROWS if row.has_children and _misses(runs, row)]
    return (
        f"# Files of which nothing is asked\n\nMade by `make bench-noop`: a ZIP of {ITEMS:,} files"
        " of two bytes, with intake. CPU is that of all processes and the database."
        f" {turns(ROUNDS)}; {circumstances()}{earlier()}.\n\n"
        f"{table(header, lines)}\n\nThe target through a child is {TARGET_MS} CPU ms an item."
        f" {BEHIND}: {'; '.join(late) or 'none'}.\n"
    )


def _misses(runs: Mapping[str, Sequence[Spent]], row: Row) -> bool:
    now = runs.get(f"{row.name}, now")
    return bool(now) and 1000 * cpu_s(now or ()) / ITEMS > TARGET_MS


def _ms(runs: Sequence[Spent]) -> str:
    return f"{1000 * cpu_s(runs) / ITEMS:.2f}"


if __name__ == "__main__":
    main()
