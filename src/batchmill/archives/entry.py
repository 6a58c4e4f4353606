"""Unpacks one entry of a ZIP archive from exactly its range, checking what it claims.

The bytes come from `Storage.read` (one ranged request) or from a local archive. A declared size
is a promise that the entry must keep, so nothing ever produces more than it declared.
"""

import bz2
import lzma
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import ParamSpec, Protocol

from isal import igzip_lib, isal_zlib

from batchmill.archives.index import BZIP2, DEFLATED, DISAGREES, ENCRYPTED, LZMA, STORED
from batchmill.errors.amounts import size
from batchmill.errors.item import (
    EncryptedFileError,
    InputLostError,
    UnpacksTooLargeError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from batchmill.model.item import ArchiveEntry, Input
from batchmill.model.limits import Limits
from batchmill.storage import disk

P = ParamSpec("P")

SMALL_BYTES = 2**18
"""Unpacking so much takes less than handing it to a thread."""
RATIO_FROM_BYTES = 10_000_000
"""Up to this size an entry may be any number of times larger than packed."""

_IGZIP_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # wrong stub
_BROKEN = (_IGZIP_ERROR, lzma.LZMAError, OSError, EOFError, ValueError)
_LZMA_HEAD = 9
_LZMA_MOST_DICTIONARY_BYTES = 64 * 2**20


async def unpack_entry(
    pieces: AsyncIterator[bytes], source: Input, target: Path, *, limits: Limits
) -> None:
    """Write the file that `pieces`, the whole range of `source.entry`, hold to the new `target`.

    What is large is inflated, checked and written in a thread; on an error there is no target.

    Raises:
        EncryptedFileError, UnsupportedTypeError, UnpacksTooLargeError, UnreadableFileError:
            this entry can't be used; the others of its archive can.
        InputLostError: the range ends early: the stored archive is damaged.
        StorageFullError: no space for `target`.
    """
    unpacking = _Unpacking(source, target, limits)
    is_small = max(source.bytes, unpacking.entry.compressed_bytes) <= SMALL_BYTES
    run = _at_once if is_small else disk.in_thread
    try:
        async for piece in pieces:
            await run(unpacking.feed, piece)
        await run(unpacking.finish)
    except BaseException:
        await run(unpacking.discard)
        raise


async def _at_once(call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    call(*args, **kwargs)


def unpack_local(archive: Path, source: Input, target: Path, *, limits: Limits) -> None:
    """Do what `unpack_entry` does with an archive of this machine, blocking."""
    unpacking = _Unpacking(source, target, limits)
    file = disk.open_regular(archive)
    try:
        at, end = unpacking.entry.offset, unpacking.entry.offset + unpacking.entry.compressed_bytes
        while piece := os.pread(file, min(disk.PIECE_BYTES, end - at), at):
            unpacking.feed(piece)
            at += len(piece)
        unpacking.finish()
    except BaseException:
        unpacking.discard()
        raise
    finally:
        os.close(file)


class _Unpacking:
    """One entry on its way to `target`; used by one thread at a time."""

    def __init__(self, source: Input, target: Path, limits: Limits) -> None:
        self.entry = _acceptable(source, limits)
        self._source = source
        self._target = target
        self._decoder = _DECODERS[self.entry.method]()
        self._file: FileIO | None = None
        self._packed_bytes = 0
        self._bytes = 0
        self._crc32 = 0

    def feed(self, piece: bytes) -> None:
        """Inflate a piece and write what comes out, a mebibyte at a time."""
        self._packed_bytes += len(piece)
        body = self._inflate(piece)
        self._write(body)
        while not (self._decoder.eof or self._decoder.needs_input) and body:
            body = self._inflate(b"")
            self._write(body)

    def finish(self) -> None:
        """Check that everything that was declared came, and close the target."""
        self._write(b"")
        if self._packed_bytes != self.entry.compressed_bytes:
            raise InputLostError(self._source.name)
        if self._bytes != self._source.bytes:
            raise self._unreadable("it unpacks to fewer bytes than its archive declares")
        if self._crc32 != self.entry.crc32:
            raise self._unreadable("its checksum is not the one in its archive")
        self._close()

    def discard(self) -> None:
        """Remove the target; never raises."""
        if self._file is not None:
            self._close()
            with suppress(OSError):
                self._target.unlink()

    def _inflate(self, piece: bytes) -> bytes:
        try:
            return self._decoder.decompress(piece, disk.PIECE_BYTES)
        except _BROKEN as error:
            raise self._unreadable("its packed bytes are damaged") from error

    def _write(self, body: bytes) -> None:
        self._bytes += len(body)
        if self._bytes > self._source.bytes:
            raise self._unreadable("it unpacks to more bytes than its archive declares")
        self._crc32 = isal_zlib.crc32(body, self._crc32)
        with disk.full_disk_reported():
            if self._file is None:
                self._file = disk.create(self._target)
            left = memoryview(body)
            while left:
                left = left[self._file.write(left) :]

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _unreadable(self, reason: str) -> UnreadableFileError:
        return UnreadableFileError(self._source.name, f"{reason}; pack it again")


def _acceptable(source: Input, limits: Limits) -> ArchiveEntry:
    """Return the entry of `source` when what it declares may be unpacked."""
    entry, name = source.entry, source.name
    if entry is None:
        raise ValueError(f"{name} is no entry of an archive")
    if entry.method == ENCRYPTED:
        raise EncryptedFileError(name)
    if entry.method == DISAGREES:
        raise UnreadableFileError(name, "its entry contradicts the archive's directory")
    if entry.method not in _DECODERS:
        raise UnsupportedTypeError(
            f"{name} is packed with method {entry.method}, which is not supported; "
            "pack the archive again with deflate"
        )
    _check_size(source, entry, limits)
    return entry


def _check_size(source: Input, entry: ArchiveEntry, limits: Limits) -> None:
    if source.bytes > limits.unpacked_bytes:
        limit = size(limits.unpacked_bytes)
        raise UnpacksTooLargeError(f"{source.name} unpacks to more than the limit of {limit}")
    ratio = limits.archive_ratio
    if source.bytes > max(RATIO_FROM_BYTES, ratio * entry.compressed_bytes):
        raise UnpacksTooLargeError(
            f"{source.name} unpacks to more than {ratio} times its packed size; send it by itself"
        )


class _Decoder(Protocol):
    """What igzip, bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Stored:
    """Bytes that were not packed."""

    eof = False
    needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return data


class _Lzma:
    """LZMA with the head that ZIP puts before it: version, size and the coder's properties."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        return self._decoder is not None and self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return self._decoder is None or self._decoder.needs_input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._decoder is None:
            self._head += data
            if len(self._head) < _LZMA_HEAD:
                return b""
            self._decoder = _lzma_decoder(self._head[:_LZMA_HEAD])
            data = self._head[_LZMA_HEAD:]
        return self._decoder.decompress(data, max_length)


def _lzma_decoder(head: bytes) -> lzma.LZMADecompressor:
    """Make a decoder from the head; source of the packing: the LZMA SDK's specification."""
    rest, lc = divmod(head[4], 9)
    pb, lp = divmod(rest, 5)
    dictionary_bytes = int.from_bytes(head[5:], "little")
    if dictionary_bytes > _LZMA_MOST_DICTIONARY_BYTES:
        raise ValueError("the dictionary is too large")
    options = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(
        lzma.FORMAT_RAW, filters=[{**options, "dict_size": dictionary_bytes}]
    )


_DECODERS: Mapping[int, Callable[[], _Decoder]] = {
    STORED: _Stored,
    DEFLATED: lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE),
    BZIP2: bz2.BZ2Decompressor,
    LZMA: _Lzma,
}
