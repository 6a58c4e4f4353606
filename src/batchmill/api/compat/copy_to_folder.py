"""Copies every face crop into the folder that `photos.output_dir` names, beside the storage.

Others read them there: a file is as open as the folder is.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from batchmill.errors.item import OutputUnwritableError
from batchmill.model.item import ItemId
from batchmill.service.family_rules import AfterAttempt


def copies_to(folder: Path | None) -> AfterAttempt | None:
    """Return what copies the files of each attempt into `folder`; None without a folder."""
    return None if folder is None else partial(copy_to_folder, folder)


async def copy_to_folder(folder: Path, item_id: ItemId, name: str, files: Sequence[Path]) -> None:
    """Copy an attempt's files as `<item>.jpg`, `<item>-2.jpg` …; a repeat replaces them.

    Raises:
        OutputUnwritableError: the folder can't be written to.
    """
    try:
        await asyncio.to_thread(_copy, folder, item_id, files)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputUnwritableError(f"The crop of {name}", reason) from error


def _copy(folder: Path, item_id: ItemId, files: Sequence[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o666
    for number, file in enumerate(files, start=1):
        name = f"{item_id}{f'-{number}' if number > 1 else ''}{file.suffix}"
        unfinished = folder / f".{name}.part"
        shutil.copyfile(file, unfinished)
        unfinished.chmod(mode)
        unfinished.replace(folder / name)
