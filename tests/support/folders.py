"""What lies in folders that others change meanwhile."""

import os
from pathlib import Path


def files_below(*folders: Path) -> list[Path]:
    """Return every file below some folders, sorted; what goes while one looks is left out.

    `Path.rglob` raises where a folder that it has listed is gone when it comes to it.
    """
    walked = (step for folder in folders for step in os.walk(folder))
    paths = (Path(at) / name for at, _, names in walked for name in names)
    return sorted(path for path in paths if path.is_file())
