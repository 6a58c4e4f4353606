"""What we keep is for this user alone: folders 0700, files 0600, from the moment they exist."""

import os
import stat
from pathlib import Path

MASK = 0o077


def keep_new_files_private() -> None:
    """Let this process and its children make nothing that others may read.

    For commands that look after a data folder; `batchmill run` writes what is the user's own.
    """
    os.umask(MASK)


def make_folder(folder: Path) -> bool:
    """Make a folder with its parents, and close one of ours to others; say whether that was new.

    A folder that belongs to another user (a mounted volume) stays as it is.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid() or not found.st_mode & MASK:
        return False
    folder.chmod(stat.S_IMODE(found.st_mode) & ~MASK)
    return True
