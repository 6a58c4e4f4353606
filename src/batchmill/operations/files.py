"""Describes finished files: bytes and checksums, read once."""

import hashlib
import zlib
from pathlib import Path

from batchmill.model.item import Output

_CHUNK_BYTES = 2**20


def row(
    path: Path,
    media_type: str,
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
) -> Output:
    """Return the output row of a finished file; `size` is width and height in px."""
    sha256, crc32, count = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            count += len(chunk)
    width, height = size or (None, None)
    return Output(
        name=path.name,
        bytes=count,
        media_type=media_type,
        sha256=sha256.hexdigest(),
        crc32=crc32,
        width=width,
        height=height,
        frames=frames,
    )
