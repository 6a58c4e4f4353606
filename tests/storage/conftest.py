"""Storages under test: every one that the contract suite runs over."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage
from batchmill.storage.objects import ObjectStorage
from batchmill.storage.split import SplitStorage
from support import parts


@pytest.fixture(params=["local", "bucket", "split"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each storage in turn, empty."""
    if request.param == "local":
        return LocalStorage(tmp_path / "storage")
    if request.param == "split":
        results = ObjectStorage(request.getfixturevalue("own_bucket"))
        return SplitStorage(LocalStorage(tmp_path / "storage"), results)
    return ObjectStorage(request.getfixturevalue("own_bucket"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 2 MiB; only an administrator can make one."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        parts.missing("a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
