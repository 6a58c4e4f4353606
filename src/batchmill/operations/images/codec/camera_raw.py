"""Develops camera RAW files with LibRaw. Only the child imports this module.

Full development costs a second of CPU for every 20 megapixels, half the size an eighth of that.
So nothing is developed before it is known which is wanted.
"""

import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from operator import add
from typing import TYPE_CHECKING, BinaryIO

import pyvips

from batchmill.errors.item import OutOfMemoryError, UnreadableFileError
from batchmill.model.limits import Limits
from batchmill.model.media import CR2, CR3, RAF
from batchmill.model.tiff import KIND, SENSOR_KINDS, TiffDirectory, directories
from batchmill.operations.contract import Source
from batchmill.operations.images.codec.bounds import check_size
from batchmill.operations.images.codec.on_demand import on_demand

if TYPE_CHECKING:
    import rawpy

_HALF = 2
_BYTES_PER_PIXEL = 13
"""What LibRaw holds at its most: 2 from the sensor, 4 × 2 while it works, 3 for the result."""

_SRGB_CURVE = (2.4, 12.92)  # power and slope, IEC 61966-2-1
_SIDEWAYS = 4  # a bit of LibRaw's flip
_COMPRESSION, _JPEG = 259, 6
_RAF_SENSOR_AT = 100  # offset and size of the sensor's data
_PIECES = ((273, 279), (324, 325))  # tags of the offsets and sizes of strips and of tiles


def camera_raw(source: Source, limits: Limits, shrink: float) -> pyvips.Image:
    """Return the picture of a camera RAW file: sRGB, upright, half as large if `shrink` allows.

    It is developed when its pixels are first read: camera white balance, brightness stretched
    until 1 % is white. The file's metadata is not taken over.

    Raises:
        UnreadableFileError: LibRaw can't read it, or a part of it is missing.
        TooManyPixelsError: it is over a limit.
        OutOfMemoryError: there is not enough memory to develop it.
    """
    _refuse_cut_off(source)
    with _opened(source) as raw:
        sizes = raw.sizes
    size = sizes.iwidth, sizes.iheight
    size = size[::-1] if sizes.flip & _SIDEWAYS else size
    check_size(source.name, size, limits)
    _refuse_without_memory(source.name, size, limits)
    half = shrink >= _HALF
    made = (math.ceil(size[0] / _HALF), math.ceil(size[1] / _HALF)) if half else size
    return on_demand(made, lambda: _pixels(source, made, half=half))


def _pixels(source: Source, size: tuple[int, int], *, half: bool) -> memoryview:
    with _opened(source) as raw:
        pixels = raw.postprocess(use_camera_wb=True, gamma=_SRGB_CURVE, half_size=half)
    if pixels.shape != (*size[::-1], 3):
        # sensors with oblong or tilted pixels, last built in 2007: LibRaw stretches and turns
        raise UnreadableFileError(source.name, "its sensor has pixels that are not square")
    return pixels.data.cast("B")


@contextmanager
def _opened(source: Source) -> "Iterator[rawpy.RawPy]":
    import rawpy

    try:
        with rawpy.imread(str(source.path)) as raw:
            yield raw
    except rawpy.LibRawError as error:
        reason = "LibRaw can't read it: it is damaged, or of a camera that is not known yet"
        raise UnreadableFileError(source.name, reason, detail=str(error)) from error


def _refuse_without_memory(name: str, size: tuple[int, int], limits: Limits) -> None:
    """Ask for the memory of a full development, and give it back untouched."""
    try:
        mmap.mmap(-1, size[0] * size[1] * _BYTES_PER_PIXEL).close()
    except OSError as error:
        raise OutOfMemoryError(name, limits.memory_bytes) from error


# ---------------------------------------------------------------- what is missing


def _refuse_cut_off(source: Source) -> None:
    """Refuse a file that ends before its sensor data does, which LibRaw takes without a word."""
    with source.path.open("rb") as file:
        end = max(_ends(source, file), default=0)
    if end > source.bytes:
        reason = "it ends too early, a part of the file is missing"
        raise UnreadableFileError(source.name, reason)


def _ends(source: Source, file: BinaryIO) -> Iterator[int]:
    """Yield where parts of the file end that it can't be developed without."""
    if source.media is RAF:
        yield sum(struct.unpack(">2I", _read(file, _RAF_SENSOR_AT, 8).ljust(8, b"\0")))
    elif source.media is CR3:
        yield from _box_ends(file)
    else:
        for directory in directories(file):
            if _describes_sensor(directory, source):
                yield from _piece_ends(directory)


def _describes_sensor(directory: TiffDirectory, source: Source) -> bool:
    if source.media is CR2:
        return directory.number(_COMPRESSION) == _JPEG
    return directory.number(KIND) in SENSOR_KINDS


def _piece_ends(directory: TiffDirectory) -> Iterator[int]:
    for offsets, sizes in _PIECES:
        starts, lengths = directory.numbers.get(offsets, ()), directory.numbers.get(sizes, ())
        yield from map(add, starts, lengths)


def _box_ends(file: BinaryIO) -> Iterator[int]:
    """Yield the ends of the outermost boxes of an ISO media file (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while len(head := _read(file, at, 16)) == 16:  # noqa: PLR2004
        size, _kind, long_size = struct.unpack(">I4sQ", head)
        size = long_size if size == 1 else size
        if size < 8:  # noqa: PLR2004 - 0 is a box to the end of the file; less is damage
            return
        at += size
        yield at


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
