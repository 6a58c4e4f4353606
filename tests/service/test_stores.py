"""A store and a database that do not belong together are told apart, and nothing is removed."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from batchmill.db import orphans, pauses
from batchmill.db.connect import Database
from batchmill.db.migrate import migrate
from batchmill.db.schema import batches as batch_table
from batchmill.db.schema import installation
from batchmill.db.types import NOW
from batchmill.errors.outage import StorageUnavailableError
from batchmill.errors.request import NotFoundError, WrongStoreError
from batchmill.model import ids
from batchmill.model.batch import BatchId
from batchmill.service import stores, sweep
from batchmill.service.context import ServerContext
from batchmill.service.orphans import confirm
from batchmill.storage import keys
from batchmill.storage.base import Storage
from batchmill.storage.local import LocalStorage
from batchmill.storage.objects import Bucket, ObjectStorage
from batchmill.storage.split import SplitStorage
from support.server_contexts import a_day_later, a_file, marked, new_context, send, swept

HOUR_MS = stores.RAISED_EVERY_MS


@pytest.fixture
def empty_database(tmp_path: Path) -> Iterator[Database]:
    """The database that a wrong address leads to: new, and with all tables."""
    database = Database(f"sqlite:///{tmp_path / 'wrong.sqlite3'}")
    migrate(database.engine)
    yield database
    asyncio.run(database.aclose())


@pytest.fixture(params=["local", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "storage")
    return ObjectStorage(request.getfixturevalue("own_bucket"))


async def mark_of(context: ServerContext, key: str = keys.IDENTITY) -> dict[str, Any] | None:
    try:
        return json.loads(b"".join([piece async for piece in context.storage.read(key)]))
    except NotFoundError:
        return None


async def folders(context: ServerContext) -> set[str]:
    return {name async for name in context.storage.list_folders(keys.BATCHES)}


async def put_folders(context: ServerContext, number: int) -> set[BatchId]:
    """Lay down folders of batches that the database does not know."""
    names = {ids.batch_id() for _ in range(number)}
    for name in names:
        left = a_file(context.uploads, "left.txt").path
        await context.storage.put(f"batches/{name}/in/x", left, media_type="text/plain")
    return names


async def an_hour_later(context: ServerContext) -> None:
    earlier = update(installation).values(raised_at=NOW - HOUR_MS - 1)
    await context.database.run(lambda conn: conn.execute(earlier))


async def generation(context: ServerContext) -> int | None:
    return await context.database.read(lambda conn: conn.scalar(select(installation.c.generation)))


async def back_to(context: ServerContext, number: int) -> None:
    """Do what restoring an older backup does to the row of the installation."""
    older = update(installation).values(generation=number, raised_at=NOW)
    await context.database.run(lambda conn: conn.execute(older))


async def test_a_wrong_database_is_refused_and_removes_nothing(
    database: Database, empty_database: Database, storage: Storage, tmp_path: Path
) -> None:
    right = replace(new_context(database, tmp_path), storage=storage)
    await marked(right)
    batch_id = await send(right, 1)
    wrong = replace(new_context(empty_database, tmp_path), storage=storage)
    with pytest.raises(WrongStoreError, match="belongs to another installation") as refused:
        await marked(wrong)
    assert "BATCHMILL_DATABASE_URL" in refused.value.message
    assert "--adopt-storage" in refused.value.message
    await swept(wrong)
    assert await folders(right) == {batch_id}
    await marked(right)


async def test_a_store_in_use_before_marks_is_adopted_by_its_database_and_by_no_other(
    database: Database, empty_database: Database, storage: Storage, tmp_path: Path
) -> None:
    right = replace(new_context(database, tmp_path), storage=storage)
    batch_id = await send(right, 1)
    wrong = replace(new_context(empty_database, tmp_path), storage=storage)
    with pytest.raises(WrongStoreError, match="batches that the database does not know"):
        await marked(wrong)
    await swept(wrong)
    assert await mark_of(wrong) is None
    await marked(right)
    assert await mark_of(right) is not None
    assert await folders(right) == {batch_id}


async def test_of_many_folders_one_that_is_unknown_is_enough_to_refuse_the_store(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    one = await send(context, 1)
    for name in (ids.batch_id() for _ in range(stores.CHUNK_ROWS)):
        (tmp_path / "storage/batches" / name).mkdir()
    with pytest.raises(WrongStoreError):
        await marked(context)
    for folder in (tmp_path / "storage/batches").iterdir():
        if folder.name != one:
            folder.rmdir()
    await marked(context)


async def test_an_older_backup_is_refused_until_its_generation_is_raised_by_word(
    database: Database, storage: Storage, tmp_path: Path
) -> None:
    context = replace(new_context(database, tmp_path), storage=storage)
    await marked(context)
    batch_id = await send(context, 1)
    for _ in range(3):
        await an_hour_later(context)
        await swept(context)
    assert await generation(context) == 4
    await back_to(context, 2)
    await context.database.run(lambda conn: conn.execute(delete(batch_table)))
    with pytest.raises(WrongStoreError, match="in use after this backup"):
        await marked(context)
    await swept(context)
    await a_day_later(context)
    await swept(context)
    assert await folders(context) == {batch_id}
    assert await generation(context) == 2
    await stores.claim(context, stores.of_batches(context), adopt=True)
    assert await generation(context) == 5
    mark = await mark_of(context)
    assert mark is not None
    assert mark["generation"] == 5
    await marked(context)


async def test_the_generation_is_raised_once_an_hour_in_the_database_and_the_marks(
    database: Database, own_bucket: Bucket, tmp_path: Path
) -> None:
    split = SplitStorage(LocalStorage(tmp_path / "storage"), ObjectStorage(own_bucket))
    context = replace(new_context(database, tmp_path, results_url=own_bucket.url), storage=split)
    await marked(context)
    await swept(context)
    assert await generation(context) == 1
    await an_hour_later(context)
    await swept(context)
    main, results = await mark_of(context), await mark_of(context, f"results/{keys.IDENTITY}")
    assert main == results
    assert main is not None
    assert main["generation"] == 2
    await swept(context)
    assert await generation(context) == 2


async def test_an_empty_store_in_the_place_of_a_marked_one_is_refused_until_adopted(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    await send(context, 1)
    unmounted = replace(context, storage=LocalStorage(tmp_path / "mount point"))
    with pytest.raises(WrongStoreError, match="its mark is missing"):
        await marked(unmounted)
    await swept(unmounted)
    assert await mark_of(unmounted) is None
    assert await context.database.read(pauses.of_cleanup) is not None
    await stores.claim(unmounted, stores.of_batches(unmounted), adopt=True)
    assert await mark_of(unmounted) == await mark_of(context)


async def test_another_bucket_for_results_is_refused_and_the_first_one_is_not(
    database: Database, own_bucket: Bucket, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    main, results = LocalStorage(tmp_path / "storage"), ObjectStorage(own_bucket)
    split = new_context(database, tmp_path, results_url=own_bucket.url)
    await marked(replace(split, storage=SplitStorage(main, results)))
    other = ObjectStorage(replace(own_bucket, url=f"{own_bucket.url}/other"))
    with pytest.raises(WrongStoreError, match="BATCHMILL_RESULTS_URL"):
        await marked(replace(split, storage=SplitStorage(main, other)))


async def test_two_installations_share_a_bucket_by_prefix_and_not_without(
    database: Database, empty_database: Database, own_bucket: Bucket, tmp_path: Path
) -> None:
    one = replace(new_context(database, tmp_path / "one"), storage=ObjectStorage(own_bucket))
    two = new_context(empty_database, tmp_path / "two")
    beside = replace(own_bucket, url=f"{own_bucket.url}-two")
    await marked(one)
    await marked(replace(two, storage=ObjectStorage(beside)))
    with pytest.raises(WrongStoreError, match="a prefix of its own"):
        await marked(replace(two, storage=ObjectStorage(own_bucket)))


async def test_servers_of_one_installation_that_start_at_once_agree_on_the_mark(
    database: Database, storage: Storage, tmp_path: Path
) -> None:
    servers = [
        replace(new_context(database, tmp_path / str(number)), storage=storage)
        for number in range(6)
    ]
    await asyncio.gather(*(marked(each) for each in servers))
    mark = await mark_of(servers[0])
    known = await database.read(lambda conn: conn.scalar(select(installation.c.id)))
    assert mark == {"installation": known, "generation": 1}


async def test_of_two_installations_that_start_at_once_in_one_place_one_is_refused(
    database: Database, empty_database: Database, storage: Storage, tmp_path: Path
) -> None:
    both = [
        replace(new_context(each, tmp_path / str(number)), storage=storage)
        for number, each in enumerate((database, empty_database))
    ]
    claims = [stores.claim(each, stores.of_batches(each)) for each in both]
    ended = await asyncio.gather(*claims, return_exceptions=True)
    refused = [each for each in ended if each is not None]
    assert [type(each) for each in refused] == [WrongStoreError]


async def test_a_mark_that_nobody_can_read_is_taken_for_anothers(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await context.storage.swap(keys.IDENTITY, b"[]", expected=None)
    with pytest.raises(WrongStoreError):
        await marked(context)


async def test_uploads_of_another_database_are_refused_and_stay(
    database: Database, empty_database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    wrong = new_context(empty_database, tmp_path)
    with pytest.raises(WrongStoreError, match="BATCHMILL_UPLOADS_DIR"):
        await stores.claim(wrong, stores.of_uploads(wrong))
    (context.settings.uploads_folder / keys.IDENTITY).unlink()
    (context.settings.uploads_folder / "upl_1").touch()
    with pytest.raises(WrongStoreError, match="BATCHMILL_UPLOADS_DIR"):
        await stores.claim(context, stores.of_uploads(context))


async def test_a_worker_with_another_storage_than_the_servers_is_refused(
    database: Database, tmp_path: Path
) -> None:
    server = new_context(database, tmp_path)
    await marked(server)
    await stores.claim_when_marked(server)
    worker = replace(server, storage=LocalStorage(tmp_path / "another folder"))
    with pytest.raises(WrongStoreError, match="its mark is missing"):
        await stores.claim_when_marked(worker)


async def test_a_worker_that_starts_first_waits_for_a_server_and_marks_nothing(
    database: Database, tmp_path: Path
) -> None:
    class Watched(LocalStorage):
        async def read(
            self, key: str, *, start: int = 0, stop: int | None = None
        ) -> AsyncIterator[bytes]:
            looks.append(key)
            if len(looks) == 3:
                looked.set()
            async for piece in super().read(key, start=start, stop=stop):
                yield piece

    looks, looked = list[str](), asyncio.Event()

    server = new_context(database, tmp_path)
    worker = replace(server, storage=Watched(tmp_path / "storage"))
    waiting = asyncio.create_task(stores.claim_when_marked(worker))
    await asyncio.wait_for(looked.wait(), 30)
    assert await mark_of(server) is None
    await marked(server)
    await asyncio.wait_for(waiting, 30)


async def test_more_orphans_than_a_days_worth_wait_for_an_administrator(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    kept = await send(context, 1)
    names = await put_folders(context, 11)
    await swept(context)
    pause = await database.read(pauses.of_cleanup)
    assert pause is not None
    assert pause.reason.startswith("11 folders")
    await a_day_later(context)
    await swept(context)
    assert await folders(context) == {kept, *names}
    late = await put_folders(context, 1)
    await confirm(context)
    await swept(context)
    assert await folders(context) == {kept, *late}
    assert await database.read(pauses.of_cleanup) is None


async def test_ten_orphans_are_removed_after_a_day_and_not_before(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    names = await put_folders(context, 10)
    await swept(context)
    await swept(context)
    assert await folders(context) == names
    await a_day_later(context)
    await swept(context)
    assert await folders(context) == set()
    assert await database.read(orphans.count) == 0


async def test_a_folder_that_is_known_again_is_no_orphan_any_more(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    await marked(context)
    batch_id = await send(context, 1)
    rename = update(batch_table).where(batch_table.c.id == batch_id).values(id="bat_lost")
    await database.run(lambda conn: conn.execute(rename))
    await swept(context)
    assert await database.read(orphans.count) == 1
    back = update(batch_table).where(batch_table.c.id == "bat_lost").values(id=batch_id)
    await database.run(lambda conn: conn.execute(back))
    await a_day_later(context)
    await swept(context)
    assert await folders(context) == {batch_id}
    assert await database.read(orphans.count) == 0


async def test_a_listing_that_breaks_off_removes_and_forgets_nothing(
    database: Database, tmp_path: Path
) -> None:
    class Broken(LocalStorage):
        async def list_folders(self, prefix: str) -> AsyncIterator[str]:
            async for name in super().list_folders(prefix):
                yield name
                raise StorageUnavailableError(detail="gone")

    context = new_context(database, tmp_path)
    await marked(context)
    names = await put_folders(context, 3)
    await swept(context)
    await a_day_later(context)
    broken = replace(context, storage=Broken(tmp_path / "storage"))
    with pytest.raises(StorageUnavailableError):
        await sweep.remove_orphans(broken)
    assert await folders(context) == names
    assert await database.read(orphans.count) == 3


async def test_a_store_that_another_installation_took_over_is_cleaned_up_no_more(
    database: Database, empty_database: Database, tmp_path: Path
) -> None:
    context, other = new_context(database, tmp_path), new_context(empty_database, tmp_path)
    await marked(context)
    names = await put_folders(context, 3)
    await swept(context)
    await a_day_later(context)
    await stores.claim(other, stores.of_batches(other), adopt=True)
    await swept(context)
    assert await folders(context) == names
