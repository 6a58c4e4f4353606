"""Where an item's bytes come from: a whole object or one entry of a stored archive."""

import asyncio
from pathlib import Path

import pytest

from batchmill.archives.index import ArchiveLimits, index_archive
from batchmill.errors.item import InputLostError, UnpacksTooLargeError
from batchmill.model.item import Input
from batchmill.model.limits import Limits
from batchmill.service.execution.attempts import stage_input
from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage
from batchmill.storage.objects import Bucket, ObjectStorage
from support.archives import Entry, deflated, written


def stored_archive(storage: Storage, folder: Path, *entries: Entry) -> list[Input]:
    """Store an archive as intake does and return its inputs."""
    path = written(folder / "archive.zip", *entries)
    index = index_archive(path, name="archive.zip", limits=ArchiveLimits())
    inputs = [each for page in index.pages("in/0") for each in page]
    asyncio.run(storage.put("in/0", path, media_type="application/zip"))
    return inputs


def stage(storage: Storage, source: Input, target: Path, limits: Limits | None = None) -> bytes:
    asyncio.run(stage_input(storage, source, target, limits=limits or Limits()))
    return target.read_bytes()


@pytest.fixture(params=["local", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "storage")
    bucket: Bucket = request.getfixturevalue("own_bucket")
    return ObjectStorage(bucket)


def test_an_entry_is_taken_from_the_archive_where_it_lies(storage: Storage, tmp_path: Path) -> None:
    inputs = stored_archive(
        storage, tmp_path, Entry(b"a.jpg", b"one"), Entry(b"b.jpg", b""), Entry(b"c.jpg", b"three")
    )
    staged = [stage(storage, each, tmp_path / each.name) for each in inputs]
    assert staged == [b"one", b"", b"three"]


def test_an_entry_of_an_archive_that_is_gone_is_lost_by_its_own_name(
    storage: Storage, tmp_path: Path
) -> None:
    (source,) = stored_archive(storage, tmp_path, Entry(b"a.jpg"))
    asyncio.run(storage.delete(["in/0"]))
    with pytest.raises(InputLostError, match=r"the stored copy of a\.jpg is gone"):
        stage(storage, source, tmp_path / "target")


def test_the_limits_of_the_caller_s_tier_hold_while_unpacking(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    body = b"\0" * 10_000_001
    (source,) = stored_archive(storage, tmp_path, Entry(b"a", body, deflated(body), method=8))
    for limits in (Limits(), Limits(unpacked_bytes=10_000_000, archive_ratio=10_000)):
        with pytest.raises(UnpacksTooLargeError):
            stage(storage, source, tmp_path / "target", limits)
    assert stage(storage, source, tmp_path / "target", Limits(archive_ratio=10_000)) == body
