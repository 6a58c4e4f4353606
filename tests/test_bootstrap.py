"""What the settings name is what is built."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from pydantic import SecretStr

from batchmill.bootstrap import opened, serve, working
from batchmill.errors.request import UsageError, WrongStoreError
from batchmill.settings.fields import Settings
from batchmill.storage import keys
from batchmill.storage.objects import Bucket
from support.folders import files_below
from support.processes import descendants
from support.server_contexts import send


async def store(settings: Settings, path: Path) -> None:
    async with opened(settings) as context:
        await context.storage.put("a/0", path, media_type="image/png")
        assert [piece async for piece in context.storage.read("a/0")] == [b"body"]


def store_a_file(settings: Settings, path: Path) -> None:
    """Open everything that the settings name and store a file under `a/0`."""
    path.write_bytes(b"body")
    asyncio.run(store(settings, path))


def test_files_lie_in_the_data_folder_when_nothing_is_set(tmp_path: Path) -> None:
    store_a_file(Settings(data_dir=tmp_path), tmp_path / "f")
    assert (tmp_path / "storage/a/0").read_bytes() == b"body"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_lie_in_the_folder_that_is_named(scheme: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", storage_url=f"{scheme}{tmp_path}/big disk")
    store_a_file(settings, tmp_path / "f")
    assert (tmp_path / "big disk/a/0").read_bytes() == b"body"


def test_files_lie_in_the_bucket_that_is_named(own_bucket: Bucket, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        storage_url=own_bucket.url,
        s3_endpoint=own_bucket.endpoint,
        s3_region=own_bucket.region,
        s3_access_key_id=SecretStr(own_bucket.access_key_id or ""),
        s3_secret_access_key=SecretStr(own_bucket.secret_access_key or ""),
    )
    store_a_file(settings, tmp_path / "f")
    assert not (tmp_path / "storage").exists()


async def test_a_worker_goes_on_although_its_first_nursery_died(tmp_path: Path) -> None:
    settings, before = Settings(data_dir=tmp_path, children=1), descendants(os.getpid())
    async with opened(settings) as context, working(context, stopping=asyncio.Event()) as pool:
        async with asyncio.timeout(60):
            while not (nurseries := set(descendants(os.getpid())) - set(before)):
                await asyncio.sleep(0.01)
            for fork_server in nurseries:
                os.kill(fork_server, signal.SIGKILL)
            await pool.start()
        assert pool.stats().idle == 1


def test_a_storage_that_nobody_knows_is_a_usage_error(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, storage_url="ftp://somewhere/else")
    with pytest.raises(UsageError, match="BATCHMILL_STORAGE_URL"):
        store_a_file(settings, tmp_path / "f")


def test_signing_keys_must_be_long(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, signing_keys=(SecretStr("short"),))
    with pytest.raises(UsageError, match="at least 32 characters"):
        store_a_file(settings, tmp_path / "f")


def test_secret_keys_must_be_long(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret_keys=(SecretStr("k" * 32), SecretStr("k" * 31)))
    with pytest.raises(UsageError, match=r"BATCHMILL_SECRET_KEYS .* at least 32 characters"):
        store_a_file(settings, tmp_path / "f")


def test_processes_that_share_work_must_be_told_how_to_sign(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url=SecretStr("postgresql+psycopg://nobody@127.0.0.1:9/nothing"),
        public_url="https://mill.example",
        llm_base_url="http://127.0.0.1:9/v1",
    )
    with pytest.raises(UsageError, match="BATCHMILL_SIGNING_KEYS"):
        store_a_file(settings, tmp_path / "f")


def test_a_server_does_not_accept_work_that_nobody_would_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--no-worker"):
        asyncio.run(serve(Settings(data_dir=tmp_path / "data", port=0), with_worker=False))
    assert not (tmp_path / "data").exists()


def start(settings: Settings, **how: bool) -> None:
    """Start as far as before the first request, and end again."""

    async def story() -> None:
        async with opened(settings, **how):
            pass

    asyncio.run(story())


def with_a_batch(folder: Path) -> Path:
    """Return a data folder that a server has used, with the files of a batch that it knows."""

    async def story() -> None:
        async with opened(Settings(data_dir=folder, disk_reserve_bytes=0)) as context:
            await send(context, 1)

    asyncio.run(story())
    return folder


def stored(folder: Path) -> list[Path]:
    return files_below(folder / "storage/batches")


@pytest.mark.parametrize("serves", [True, False])
def test_a_process_with_another_database_than_the_files_does_not_start(
    serves: bool, tmp_path: Path
) -> None:
    folder = with_a_batch(tmp_path)
    before, wrong = stored(folder), SecretStr(f"sqlite:///{tmp_path}/typo.sqlite3")
    with pytest.raises(WrongStoreError, match="another installation"):
        start(Settings(data_dir=folder, database_url=wrong), serves=serves)
    assert stored(folder) == before != []
    start(Settings(data_dir=folder))


@pytest.mark.parametrize("serves", [True, False])
def test_a_process_with_another_folder_than_the_database_does_not_start(
    serves: bool, tmp_path: Path
) -> None:
    database = SecretStr(f"sqlite:///{with_a_batch(tmp_path)}/batchmill.sqlite3")
    elsewhere = Settings(data_dir=tmp_path, storage_url=f"{tmp_path}/wrong", database_url=database)
    with pytest.raises(WrongStoreError, match="mark is missing"):
        start(elsewhere, serves=serves)
    assert not (tmp_path / "wrong" / keys.IDENTITY).exists()


def test_adopting_takes_over_the_files_of_a_database_that_is_lost(tmp_path: Path) -> None:
    folder = with_a_batch(tmp_path)
    before = stored(folder)
    for left in folder.glob("batchmill.sqlite3*"):
        left.unlink()
    with pytest.raises(WrongStoreError):
        start(Settings(data_dir=folder))
    start(Settings(data_dir=folder), adopt=True)
    start(Settings(data_dir=folder))
    assert stored(folder) == before


def test_a_bucket_that_is_away_holds_up_no_start(own_bucket: Bucket, tmp_path: Path) -> None:
    gone = Settings(
        data_dir=tmp_path,
        storage_url="s3://no-such-bucket",
        s3_endpoint=own_bucket.endpoint,
        s3_region=own_bucket.region,
        s3_access_key_id=SecretStr(own_bucket.access_key_id or ""),
        s3_secret_access_key=SecretStr(own_bucket.secret_access_key or ""),
    )
    start(gone)
