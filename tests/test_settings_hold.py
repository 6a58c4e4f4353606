"""Settings that only the whole server reads: each does what its description says."""

import asyncio
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, update

from batchmill.bootstrap import open_storage, opened, working
from batchmill.db import batches, idempotency
from batchmill.db.connect import Database
from batchmill.db.schema import idempotency as answers
from batchmill.db.types import NOW
from batchmill.model.batch import BatchId, BatchStatus, OwnerId
from batchmill.service import sweep
from batchmill.settings.compat import SequentialSettings
from batchmill.settings.fields import Settings, TierLimits, Tiers
from support import whole_server
from support.pictures import scene
from support.pool_session import PoolSession
from support.server_contexts import new_context
from support.whole_server import WholeServer

SMALL = Tiers(anonymous=TierLimits(archive_entries=2, archive_bytes=3_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeServer]:
    folder = tmp_path_factory.mktemp("settings")
    hour = SequentialSettings(batch_timeout_s=3_600)
    with whole_server.running(folder, tiers=SMALL, sequential=hour) as running:
        yield running


def archive(*sizes: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as writing:
        for number, size in enumerate(sizes):
            writing.writestr(f"{number}.txt", b"x" * size)
    return made.getvalue()


@pytest.mark.parametrize(
    ("sizes", "refused"),
    [
        ((1, 1), ""),
        ((1, 1, 1), "a.zip has more than 2 entries"),
        ((1_500, 1_500), ""),
        ((1_500, 1_501), "a.zip unpacks to more than"),
    ],
)
def test_an_archive_has_no_more_entries_and_bytes_than_the_tier_allows(
    server: WholeServer, sizes: tuple[int, ...], refused: str
) -> None:
    files = {"files": ("a.zip", archive(*sizes))}
    answer = server.client.post("/v1/batches", files=files, data={"pipeline": "analyze"})
    assert answer.status_code == (413 if refused else 202)
    assert refused in answer.text


async def test_a_child_is_replaced_after_its_items(tmp_path: Path) -> None:
    """One child at a time, each for two items: four files take two of them."""
    picture = scene(24, 24).write_to_buffer(".png")
    settings = Settings(data_dir=tmp_path, children=1, child_items=2, disk_reserve_bytes=0)
    async with opened(settings) as context, working(context, stopping=asyncio.Event()) as pool:
        for _ in range(4):
            await PoolSession(pool).run("measure", body=picture)
        stats = pool.stats()
    assert (stats.jobs, stats.crashed) == (4, 0)
    assert stats.started == 2


async def test_an_answer_is_kept_as_long_as_the_setting_says(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, idempotency_s=60)
    owner = OwnerId("local")
    for key in ("old", "new"):
        await database.run(idempotency.begin, owner, key, body_sha256="0" * 64)
    for key, age_ms in (("old", 61_000), ("new", 50_000)):
        await database.run(
            Connection.execute,
            update(answers).where(answers.c.key == key).values(created_at=NOW - age_ms),
        )
    await sweep.remove_outdated(context)
    assert await database.read(idempotency.get, owner, "old") is None
    assert await database.read(idempotency.get, owner, "new") is not None


async def test_the_bucket_is_named_in_the_host_where_the_setting_says_so() -> None:
    for named, start in (
        (False, "https://s3.eu-west-1.amazonaws.com/shop/x/"),
        (True, "https://shop.s3.eu-west-1.amazonaws.com/x/"),
    ):
        storage = open_storage(
            Settings(
                storage_url="s3://shop/x",
                s3_region="eu-west-1",
                s3_access_key_id=SecretStr("key"),
                s3_secret_access_key=SecretStr("secret"),
                s3_virtual_host=named,
            )
        )
        address = await storage.address("a/0", expires_s=60)
        await storage.aclose()
        assert address is not None
        assert address.startswith(start)


def test_a_sequential_batch_ends_when_its_time_is_over(server: WholeServer) -> None:
    database = server.context.database
    files = {"files": ("a.jpg", scene(64, 64).jpegsave_buffer())}
    sent = server.client.post("/api/sequential-batch/submit", files=files).json()
    batch_id = BatchId(sent["batchId"])
    server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"] is not None)
    again = {"status": BatchStatus.PROCESSING, "run_started_at": NOW}
    server.run(database.run(batches.change, batch_id, **again))
    for after_s, late in ((3_590, []), (3_610, [batch_id])):
        later = NOW + after_s * 1_000
        assert server.run(database.read(batches.overdue, now=later)) == late
