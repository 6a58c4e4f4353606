"""The environment of the processes that tests start."""

import os
from pathlib import Path

from support.faulty import PLUGIN

SOURCE = Path(__file__).parents[2] / "src"


def environment(**more: str) -> dict[str, str]:
    """The environment of this process, with the source and the misbehaving operations."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}
    return {**ours, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(PLUGIN)]), **more}
