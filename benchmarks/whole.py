"""What a command costs: its wall time, and the CPU of every process that came of it.

Wall time ends with the command itself, as a person waits for it. CPU is user + system of all its
descendants until the last has gone: this process adopts those that outlive their parents.
"""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from systems import PEER, PLUGIN, install_peer

from batchmill.sandbox import child_environment

HERE = Path(__file__).parent
ROOT = HERE.parent
BOX = 1024
QUALITY = 80
BEFORE = os.environ.get("BENCH_BEFORE")
SHARP_CLI = "sharp-cli@5.2.0"
LIMIT_S = 600
"""No command and no batch takes so long: one that does is stuck."""
RESULTS = HERE / "results"
LOST = RESULTS / "behind.md"
BEHIND = "**Behind**"
_ADOPT_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER, of <linux/prctl.h>."""
_GONE_WITHIN_S = 30


@dataclass(frozen=True, slots=True)
class Spent:
    """What a command took, and what it printed."""

    wall_s: float
    cpu_s: float
    told: str = ""


Rows = Mapping[str, Callable[[], Spent]]
"""What is measured, by the name that the table has for it."""


@cache
def trees() -> Mapping[str, Path]:
    """Return the checkouts that are compared, all compiled: now, and BENCH_BEFORE if it is set."""
    found = {"now": ROOT} | ({"before": Path(BEFORE).resolve()} if BEFORE else {})
    for tree in found.values():
        compiling = [sys.executable, "-m", "compileall", "-q", str(tree / "src")]
        subprocess.run(compiling, check=True)
    return found


def earlier() -> str:
    """Say which commit stands beside this one, if one does."""
    if not BEFORE:
        return ""
    command = ["git", "-C", BEFORE, "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"; before: commit {done.stdout.strip() or 'unknown'}"


def package(tree: Path, *, plugin: bool = False) -> dict[str, str]:
    """Return the environment in which Python finds the package of a checkout, and its plug-in."""
    own = tree / PLUGIN.relative_to(ROOT)
    found = f"{tree / 'src'}:{own}" if plugin else str(tree / "src")
    return {**os.environ, "PYTHONPATH": found}


def batchmill(tree: Path, *arguments: str) -> Spent:
    """Run the command line of a checkout to its end."""
    return whole([sys.executable, "-m", "batchmill", *arguments], package(tree))


def floor(tree: Path, files: Sequence[Path], out: Path, *more: str, at_once: int = 1) -> Spent:
    """Put files through our own decode and encode, in as many bare processes."""
    lists = [listed(files[part::at_once], out / f"{part}.txt") for part in range(at_once)]
    script = [sys.executable, str(HERE / "floor.py"), str(out), *more]
    environment = child_environment.environment(package(tree))
    environment.pop("PYTHONDONTWRITEBYTECODE")
    if at_once > 1:
        together = listed(lists, out / "lists.txt")
        script = ["xargs", "-a", str(together), f"-P{at_once}", "-n1", *script]
        return whole(script, {**os.environ, **environment})
    return whole([*script, str(lists[0])], environment)


def sharp(groups: Mapping[str, Sequence[Path]], out: Path, kind: str) -> Spent:
    """Put files through sharp, two in flight."""
    install_peer()
    return whole(["node", str(HERE / "loop.mjs"), str(PEER), str(_job(groups, out, kind, 2))])


def pillow(
    groups: Mapping[str, Sequence[Path]], out: Path, kind: str, *, at_once: int = 2
) -> Spent:
    """Put files through Pillow, in as many processes."""
    job = _job(groups, out, kind, at_once)
    return whole([sys.executable, str(HERE / "pillow_loop.py"), str(job)])


def _job(groups: Mapping[str, Sequence[Path]], out: Path, kind: str, at_once: int) -> Path:
    """Write what a peer's loop is to do; return the file."""
    (out / "out").mkdir(parents=True, exist_ok=True)
    given = {name: list(map(str, files)) for name, files in groups.items()}
    job = {"kind": kind, "out": str(out / "out"), "at_once": at_once, "groups": given}
    path = out / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def unused(folder: Path) -> Path:
    """Make a folder for a row's results. None is removed before the end of a benchmark.

    ext4 looks at each inode that was freed in the last five minutes before it gives out another
    (`recently_deleted` in fs/ext4/ialloc.c): after a few thousand, a new file takes 0.3 ms where
    it takes 0.03.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder))
    made.chmod(0o755)  # sandboxed children look for theirs below it
    return made


def listed(paths: Sequence[Path], at: Path) -> Path:
    """Write paths to a file, one a line; return the file."""
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    return at


def whole(
    command: Sequence[str], env: Mapping[str, str] | None = None, *, may_fail: bool = False
) -> Spent:
    """Run a command until none of its processes is left."""
    ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    others = _children()
    before_s = _children_s()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=env
        )
        try:
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SystemExit(f"{' '.join(command)[:500]} took over {LIMIT_S} s") from None
        wall_s = time.perf_counter() - began
        _wait_for_all(but=others)
        for file in (out, errors):
            file.seek(0)
        if status and not may_fail:
            raise SystemExit(f"{' '.join(command)[:500]} ended with {status}: {errors.read()}")
        return Spent(wall_s, _children_s() - before_s, out.read())


def _wait_for_all(but: Set[int]) -> None:
    """Wait until this process has no child, its own or adopted, but those of before."""
    until = time.monotonic() + _GONE_WITHIN_S
    while left := _children() - but:
        if not any(os.waitpid(pid, os.WNOHANG)[0] for pid in left):
            if time.monotonic() > until:
                raise SystemExit(f"processes are still there after {_GONE_WITHIN_S} s: {left}")
            time.sleep(0.002)


def _children() -> Set[int]:
    """Return the processes whose parent this one is."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ---------------------------------------------------------------- rounds and tables


