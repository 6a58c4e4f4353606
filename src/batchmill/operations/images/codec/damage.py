"""Says in plain words what a decoder's error means for a file."""

import re

from batchmill.errors.base import BatchmillError
from batchmill.errors.item import OperationFailedError, OutOfMemoryError, UnreadableFileError
from batchmill.errors.outage import StorageFullError
from batchmill.model.limits import Limits


def translated(error: Exception, name: str, step: str, limits: Limits) -> BatchmillError:
    """Return what a person should know about an error of libvips or a decoder.

    `step` is where it happened; "open" is always the file's own fault.
    """
    text = str(error)
    if _OUT_OF_MEMORY.search(text):
        return OutOfMemoryError(name, limits.memory_bytes)
    if _DISK_FULL.search(text):
        return StorageFullError()
    if _CUT_OFF.search(text):
        reason = "it ends too early, a part of the file is missing"
        return UnreadableFileError(name, reason, detail=text)
    if step == "open" or _DECODER.search(text):
        return UnreadableFileError(name, "its data is damaged", detail=text)
    return OperationFailedError(name, step, detail=text)


_OUT_OF_MEMORY = re.compile(
    r"(?i)out of memory(?! reading of)|unable to allocate|cannot allocate|insufficient memory"
    r"|allocating \d+ bytes failed|creating thread: resource temporarily unavailable"
)
_DISK_FULL = re.compile(r"(?i)no space left")
_CUT_OFF = re.compile(r"(?i)premature|truncat|unexpected end|end of (file|data)|bad seek")
_DECODER = re.compile(
    r"(?im)^\s*(VipsJpeg|vipspng|libspng|webp|webp2vips|gifload|tiff2vips|heif|heifload|\w+load)\b"
)
"""How a line of libvips' error text begins that tells of the file and not of our request.

libpng's warnings leave no such line, and libtiff calls a tag with an absurd count "out of memory
reading of" that tag.
"""
