"""Stands in the door through which bytes are forced to the disk, and notes what goes through."""

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Forced:
    """What was forced to the disk below `root`, in order, each with what it held at that moment.

    A file holds its bytes, a folder the names in it.
    """

    root: Path
    notes: list[tuple[str, bytes | list[str]]] = field(default_factory=list)

    def __call__(self, descriptor: int) -> None:
        """Force it, as the real one does, and note it."""
        os.fsync(descriptor)
        is_it = os.fstat(descriptor)
        every = (self.root, *self.root.rglob("*"))
        path = next(each for each in every if os.path.samestat(each.lstat(), is_it))
        held = sorted(each.name for each in path.iterdir()) if path.is_dir() else path.read_bytes()
        self.notes.append((path.relative_to(self.root).as_posix(), held))

    def bytes_of(self, name: str) -> bytes | None:
        """Return the bytes of a file as they were forced last; None: they never were."""
        found = [held for each, held in self.notes if each == name and isinstance(held, bytes)]
        return found[-1] if found else None