def measured(rows: Rows, rounds: int, *, warm: bool = True) -> dict[str, list[Spent]]:
    """Let the rows take turns; a first round that does not count loads files and caches."""
    found: dict[str, list[Spent]] = {name: [] for name in rows}
    for number in range(0 if warm else 1, rounds + 1):
        for name in list(rows)[:: -1 if number % 2 else 1]:
            spent = rows[name]()
            if number:
                found[name].append(spent)
                print(f"{number} {name}: {spent.wall_s:.3f} s, CPU {spent.cpu_s:.3f} s", flush=True)
    return found


def turns(rounds: int) -> str:
    """Say how often was measured."""
    return f"Medians of {rounds} rounds, the rows in turn" if rounds > 1 else "One round"


def cpu_s(runs: Sequence[Spent]) -> float:
    """Return the median CPU of some runs."""
    return statistics.median(run.cpu_s for run in runs)


def wall_s(runs: Sequence[Spent]) -> float:
    """Return the median wall time of some runs."""
    return statistics.median(run.wall_s for run in runs)


def table(header: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def against(ours: str, spent: Mapping[str, float], peers: Sequence[str]) -> str:
    """Say by how much we are ahead of which peers, and behind which; nothing without peers."""
    ratios = {peer: spent[peer] / spent[ours] for peer in peers if peer in spent}
    ahead = [f"{peer} ({ratio:.2f} ×)" for peer, ratio in ratios.items() if ratio >= 1]
    behind = [f"{peer} ({ratio:.2f} ×)" for peer, ratio in ratios.items() if ratio < 1]
    said = f"Ahead of: {', '.join(ahead) or 'none'}. {BEHIND}: {', '.join(behind) or 'none'}."
    return said if ratios else ""


def publish(name: str, text: str) -> None:
    """Print a result, write it where results are kept, and collect where others are ahead."""
    print(text)
    (RESULTS / f"{name}.md").write_text(text.strip() + "\n", encoding="utf-8")
    pages = [path for path in sorted(RESULTS.glob("*.md")) if path != LOST]
    found = [part for path in pages if (part := _behind(path))]
    note = "Sentences of the results, collected by the benchmarks. A ratio is theirs ÷ ours."
    text = "\n\n".join([f"# Where others are ahead\n\n{note}", *found])
    LOST.write_text(text + "\n", encoding="utf-8")


def _behind(page: Path) -> str:
    """Return what a result says of peers that are ahead, under its title; empty when none is."""
    title, heading, found = "", "", []
    for line in page.read_text(encoding="utf-8").splitlines():
        title = title or line.removeprefix("# ")
        heading = line.removeprefix("## ") + ": " if line.startswith("## ") else heading
        if BEHIND in line and f"{BEHIND}: none" not in line:
            found.append(f"- {heading}{line}")
    return "\n".join([f"## [{title}]({page.name})\n", *found]) if found else ""


# ---------------------------------------------------------------- peers


def sharp_cli() -> Sequence[str]:
    """Return the command of sharp-cli, which is fetched below build unless it is there."""
    folder = ROOT / "build" / "sharp-cli"
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", SHARP_CLI]
        subprocess.run(command, cwd=folder, check=True)
    return ["node", str(folder / "node_modules" / "sharp-cli" / "bin" / "cli.js")]


def version(*command: str, word: int = 0) -> str:
    """Return one word of what a program says of its version; `none` where it is not there."""
    if shutil.which(command[0]) is None:
        return "none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split()[word]


def module_version(folder: Path) -> str:
    """Return the version of an installed Node package."""
    told = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    return str(told["version"])
