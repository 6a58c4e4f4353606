"""Where an attempt's bytes come from."""

import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

Stage = Callable[[Path], Awaitable[None]]
"""Makes the bytes appear at a path that does not exist yet; raises `InputLostError`."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to work on. `name` is a label that may hold folders; it is never opened."""

    name: str
    stage: Stage


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` hold the bytes of `source`, without copying them where that is possible.

    A link would let a child that is not confined by Landlock change the original.
    """
    if source.is_symlink():  # a hard link would be one to the link
        source = source.resolve(strict=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
