"""Puts finished files where they belong: whole or not at all, never two under one name."""

import asyncio
import hashlib
import json
import os
import time
import zlib
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from batchmill.attempt.naming import safe_path, unique
from batchmill.attempt.run import Finished
from batchmill.errors.item import OutputExistsError, OutputUnwritableError
from batchmill.local.inputs import LocalInput
from batchmill.local.results import SavedFile
from batchmill.model.item import Output
from batchmill.storage import disk

TOGETHER: Final = 8
"""So many items' files are forced to the disk in one go, which saves thread hops."""
TOGETHER_S: Final = 0.005
"""How long the first of them waits for the others, while others are under way."""


OPEN_AT_ONCE: Final = 16
"""Of an item's files: some documents make hundreds."""
QUICK_S: Final = 0.001
"""Forcing a file to the disk is quick where the last ones took no longer on average."""
QUICK_BYTES: Final = 2**20
"""More may take a while on any disk."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was kept of an attempt, and what the user should know about the names."""

    files: tuple[SavedFile, ...]
    warnings: tuple[str, ...] = ()


Save = Callable[[Finished], Awaitable[Saved]]


class Memory:
    """Keeps the bytes of what is made, or, with `contents=False`, only what is known of it."""

    def __init__(self, *, contents: bool = True) -> None:
        self._contents = contents

    @contextmanager
    def begin(self, _item: LocalInput) -> Iterator[Save]:
        """Return what takes the item's files."""
        yield self._save

    async def _save(self, finished: Finished) -> Saved:
        read = Path.read_bytes if self._contents else _nothing
        pairs = zip(finished.result.outputs, finished.files, strict=True)
        return Saved(tuple([SavedFile(output, content=read(path)) for output, path in pairs]))


