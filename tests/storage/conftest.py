"""Storages under test: every one that the contract suite runs over."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage
from batchmill.storage.objects import Bucket, ObjectStorage
from support import seaweed


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with seaweed.running(tmp_path_factory.mktemp("seaweed")) as bucket:
        yield bucket


@pytest.fixture
def own_bucket(bucket: Bucket) -> Bucket:
    """An empty folder of the bucket, for one test alone."""
    return replace(bucket, url=f"s3://bucket/{uuid4().hex}")


@pytest.fixture(params=["local", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each storage in turn, empty."""
    if request.param == "local":
        return LocalStorage(tmp_path / "storage")
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
        pytest.skip("mounting a small disk needs an administrator")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
