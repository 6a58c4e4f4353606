"""Takes outputs out of a child's folder, into files that the child has never had open.

A rename would not do: a hijacked child keeps its descriptors and hard links, and could change a
file that was answered for, measured and handed on. So bytes are copied, and measured on the way.
"""

import hashlib
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from batchmill.errors.item import ChildCrashedError
from batchmill.model.item import Output
from batchmill.sandbox.messages import OUT, Job
from batchmill.storage import disk

SMALL_BYTES: Final = 2**18
"""Copying so much takes less than handing it to a thread."""
FEW: Final = 16
"""And so many files."""
MOST: Final = 10_000
"""More outputs of one job are refused."""
MOST_BYTES: Final = 8 * 2**30
"""More bytes of all outputs of one job are refused, as of one file in the child."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def take(outputs: Sequence[Output], inside: Job, folder: str) -> tuple[Output, ...]:
    """Move the outputs of the job `inside` a child to `folder`, and return what they are.

    Size and checksums are of the bytes that were copied, whatever the child says of them. No link
    is followed.

    Raises:
        ChildCrashedError: the report names something that is not there as it says.
        StorageFullError: there is no room for the copies.
    """
    taken = []
    if len(outputs) > MOST or sum([each.bytes for each in outputs]) > MOST_BYTES:
        raise ChildCrashedError(inside.name, "it made too much")
    try:
        # Step by step: the child may have put links in the place of its folders.
        job = os.open(inside.folder, _FOLDER)
        try:
            out = os.open(OUT, _FOLDER, dir_fd=job)
        finally:
            os.close(job)
        try:
            for each in outputs:
                taken.append(_copied(each, out, f"{folder}/{each.name}"))
                os.unlink(each.name, dir_fd=out)  # now: the next file here is made in its place
        finally:
            os.close(out)
    except (OSError, ValueError) as error:  # the second: a name that no file can have
        raise ChildCrashedError(inside.name, "its outputs are not what it reported") from error
    return tuple(taken)


def _copied(output: Output, out: int, target: str) -> Output:
    """Copy an output that lies in an open folder, and return what it is.

    Raises:
        OSError: it is not what it is said to be.
    """
    if "/" in output.name or output.name in {"", ".", ".."}:
        raise FileNotFoundError(output.name)
    sha256, crc32, count = hashlib.sha256(), 0, 0
    source = os.open(output.name, _FILE, dir_fd=out)
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_size != output.bytes:
            raise FileNotFoundError(output.name)
        with disk.full_disk_reported(), disk.create(target) as copy:
            while count <= output.bytes and (piece := os.read(source, disk.PIECE_BYTES)):
                sha256.update(piece)
                crc32, count = zlib.crc32(piece, crc32), count + len(piece)
                copy.write(piece)
    finally:
        os.close(source)
    if count != output.bytes:
        raise FileNotFoundError(output.name)
    return replace(output, sha256=sha256.hexdigest(), crc32=crc32)
