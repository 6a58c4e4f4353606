"""Finds the files to work on: single files, folders, patterns, ZIP archives.

A file's `name` is its label: the path below the folder, pattern or archive it was found in, so
that outputs keep the tree. Junk of file managers, hidden files and links out of a folder are
not taken.
"""

import glob
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from batchmill.archives.index import ArchiveIndex, ArchiveLimits, index_archive
from batchmill.attempt.naming import unique
from batchmill.errors.request import RequestError, UsageError
from batchmill.model.containers import identify
from batchmill.model.item import Input
from batchmill.model.media import ZIP

ARCHIVE_LIMITS = ArchiveLimits(entries=1_000_000, unpacked_bytes=100_000_000_000)
"""One's own archives on one's own machine may be as large as the highest tier's."""
JUNK = frozenset({"__macosx", ".ds_store", "thumbs.db", "desktop.ini"})
_MAGIC = frozenset("*?[")
Read = Callable[[], Generator[bytes, None, None]]
"""Yields the bytes of a file, each time from its beginning."""


@dataclass(frozen=True, slots=True)
class LocalInput:
    """One file, or one entry of the ZIP at `path`; `name` is its label, `key` what it is known by.

    Where `read` is given, it yields the bytes, there is nothing at `path`, and `bytes` may be 0.
    `named` says that the user meant this very file: of an unsupported type it fails, while a
    file that was found in a folder is skipped. `flaw` says why it can't even be listed.
    """

    path: Path
    name: str
    bytes: int = 0
    mtime_ns: int = 0
    entry: Input | None = None
    named: bool = True
    flaw: RequestError | None = None
    read: Read | None = None

    @property
    def key(self) -> str:
        """What tells this file from all others; a person can read it too."""
        if self.read is not None:
            return f"{self.path}#{id(self.read)}"
        return f"{self.path}!/{self.entry.name}" if self.entry else str(self.path)


@dataclass(frozen=True, slots=True)
class Search:
    """How files are searched; `without` is a folder that is left out, as the output's is."""

    recursive: bool = True
    without: Path | None = None
    unpack: bool = True


def find(
    arguments: Iterable[str], search: Search, *, listed: Iterable[str] = ()
) -> list[LocalInput]:
    """Return the files that arguments and the lines of a list name, each once, in their order.

    A listed file keeps the folders of its relative path.

    Raises:
        UsageError: a path does not exist, or a pattern matches nothing.
    """
    found: dict[str, LocalInput] = {}
    for argument in arguments:
        for each in _of_argument(argument, search):
            found.setdefault(each.key, each)
    for line in listed:
        for each in _of_line(line, search):
            found.setdefault(each.key, each)
    return list(found.values())


def one_file(path: Path, name: str | None = None, *, named: bool = True) -> LocalInput:
    """Describe one file; one that is missing has 0 bytes and fails when its turn comes."""
    try:
        status = path.stat()
    except OSError:
        return LocalInput(path, name or path.name, named=named)
    return LocalInput(path, name or path.name, status.st_size, status.st_mtime_ns, named=named)


def walk(root: Path, search: Search) -> Iterator[LocalInput]:
    """Yield the files below a folder, sorted, archives unpacked into their entries."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(each for each in folders if _enters(Path(folder, each), search))
        for file in sorted(each for each in files if not _is_junk(each)):
            path = Path(folder, file)
            if path.is_file() and not path.is_symlink():
                found = one_file(path, path.relative_to(root).as_posix(), named=False)
                yield from _unpacked(found, search)


def _of_argument(argument: str, search: Search) -> Iterator[LocalInput]:
    path = Path(argument)
    if path.is_dir():
        yield from walk(path, search)
    elif path.is_file():
        yield from _unpacked(one_file(path), search)
    elif _MAGIC.intersection(argument):
        yield from _of_pattern(argument, search)
    else:
        raise UsageError(f"There is no file or folder {argument!r}; check the path.")


def _of_line(line: str, search: Search) -> Iterator[LocalInput]:
    path = Path(line)
    if not path.is_file() or path.is_absolute() or ".." in path.parts:
        yield from _of_argument(line, search)
    else:
        yield from _unpacked(one_file(path, path.as_posix()), search)


def _of_pattern(pattern: str, search: Search) -> Iterator[LocalInput]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
    if not matches:
        raise UsageError(f"No file matches {pattern!r}; check the pattern.")
    root = _fixed_part(pattern)
    for match in map(Path, matches):
        if match.is_file() and not _is_left_out(match, root, search):
            file = one_file(match, match.relative_to(root).as_posix(), named=False)
            yield from _unpacked(file, search)


def _unpacked(file: LocalInput, search: Search) -> Iterator[LocalInput]:
    """Yield the entries of an archive, or the file itself when it is none."""
    if not search.unpack or file.path.suffix.lower() != ".zip" or not _is_archive(file.path):
        yield file
        return
    below = "" if file.named else f"{PurePath(file.name).with_suffix('').as_posix()}/"
    try:
        index = index_archive(file.path, name=file.name, limits=ARCHIVE_LIMITS)
    except RequestError as error:
        yield replace(file, flaw=error)
        return
    for entry in _unique_entries(index):
        name = below + entry.name
        yield LocalInput(file.path, name, entry.bytes, file.mtime_ns, entry=entry, named=False)


def _unique_entries(index: ArchiveIndex) -> Iterator[Input]:
    names: set[str] = set()
    for page in index.pages(""):
        for entry in page:
            name = unique(entry.name, names)
            names.add(name.casefold())
            yield replace(entry, name=name)


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return identify(file) is ZIP
    except OSError:
        return False


def _enters(folder: Path, search: Search) -> bool:
    if not search.recursive or _is_junk(folder.name) or folder.is_symlink():
        return False
    return search.without is None or folder.resolve() != search.without.resolve()


def _is_left_out(match: Path, root: Path, search: Search) -> bool:
    """Tell whether a match lies in the output folder, where that is below the pattern's root."""
    if search.without is None:
        return False
    without = search.without.resolve()
    return without != root.resolve() and match.resolve().is_relative_to(without)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _fixed_part(pattern: str) -> Path:
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if _MAGIC.intersection(part):
            break
        fixed.append(part)
    return Path(*fixed)
