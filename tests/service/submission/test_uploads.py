"""An upload belongs to one owner, grows on any server, and is taken by one batch alone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from batchmill.db import batches
from batchmill.db import uploads as rows
from batchmill.db.connect import Database
from batchmill.db.schema import uploads as table
from batchmill.db.types import at
from batchmill.errors.outage import StorageFullError
from batchmill.errors.request import (
    EmptyArchiveError,
    InvalidFieldError,
    NotFoundError,
    TooLargeError,
    TooManyUploadsError,
    UploadUnfinishedError,
)
from batchmill.model.batch import BatchId, OwnerId
from batchmill.model.upload import Upload, UploadId
from batchmill.service.context import ServerContext
from batchmill.service.submission import submit, uploads
from batchmill.service.submission.store_files import AbsentFile
from batchmill.service.submission.submit import Caller, Order
from batchmill.service.submission.uploads import UploadedFile
from batchmill.storage import keys
from batchmill.storage.local import LocalStorage
from support.archives import Entry, archive
from support.server_contexts import PIPELINE, a_day_later, marked, new_context

ANNA = Caller(OwnerId("own_anna"))
BERTA = Caller(OwnerId("own_berta"))
ORDER = Order(PIPELINE, keep_open=True)
TWO = archive(Entry(b"a.png", b"1" * 60), Entry(b"b.png", b"22"))


class OneMore(LocalStorage):
    """A storage with room for one file more."""

    room = 1

    async def put(self, key: str, path: Path, **more: Any) -> None:
        if not self.room:
            raise StorageFullError
        self.room -= 1
        await super().put(key, path, **more)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def sent(
    context: ServerContext, body: bytes, *, caller: Caller = ANNA, length: int = -1
) -> Upload:
    length = len(body) if length < 0 else length
    upload = await uploads.begin(context, caller, name="a.txt", length_bytes=length, metadata="")
    return await uploads.append(context, caller, upload, _pieces(body), offset_bytes=0)


async def taken_by_a_batch(
    context: ServerContext, *wanted: UploadId, caller: Caller = ANNA
) -> BatchId:
    files = [UploadedFile(each) for each in wanted]
    async with (
        submit.drafted(context, caller) as batch_id,
        uploads.taken(context, caller, files) as (lent, take),
    ):
        await submit.accept(context, batch_id, caller, order=ORDER, files=lent, also=take(lent))
    return batch_id


async def added(context: ServerContext, batch_id: BatchId, every: list[Upload]) -> int:
    files = [UploadedFile(each.id) for each in every]
    async with uploads.taken(context, ANNA, files) as (lent, take):
        return await submit.add_files(context, batch_id, ANNA, lent, take=take)


def names(context: ServerContext) -> list[str]:
    found = (path.name for path in context.settings.uploads_folder.iterdir())
    return sorted(name for name in found if keys.IDENTITY not in name)


async def test_what_one_server_began_another_goes_on_with(
    database: Database, tmp_path: Path
) -> None:
    one, two = new_context(database, tmp_path), new_context(database, tmp_path)
    upload = await sent(one, b"one ", length=7)
    assert await uploads.get_upload(two, ANNA, upload.id) == (upload, 4)
    await uploads.append(two, ANNA, upload, _pieces(b"two"), offset_bytes=4)
    batch_id = await taken_by_a_batch(one, upload.id)
    (stored,) = (tmp_path / f"storage/batches/{batch_id}/in").iterdir()
    assert stored.read_bytes() == b"one two"
    assert names(one) == []


async def test_of_many_takers_one_gets_the_upload(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    upload = await sent(context, b"wanted by all")
    tries = [taken_by_a_batch(context, upload.id) for _ in range(6)]
    ended = await asyncio.gather(*tries, return_exceptions=True)
    lost = [each for each in ended if isinstance(each, NotFoundError)]
    assert len(lost) == 5, ended
    (folder,) = (tmp_path / "storage/batches").iterdir()
    assert folder.name in ended
    assert names(context) == []


async def test_an_open_batch_takes_uploads_too_and_each_once(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await taken_by_a_batch(context, (await sent(context, b"first")).id)
    upload = await sent(context, TWO)
    async with uploads.taken(context, ANNA, [UploadedFile(upload.id)]) as (lent, take):
        assert await submit.add_files(context, batch_id, ANNA, lent, take=take) == 2
    with pytest.raises(NotFoundError):
        async with uploads.taken(context, ANNA, [UploadedFile(upload.id)]):
            pass
    assert names(context) == []


async def test_an_upload_can_be_used_again_after_a_submission_that_failed(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    plain, empty = await sent(context, b"fine"), await sent(context, archive())
    with pytest.raises(EmptyArchiveError):
        await taken_by_a_batch(context, plain.id, empty.id)
    assert names(context) == sorted([plain.id, empty.id])
    await uploads.append(context, ANNA, plain, _pieces(b""), offset_bytes=4)
    await taken_by_a_batch(context, plain.id)
    assert names(context) == [empty.id]


async def test_a_refused_file_leaves_the_batch_and_all_uploads_named_beside_it_as_they_were(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await taken_by_a_batch(context, (await sent(context, b"first")).id)
    every = [await sent(context, body) for body in (b"photo", archive(), b"third")]
    with pytest.raises(EmptyArchiveError):
        await added(context, batch_id, every)
    assert await added(context, batch_id, [every[0], every[2]]) == 2
    assert names(context) == [every[1].id]


async def test_what_there_was_no_space_for_stays_an_upload(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    batch_id = await taken_by_a_batch(context, (await sent(context, b"first")).id)
    every = [await sent(context, body) for body in (TWO, b"third")]
    full = replace(context, storage=OneMore(tmp_path / "storage"))
    with pytest.raises(StorageFullError):
        await added(full, batch_id, every)
    await uploads.tidy(context)
    assert names(context) == [every[1].id]
    assert await added(context, batch_id, [every[1]]) == 1
    batch = await context.database.read(batches.get, batch_id, owner_id=ANNA.owner_id)
    assert batch is not None
    assert batch.counts.total == 4


async def test_somebody_elses_unfinished_or_repeated_upload_is_not_taken(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    upload, half = await sent(context, b"annas"), await sent(context, b"half", length=8)
    with pytest.raises(NotFoundError):
        await taken_by_a_batch(context, upload.id, caller=BERTA)
    with pytest.raises(NotFoundError):
        await uploads.remove(context, BERTA, upload.id)
    with pytest.raises(UploadUnfinishedError, match="4 of 8 bytes"):
        await taken_by_a_batch(context, upload.id, half.id)
    with pytest.raises(InvalidFieldError, match="twice"):
        await taken_by_a_batch(context, upload.id, upload.id)
    assert names(context) == sorted([upload.id, half.id])


async def test_only_an_archive_may_be_larger_than_a_file(
    database: Database, tmp_path: Path
) -> None:
    tiers = {"anonymous": {"file_bytes": 100, "zip_bytes": 1_000, "open_uploads": 2}}
    context = new_context(database, tmp_path, tiers=tiers, disk_reserve_bytes=0)
    with pytest.raises(TooLargeError, match="a is larger"):
        await uploads.begin(context, ANNA, name="a", length_bytes=1_001, metadata="")
    with pytest.raises(TooLargeError, match="make it smaller"):
        await sent(context, b"x" * 101)
    large = await sent(context, TWO)
    with pytest.raises(TooManyUploadsError, match="2 uploads"):
        await sent(context, b"one too many")
    await taken_by_a_batch(context, large.id)


async def test_a_file_whose_first_bytes_came_one_by_one_is_as_large_as_others_when_a_batch_takes_it(
    database: Database, tmp_path: Path
) -> None:
    tiers = {"anonymous": {"file_bytes": 100, "zip_bytes": 1_000}}
    context = new_context(database, tmp_path, tiers=tiers, disk_reserve_bytes=0)
    upload = await sent(context, b"PK", length=200)
    await uploads.append(context, ANNA, upload, _pieces(b"x" * 198), offset_bytes=2)
    async with uploads.taken(context, ANNA, [UploadedFile(upload.id)]) as (files, _):
        assert files == [AbsentFile.too_large("a.txt", 100)]
    assert names(context) == [upload.id]


async def test_an_archive_may_be_larger_however_small_its_first_piece_is(
    database: Database, tmp_path: Path
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield TWO[:1]
        yield TWO[1:]

    tiers = {"anonymous": {"file_bytes": 100, "zip_bytes": 1_000}}
    context = new_context(database, tmp_path, tiers=tiers, disk_reserve_bytes=0)
    begun = await uploads.begin(context, ANNA, name="a", length_bytes=len(TWO), metadata="")
    upload = await uploads.append(context, ANNA, begun, pieces(), offset_bytes=0)
    assert await uploads.get_upload(context, ANNA, upload.id) == (upload, len(TWO))
    assert len(TWO) > 100


async def test_uploads_are_part_of_what_a_batch_may_have(
    database: Database, tmp_path: Path
) -> None:
    tiers = {"anonymous": {"file_bytes": 10, "zip_bytes": 10, "batch_bytes": 25}}
    context = new_context(database, tmp_path, tiers=tiers, disk_reserve_bytes=0)
    files = [await sent(context, b"0123456789") for _ in range(4)]
    with pytest.raises(TooLargeError, match="together"):
        await taken_by_a_batch(context, *(each.id for each in files[:3]))
    batch_id = await taken_by_a_batch(context, files[0].id)
    with pytest.raises(TooLargeError, match="together"):
        await added(context, batch_id, files[1:3])
    assert await added(context, batch_id, files[1:2]) == 1
    with pytest.raises(TooLargeError, match="together"):
        await added(context, batch_id, files[2:3])
    stored = (tmp_path / f"storage/batches/{batch_id}/in").iterdir()
    assert len(list(stored)) == 2
    assert names(context) == sorted(each.id for each in files[2:])


async def test_what_could_not_be_added_takes_no_room_in_the_batch(
    database: Database, tmp_path: Path
) -> None:
    tiers = {"anonymous": {"zip_bytes": 30, "batch_bytes": 30}}
    context = new_context(database, tmp_path, tiers=tiers, disk_reserve_bytes=0)
    batch_id = await taken_by_a_batch(context, (await sent(context, b"0123456789")).id)
    empty, full = await sent(context, archive()), await sent(context, b"1" * 20)
    for _ in range(3):
        with pytest.raises((EmptyArchiveError, TooLargeError)):
            await added(context, batch_id, [empty])
    assert await added(context, batch_id, [full]) == 1


async def test_open_uploads_are_together_no_larger_than_the_tier_says(
    database: Database, tmp_path: Path
) -> None:
    tiers = {"anonymous": {"open_uploads_bytes": 100}}
    context = new_context(database, tmp_path, tiers=tiers, disk_reserve_bytes=0)
    first = await sent(context, b"x", length=60)
    with pytest.raises(TooManyUploadsError, match="100"):
        await sent(context, b"x", length=41)
    await sent(context, b"x", length=60, caller=BERTA)
    await uploads.remove(context, ANNA, first.id)
    await sent(context, b"x", length=100)


async def test_what_is_over_is_removed_and_nothing_else(database: Database, tmp_path: Path) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    old, new = await sent(context, b"old"), await sent(context, b"new")
    await database.run(
        lambda conn: conn.execute(
            update(table).where(table.c.id == old.id).values(expires_at=at(1))
        )
    )
    with pytest.raises(NotFoundError):
        await uploads.get_upload(context, ANNA, old.id)
    folder = context.settings.uploads_folder
    for name in ("upl_left.by.a.kill", f"{old.id}.part", f"{new.id}.lent", "not-ours"):
        (folder / name).touch()
    await uploads.tidy(context)
    assert names(context) == sorted([new.id, f"{new.id}.lent", "not-ours", "upl_left.by.a.kill"])
    await a_day_later(context)
    await uploads.tidy(context)
    assert names(context) == sorted([new.id, f"{new.id}.lent", "not-ours"])


async def test_an_upload_that_would_not_fit_on_the_disk_is_not_begun(
    database: Database, tmp_path: Path
) -> None:
    tiers = {"anonymous": {"file_bytes": 2**60, "open_uploads_bytes": 2**60}}
    context = new_context(database, tmp_path, tiers=tiers, disk_reserve_bytes=0)
    with pytest.raises(StorageFullError):
        await uploads.begin(context, ANNA, name="a", length_bytes=2**60, metadata="")
    assert await database.read(rows.held, ANNA.owner_id) == (0, 0)


async def test_bytes_that_come_after_the_end_of_an_upload_do_not_revive_it(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    upload = await sent(context, b"one ", length=7)
    await database.run(lambda conn: conn.execute(update(table).values(expires_at=at(1))))
    with pytest.raises(NotFoundError):
        await uploads.append(context, ANNA, upload, _pieces(b"two"), offset_bytes=4)
    assert await database.read(rows.expired, limit=9) == [upload.id]
