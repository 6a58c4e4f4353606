"""Copies every face crop into the folder that `photos.output_dir` names, beside the storage.

Each batch has a folder there, and in it a crop keeps folder and name of its photo. Others read
them: a file is as open as the folder is.
"""

import asyncio
import errno
import filecmp
import os
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from batchmill.attempt.run import Finished
from batchmill.errors.item import OutputUnwritableError
from batchmill.model.item import Claim
from batchmill.service.family_rules import AfterAttempt

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""What systems say that know no second name of a file, as some shares."""


def copies_to(folder: Path | None) -> AfterAttempt | None:
    """Return what copies the files of each attempt into `folder`; None without a folder."""
    return None if folder is None else partial(copy_to_folder, folder)


async def copy_to_folder(folder: Path, claim: Claim, name: str, finished: Finished) -> None:
    """Copy an attempt's files as `<batch>/<folder>/<name>`; a repeat changes nothing.

    Of several photos of one name each is kept: the second as `<name>-2`.

    Raises:
        OutputUnwritableError: the folder can't be written to.
    """
    try:
        await asyncio.to_thread(_copy, folder, claim, finished)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputUnwritableError(f"The crop of {name}", reason) from error


def _copy(folder: Path, claim: Claim, finished: Finished) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    for output, file in zip(finished.result.outputs, finished.files, strict=True):
        relative = Path(claim.batch_id, output.name)
        for parent in reversed(relative.parents[:-1]):
            _make_folder(folder / parent, mode & 0o777)
        wanted = folder / relative
        unfinished = wanted.with_name(f".{claim.item_id}.part")
        shutil.copyfile(file, unfinished)
        unfinished.chmod(mode & 0o666)
        _place(unfinished, wanted)


def _make_folder(folder: Path, mode: int) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(mode)


def _place(unfinished: Path, wanted: Path) -> None:
    """Give a finished file the first name that is free, or has these very bytes already."""
    for path in _names(wanted):
        try:
            os.link(unfinished, path)
        except FileExistsError:
            if not filecmp.cmp(unfinished, path, shallow=False):
                continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists() and not filecmp.cmp(unfinished, path, shallow=False):
                continue
            unfinished.replace(path)
            return
        unfinished.unlink()
        return


def _names(wanted: Path) -> Iterator[Path]:
    yield wanted
    for number in count(2):
        yield wanted.with_stem(f"{wanted.stem}-{number}")
