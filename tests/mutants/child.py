"""Runs tests of a tree in a process that has all packages but the product's own already."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PRELOADED = (
    "mutants.child",
    "_hypothesis_pytestplugin",
    "alembic.command",
    "anyio.pytest_plugin",
    "httpx",
    "hypothesis.stateful",
    "numpy",
    "pydantic_settings",
    "pytest_cov.plugin",
    "pytest_timeout",
    "pyvips",
    "sqlalchemy.orm",
    "xdist.plugin",
)
"""Importing these takes longer than most runs; what is not there is left out."""
OPTIONS = ("-x", "-q", "-rfE", "--tb=line", "--no-header", "-W", "ignore::pytest.PytestWarning")


def run(tree: Path, told: Path, tests: Sequence[str], *, test_s: int, on_servers: bool) -> None:
    """Run tests up to the first failure, write what pytest says to `told`, and exit as it would.

    With `on_servers` they run as in the long ring: over all databases.
    """
    os.setsid()
    with told.open("wb") as target:
        for stream in (1, 2):
            os.dup2(target.fileno(), stream)
    os.chdir(tree)
    ours = [str(tree / "src"), str(tree / "tests")]
    # Both stand before what is installed, which may be the work tree itself; also for children.
    sys.path[:0] = ours
    os.environ |= {"PYTHONPATH": os.pathsep.join(ours), "COLUMNS": "400"}
    if on_servers:
        os.environ["BATCHMILL_TEST_ALL"] = "1"
    code = pytest.main([*OPTIONS, "-o", f"timeout={test_s}", *tests])
    sys.stdout.flush()
    os._exit(code)
