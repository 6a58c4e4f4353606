"""Describes the files that an operation has made."""

from pathlib import Path

from batchmill.model.item import Output


def row(
    path: Path,
    media_type: str,
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
) -> Output:
    """Return the output row of a finished file; `size` is width and height in px.

    Its checksums are those of the bytes that are taken out of the child, and made there.
    """
    width, height = size or (None, None)
    return Output(
        name=path.name,
        bytes=path.stat().st_size,
        media_type=media_type,
        width=width,
        height=height,
        frames=frames,
    )
