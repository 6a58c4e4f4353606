"""Two storages that look like one: results in a bucket, and everything else where it always is.

A key below `results/` lies in the bucket, under the rest of the key. So the key that an output's
row holds says where its bytes are, and folders of batches can be looked for in both.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from batchmill.storage.base import Storage
from batchmill.storage.keys import RESULTS


class SplitStorage:
    """Sends each call to the storage that its key names; a prefix means both."""

    def __init__(self, main: Storage, results: Storage) -> None:
        self._main = main
        self._results = results

    async def put(
        self,
        key: str,
        path: Path,
        *,
        media_type: str,
        name: str | None = None,
        sha256: str | None = None,
    ) -> None:
        """Store the file where its key says."""
        storage, inner = self._place(key)
        await storage.put(inner, path, media_type=media_type, name=name, sha256=sha256)

    async def fetch(self, key: str, target: Path) -> None:
        """Make the bytes appear at `target`."""
        storage, inner = self._place(key)
        await storage.fetch(inner, target)

    async def fetch_range(self, key: str, target: Path, *, start: int, length: int) -> None:
        """Write a range to `target`."""
        storage, inner = self._place(key)
        await storage.fetch_range(inner, target, start=start, length=length)

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield a range."""
        storage, inner = self._place(key)
        return storage.read(inner, start=start, stop=stop)

    async def address(self, key: str, *, expires_s: int) -> str | None:
        """Return an address where anybody may read the key for a while, if there is any."""
        storage, inner = self._place(key)
        return await storage.address(inner, expires_s=expires_s)

    async def put_address(self, key: str, *, length_bytes: int, expires_s: int) -> str | None:
        """Return an address where anybody may put the key for a while, if there is any."""
        storage, inner = self._place(key)
        return await storage.put_address(inner, length_bytes=length_bytes, expires_s=expires_s)

    async def size_bytes(self, key: str) -> int:
        """Return how many bytes the key has, where it lies."""
        storage, inner = self._place(key)
        return await storage.size_bytes(inner)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove keys, each where it lies."""
        for storage in (self._results, self._main):
            placed = (self._place(key) for key in keys)
            if inner := [key for place, key in placed if place is storage]:
                await storage.delete(inner)

    async def delete_prefix(self, prefix: str) -> int:
        """Remove what lies below `prefix` in either, the bucket first: it may be away."""
        deleted = await self._results.delete_prefix(prefix)
        return deleted + await self._main.delete_prefix(prefix)

    async def swap(self, key: str, body: bytes, *, expected: bytes | None) -> bool:
        """Store a few bytes if `expected` lies where the key says."""
        storage, inner = self._place(key)
        return await storage.swap(inner, body, expected=expected)

    async def list_folders(self, prefix: str) -> AsyncIterator[str]:
        """Yield the folders below `prefix` in either; those in both are named twice."""
        for storage in (self._main, self._results):
            async for name in storage.list_folders(prefix):
                yield name

    async def list_files(self, prefix: str) -> AsyncIterator[str]:
        """Yield the files below `prefix`, where it lies."""
        storage, inner = self._place(prefix)
        async for name in storage.list_files(inner):
            yield name

    async def free_bytes(self) -> int | None:
        """Return the space of the main storage."""
        return await self._main.free_bytes()

    async def aclose(self) -> None:
        """Release both."""
        await self._results.aclose()
        await self._main.aclose()

    def _place(self, key: str) -> tuple[Storage, str]:
        if key.startswith(RESULTS):
            return self._results, key.removeprefix(RESULTS)
        return self._main, key
