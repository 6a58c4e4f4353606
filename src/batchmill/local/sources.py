"""What `process_batch` takes as a file: a path, bytes, a file object, or a name with any of these.

Bytes and file objects are read when the file's turn comes, and again by each further attempt.
"""

import os
from collections.abc import Generator, Iterable
from functools import partial
from io import TextIOBase
from pathlib import Path, PurePath
from threading import Lock
from typing import Any, BinaryIO, TypeAlias

from batchmill.errors.item import UnreadableFileError
from batchmill.errors.request import UsageError
from batchmill.local.inputs import LocalInput, one_file
from batchmill.model.filenames import label
from batchmill.storage.disk import PIECE_BYTES

Content: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
Source: TypeAlias = Content | tuple[str, Content]


def to_inputs(files: Iterable[Source]) -> list[LocalInput]:
    """Describe each file; bytes without a name are called `file-1`, `file-2` … by their place.

    Raises:
        UsageError: one is nothing that bytes can be read from, or `files` is itself one file.
    """
    alone = isinstance(files, str | os.PathLike | bytes | bytearray | memoryview)
    if alone or hasattr(files, "read"):
        raise UsageError("`files` is a single file; give a list, even of one.")
    streams: dict[int, _Stream] = {}
    return [_to_input(file, number, streams) for number, file in enumerate(files, start=1)]


class _Stream:
    """A file object, read from where it stood; what can't go back there is kept in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = _position(file)
        self._kept: bytes | None = None
        self._lock = Lock()

    def pieces(self, name: str) -> Generator[bytes, None, None]:
        """Yield all bytes; one caller at a time.

        Raises:
            UnreadableFileError: the object raises something, or gives no bytes.
        """
        with self._lock:
            try:
                if self._start is None:
                    self._kept = bytes(self._file.read()) if self._kept is None else self._kept
                    yield self._kept
                    return
                self._file.seek(self._start)
                while piece := self._file.read(PIECE_BYTES):
                    yield bytes(piece)
            except Exception as error:  # an object of any kind: it costs only its own file
                raise UnreadableFileError(name, f"its file object says: {error}") from error


def _to_input(file: Source, number: int, streams: dict[int, _Stream]) -> LocalInput:
    content: Any = file
    name = None
    if isinstance(file, tuple) and len(file) == 2 and isinstance(file[0], str):  # noqa: PLR2004 - a pair
        name, content = label(file[0]), file[1]
    if isinstance(content, str | os.PathLike):
        return one_file(Path(content), name)
    if isinstance(content, bytes | bytearray | memoryview):
        held = bytes(content)
        name = name or f"file-{number}"
        return LocalInput(Path(name), name, len(held), read=partial(_whole, held))
    if hasattr(content, "read") and not isinstance(content, TextIOBase):
        stream = streams.setdefault(id(content), _Stream(content))
        name = name or _own_name(content) or f"file-{number}"
        return LocalInput(Path(name), name, read=partial(stream.pieces, name))
    raise UsageError(
        f"File {number} is a {type(content).__name__}; give a path, bytes, a file object that was"
        " opened with 'rb', or (name, bytes)."
    )


def _whole(content: bytes) -> Generator[bytes, None, None]:
    yield content


def _position(file: BinaryIO) -> int | None:
    """Return where a file object stands; None where it can't be read twice, or not at all."""
    try:
        return file.tell() if file.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None


def _own_name(file: BinaryIO) -> str | None:
    name = getattr(file, "name", None)  # a number for files without a name
    return label(PurePath(name).name) if isinstance(name, str) else None
