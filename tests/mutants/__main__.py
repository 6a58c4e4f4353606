"""Breaks the product one line at a time and fails where no test notices.

    make mutants                        all of them
    make mutants MUTANTS='lease-*'      those whose names match

A list of mutants is a module beside this one with the tuple `MUTANTS` (see `mutant.py` for the
fields). Each mutant has a copy of the tree of its own; the work tree is never changed. First the
named tests have to pass on a copy that is not broken, so that what kills is the mutant.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import cache_from_source
from pathlib import Path

from mutants import child
from mutants.mutant import Mutant, UnusableError, listed

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "node_modules")
"""Not needed by a test; all folders of tools start with a dot."""
TEST_S = 90
"""A mutant may make a test wait without end; it fails after this time."""
RUN_S = 900
PASSED, FAILED = 0, 1
"""What pytest's process returns; all else says that the tests did not run."""

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(list(child.PRELOADED))

# Appended to the broken file: it tells that this file was imported, not the one that is installed.
_SENTINEL = """

with __import__("contextlib").suppress(OSError):
    open({path!r}, "x").close()
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant; `is_fine` unless it survived or could not be tried."""

    mutant: Mutant
    is_fine: bool
    text: str
    took_s: float = 0.0


def main() -> int:
    """Try the mutants that are asked for; return 1 if one survived or could not be tried."""
    arguments = _arguments()
    started = time.monotonic()
    try:
        chosen = _chosen(arguments.names)
        for each in chosen:
            each.broken((ROOT / each.file).read_text(encoding="utf-8"))
        for on_servers in (False, True):
            some = (each for each in chosen if each.on_servers is on_servers)
            tests = sorted({test for each in some for test in each.tests})
            _refuse_failing_tests(tests, on_servers=on_servers)
    except UnusableError as error:
        print(error)
        return 1
    with ThreadPoolExecutor(arguments.jobs) as pool:
        verdicts = []
        for verdict in pool.map(_tried, chosen):
            verdicts.append(verdict)
            print(_row(verdict), flush=True)
    bad = sum(not each.is_fine for each in verdicts)
    same = sum(bool(each.equivalent) for each in chosen)
    killed = len(chosen) - same - bad
    print(
        f"{len(chosen)} mutants: {killed} killed, {same} equivalent, {bad} survived or not tried;"
        f" {time.monotonic() - started:.0f} s"
    )
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("names", nargs="?", default="*", help="names to try, as * and ? match them")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="mutants tried at once")
    return parser.parse_args()


def _chosen(pattern: str) -> Sequence[Mutant]:
    """Return the mutants whose names match.

    Raises:
        UnusableError: none does, or two have one name.
    """
    chosen = [each for each in listed() if fnmatchcase(each.name, pattern)]
    if not chosen:
        raise UnusableError(f"No mutant has a name like {pattern}.")
    return chosen


def _refuse_failing_tests(tests: Sequence[str], *, on_servers: bool) -> None:
    """Run tests on a copy that is not broken; no tests pass.

    Raises:
        UnusableError: one fails, or can't be run.
    """
    if not tests:
        return
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        code, said = _run(_copied(Path(folder)), tests, on_servers=on_servers)
    if code != PASSED:
        raise UnusableError(f"{said}\nThe tests have to pass before anything is broken.")


def _tried(mutant: Mutant) -> Verdict:
    if mutant.equivalent:
        return Verdict(mutant, True, f"equivalent: {mutant.equivalent}")
    verdict = partial(Verdict, mutant)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree, seen = _copied(Path(folder)), Path(folder) / "imported"
        path = tree / mutant.file
        text = mutant.broken(path.read_text(encoding="utf-8"))
        path.write_text(text + _SENTINEL.format(path=str(seen)), encoding="utf-8")
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        code, said = _run(tree, mutant.tests, on_servers=mutant.on_servers)
        imported = seen.exists()
    took_s = time.monotonic() - started
    if not imported:
        return verdict(False, f"NOT TRIED: no test imports the file\n{said}", took_s)
    if code == PASSED:
        return verdict(False, f"SURVIVED: {mutant.breaks}", took_s)
    killer = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", said, re.MULTILINE)
    if code != FAILED or killer is None:
        return verdict(False, f"NOT TRIED: the tests did not run\n{said}", took_s)
    return verdict(True, killer[1], took_s)


def _copied(folder: Path) -> Path:
    """Copy the tree; what is compiled stays valid, because times are kept."""
    return shutil.copytree(ROOT, folder / "tree", ignore=LEFT_OUT, symlinks=True)


def _run(tree: Path, tests: Sequence[str], *, on_servers: bool) -> tuple[int, str]:
    """Run tests of a tree with the product of that tree; return how it ended and what it said."""
    told = tree.with_name("told")
    how = {"test_s": TEST_S, "on_servers": on_servers}
    process = _PROCESSES.Process(target=child.run, args=(tree, told, tests), kwargs=how)
    process.start()
    process.join(RUN_S)
    if process.exitcode is None:
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    return process.exitcode or 0, told.read_text(encoding="utf-8")


def _row(verdict: Verdict) -> str:
    return f"{verdict.mutant.name:40} {verdict.took_s:5.0f} s  {verdict.text}"


if __name__ == "__main__":
    sys.exit(main())
