"""Writes what a server sends into files: whole or not at all, going on where a try broke off."""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import httpx

from batchmill.client.endpoints import Request
from batchmill.client.transport import OnBytes, Patience, Transport
from batchmill.errors.item import OutputUnwritableError
from batchmill.errors.outage import OutageError
from batchmill.errors.request import RangeError, UnreadableArchiveError
from batchmill.model.filenames import label

_PIECE_BYTES = 2**20


async def fetch(
    transport: Transport, request: Request, target: Path, on_bytes: OnBytes | None = None
) -> None:
    """Download into `target`. What an earlier try left beside it is used, if it still fits.

    Raises:
        BatchmillError: what the server answered, or ServerUnreachableError.
        OutputUnwritableError: `target` can't be written.
    """
    part = _Part(target)
    request = request.with_headers(Accept_Encoding="identity")
    patience = Patience(transport.server.patience_s)
    while True:
        try:
            await _fetch_once(transport, request, part, on_bytes)
        except RangeError:
            part.forget()
        except OutageError as error:
            if not transport.reached:
                raise
            await patience.wait(error)
        else:
            return


def is_there(target: Path, *, size: int, sha256: str) -> bool:
    """Tell whether `target` holds exactly these bytes."""
    try:
        if target.stat().st_size != size:
            return False
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def extract(archive: Path, folder: Path, *, remove: bool = False) -> int:
    """Unpack a results archive into `folder`, then `remove` it; return how many files it holds.

    Raises:
        UnreadableArchiveError: the archive is damaged.
        OutputUnwritableError: `folder` can't be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
            for name in names:
                _extract_one(opened, name, folder / label(name))
        if remove:
            archive.unlink()
    except zipfile.BadZipFile as error:
        raise UnreadableArchiveError(archive.name, str(error)) from error
    except OSError as error:
        raise OutputUnwritableError(str(folder), _reason(error)) from error
    return len(names)


def _extract_one(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{_digest(target)}.part")
    try:
        with archive.open(name) as source, part.open("wb") as out:
            while piece := source.read(_PIECE_BYTES):
                out.write(piece)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


async def _fetch_once(
    transport: Transport, request: Request, part: "_Part", on_bytes: OnBytes | None
) -> None:
    async with transport.stream(part.resuming(request)) as response:
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            part.begin(response.headers.get("etag", ""))
        if on_bytes:
            on_bytes(part.size)
        async for piece in response.aiter_raw(_PIECE_BYTES):
            part.append(piece)
            if on_bytes:
                on_bytes(len(piece))
    part.finish()


class _Part:
    """A download under way, beside its target; its name holds the ETag of the bytes in it."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path: Path | None = None
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path = next(target.parent.glob(f".{_digest(target)}.*.part"), None)

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return self._path.stat().st_size if self._path else 0

    @property
    def _etag(self) -> str:
        return unquote(self._path.name.split(".")[2]) if self._path else ""

    def resuming(self, request: Request) -> Request:
        """Return the request for what is missing. Only a strong ETag promises the same bytes."""
        if not self.size or not self._etag.startswith('"'):
            return request
        return replace(
            request,
            headers={
                **request.headers,
                "Range": f"bytes={self.size}-",
                "If-Range": self._etag,
            },
        )

    def begin(self, etag: str) -> None:
        """Start anew, with bytes of this ETag."""
        self.forget()
        name = f".{_digest(self._target)}.{quote(etag, safe='').replace('.', '%2E')}.part"
        self._path = self._target.with_name(name)
        with _writing(self._target):
            self._path.write_bytes(b"")

    def append(self, piece: bytes) -> None:
        """Write what has come."""
        with _writing(self._target), self._open().open("ab") as file:
            file.write(piece)

    def finish(self) -> None:
        """Make the target of it."""
        with _writing(self._target):
            with self._open().open("rb") as file:
                os.fsync(file.fileno())
            self._open().replace(self._target)

    def forget(self) -> None:
        """Remove what is there."""
        if self._path:
            self._path.unlink(missing_ok=True)
        self._path = None

    def _open(self) -> Path:
        if self._path is None:
            raise ValueError("nothing was begun")
        return self._path


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputUnwritableError(str(target), _reason(error)) from error


def _digest(target: Path) -> str:
    """Return a short name that stands for the target's."""
    return hashlib.sha256(target.name.encode()).hexdigest()[:16]


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