class Folder:
    """The output folder.

    Items of the same folder and stem get their names in the order in which they began, so that
    the same command makes the same names. `earlier` tells which input (`LocalInput.key`) an
    earlier run made a casefolded name for: it may be replaced by the same input's new file.
    """

    def __init__(
        self,
        root: Path,
        *,
        overwrite: bool = False,
        earlier: Mapping[str, str] | None = None,
        sync: disk.Sync = os.fsync,
    ) -> None:
        self._sync = sync
        self.root = root
        self._overwrite = overwrite
        self._owners = dict(earlier or {})
        self._last: dict[str, asyncio.Event] = {}
        self._mode = 0o666 & ~_umask()
        self._under_way = 0
        self._to_sync: list[_Syncing] = []
        self._syncing: asyncio.TimerHandle | None = None
        self._sync_s = 0.0

    @contextmanager
    def begin(self, item: LocalInput) -> Iterator[Save]:
        """Return what takes the item's files; to be called in the order of the inputs.

        It raises:
            OutputExistsError: the file is there already, and may not be overwritten.
            OutputUnwritableError, StorageFullError: the file can't be written there.
        """
        stem = str(PurePosixPath(item.name).with_suffix("")).casefold()
        before, done = self._last.get(stem), asyncio.Event()
        self._last[stem] = done

        async def save(finished: Finished) -> Saved:
            if before is not None:
                await before.wait()
            return await self._save(item, finished)

        self._under_way += 1
        try:
            yield save
        finally:
            self._under_way -= 1
            done.set()
            if self._last[stem] is done:
                del self._last[stem]

    async def _save(self, item: LocalInput, finished: Finished) -> Saved:
        if finished.result.data and not finished.result.outputs:
            finished = _with_data_file(item, finished)
        taken, own = _Taken(self._owners, item.key), item.key
        files, moves, warnings = [], [], []
        for output, made in zip(finished.result.outputs, finished.files, strict=True):
            name = unique(output.name, taken)
            folded = name.casefold()
            may_replace = self._overwrite or self._owners.get(folded) == own
            taken.here.add(folded)
            files.append(SavedFile(replace(output, name=name), self.root / name))
            moves.append(_Move(made, self.root / name, may_replace=may_replace))
            if name != output.name:
                warnings.append(
                    f"{output.name} is the result of another file; that of {item.name} is {name}"
                )
        self._owners |= dict.fromkeys(taken.here, own)
        if moves:
            await self._placed(moves)
        return Saved(tuple(files), tuple(warnings))

    async def _placed(self, moves: "list[_Move]") -> None:
        """Force an item's files to the disk, and give them their names."""
        placed: list[Path] = []
        try:
            for first in range(0, len(moves), OPEN_AT_ONCE):
                await self._forced(moves[first : first + OPEN_AT_ONCE])
            for move in moves:
                self._place(move)
                placed.append(move.target)
        except BaseException:
            for target in placed:
                target.unlink(missing_ok=True)
            raise

    async def _forced(self, moves: "list[_Move]") -> None:
        made: list[int] = []
        try:
            for move in moves:
                made.append(disk.open_regular(move.made))
                os.fchmod(made[-1], self._mode)
            await self._synced(made)
        except OSError as error:
            raise _unwritable(moves[0].target, error) from error
        finally:
            for descriptor in made:
                os.close(descriptor)

    async def _synced(self, made: list[int]) -> None:
        """Force open files to the disk: at once where that is quick, else in a thread.

        There those that end just now are forced together. On a quick disk a thread costs more than
        the call: it and the loop take the interpreter from each other.
        """
        if self._sync_s <= QUICK_S and sum(os.fstat(each).st_size for each in made) <= QUICK_BYTES:
            self._sync_all(made)
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._to_sync.append((made, done))
        if len(self._to_sync) >= min(TOGETHER, self._under_way):
            self._sync_now()
        elif self._syncing is None:
            self._syncing = loop.call_later(TOGETHER_S, self._sync_now)
        await disk.to_its_end(done)  # the thread uses what is closed next

    def _sync_now(self) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
            self._syncing = None
        taken, self._to_sync = self._to_sync, []
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._sync_each, taken, loop)

    def _sync_each(self, taken: "list[_Syncing]", loop: asyncio.AbstractEventLoop) -> None:
        """Force the files of several items to the disk, and tell each how that ended."""
        for made, done in taken:
            try:
                self._sync_all(made)
                loop.call_soon_threadsafe(done.set_result, None)
            except Exception as error:  # told to the one whose files they are
                loop.call_soon_threadsafe(done.set_exception, error)

    def _sync_all(self, made: list[int]) -> None:
        began_s = time.perf_counter()
        with disk.full_disk_reported():
            for descriptor in made:
                self._sync(descriptor)
        took_s = (time.perf_counter() - began_s) / len(made)
        self._sync_s += (took_s - self._sync_s) / 4

    def _place(self, move: "_Move") -> None:
        if not move.may_replace and os.path.lexists(move.target):
            raise OutputExistsError(str(move.target))
        try:
            with disk.full_disk_reported():
                try:
                    move.made.replace(move.target)
                except FileNotFoundError:
                    move.target.parent.mkdir(parents=True, exist_ok=True)
                    move.made.replace(move.target)
        except OSError as error:
            raise _unwritable(move.target, error) from error


def _unwritable(target: Path, error: OSError) -> OutputUnwritableError:
    return OutputUnwritableError(str(target), error.strerror or type(error).__name__)


_Syncing = tuple[list[int], asyncio.Future[None]]


@dataclass(frozen=True, slots=True)
class _Move:
    made: Path
    target: Path
    may_replace: bool


@dataclass(frozen=True, slots=True)
class _Taken(Container[str]):
    """Casefolded names that one item can't have: another's, or `here` its own second file's."""

    owners: Mapping[str, str]
    key: str
    here: set[str] = field(default_factory=set)

    def __contains__(self, name: object) -> bool:
        return name in self.here or self.owners.get(str(name), self.key) != self.key


def _with_data_file(item: LocalInput, finished: Finished) -> Finished:
    """Turn what was found out into a JSON file, where no step made a file."""
    path = finished.folder / "data.json"
    text = json.dumps(finished.result.data, ensure_ascii=False, indent=2, allow_nan=False)
    body = f"{text}\n".encode()
    path.write_bytes(body)
    output = Output(
        name=safe_path(f"{item.name}.json"),
        bytes=len(body),
        media_type="application/json",
        sha256=hashlib.sha256(body).hexdigest(),
        crc32=zlib.crc32(body),
    )
    return replace(finished, result=replace(finished.result, outputs=(output,)), files=(path,))


def _nothing(_path: Path) -> None:
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
