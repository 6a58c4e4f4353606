"""The contract of a storage: bytes under keys, written whole or not at all.

To add one, write a module whose class passes `tests/storage/test_storage_contract.py` and name
it in `bootstrap.py`. Keys come from `storage/keys.py` only; no client text is ever part of one.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol

LONGEST_SIGNATURE_S: Final = 604_800
"""How long a signed address of a bucket may last."""


class Storage(Protocol):
    """Keeps bytes under keys. A key that was put is complete and durable, or absent."""

    async def put(
        self,
        key: str,
        path: Path,
        *,
        media_type: str,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Store the file at `path` under `key` and consume it; overwrites; durable on return.

        `name` and `sha256` go with the bytes where a storage keeps more than these.

        Raises:
            StorageFullError: no space; nothing is stored.
            OutageError: the storage is away; nothing is stored.
        """
        ...

    async def fetch(self, key: str, target: Path) -> None:
        """Make the bytes of `key` appear at the new file `target`, as a hard link where possible.

        A link shares its bytes with the stored file: read it, never write to it.

        Raises:
            InputLostError: there is no such key; the error names the key, for want of a file name.
            StorageDamagedError: what came is not what was put, where a storage knows that.
            StorageFullError: no space at `target`; nothing is left there.
        """
        ...

    async def fetch_range(self, key: str, target: Path, *, start: int, length: int) -> None:
        """Write exactly `length` bytes from offset `start` of `key` to the new file `target`.

        Raises:
            InputLostError: there is no such key, or it ends before.
            StorageFullError: no space at `target`; nothing is left there.
        """
        ...

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes `start` (inclusive) to `stop` (exclusive; None: the end).

        Pieces have at most 1 MiB; what lies behind the end is left out without an error.

        Raises:
            NotFoundError: there is no such key.
        """
        ...

    async def address(self, key: str, *, expires_s: int) -> str | None:
        """Return an address where anybody may read `key` for `expires_s`; None: there are none."""
        ...

    async def put_address(self, key: str, *, length_bytes: int, expires_s: int) -> str | None:
        """Return an address where anybody may PUT `length_bytes` as `key` for `expires_s`, or None.

        Where the service does not hold to the length, what lies there may have another one.
        """
        ...

    async def size_bytes(self, key: str) -> int:
        """Return how many bytes `key` has.

        Raises:
            NotFoundError: there is no such key.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove keys; absent ones are no error."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every key below `prefix` (which ends with a slash); return how many."""
        ...

    async def swap(self, key: str, body: bytes, *, expected: bytes | None) -> bool:
        """Store a few bytes under `key` if `expected` is what lies there (None: nothing does).

        False: something else lies there, and stays. Of several that swap at once one succeeds.

        Raises:
            OutageError: the storage is away.
        """
        ...

    def list_folders(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below `prefix`, in any order: for the sweep's orphan check.

        A folder whose keys are all gone may still be named: some services keep it for a while.

        Raises:
            OutageError: the storage is away, so that nothing is known about what it holds.
        """
        ...

    def list_files(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of the files directly below `prefix`, in any order.

        Raises:
            OutageError: the storage is away.
        """
        ...

    async def free_bytes(self) -> int | None:
        """Return the space left, any reserve included, or None where that means nothing."""
        ...

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""
        ...
