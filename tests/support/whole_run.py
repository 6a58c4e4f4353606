"""What holds for a whole run of tests, as a plugin of pytest: its end, and what it left out."""

import faulthandler
import gc
import os
import sys
from collections import Counter

import pytest

from support import parts, ring


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("batchmill").addoption(
        "--run-limit-s",
        type=float,
        default=2_400.0,
        help="end the whole run after this time, with the stacks of all its threads",
    )


def pytest_configure(config: pytest.Config) -> None:
    _watch(config.getoption("--run-limit-s"), config)


def _watch(limit_s: float, config: pytest.Config) -> None:
    """End this process when the run takes too long: a run that hangs tells nothing.

    Workers end first, so that their stacks are seen too.
    """
    worker = hasattr(config, "workerinput")
    stderr = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    faulthandler.dump_traceback_later(limit_s + (0 if worker else 20), exit=True, file=stderr)
    config.add_cleanup(faulthandler.cancel_dump_traceback_later)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what takes long to the long ring, but run what is asked for by its name."""
    if ring.ALL or any("::" in each for each in config.args):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(parts.long_ring)


def pytest_collection_finish() -> None:
    """Spare the tests and the processes that they fork a look at all that collecting left."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested, and how to have it tested."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number} skipped, {reason}")
