"""Results go to their bucket; while it is away they stay, and say so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.db.connect import Database
from batchmill.errors.outage import StorageUnavailableError
from batchmill.model.item import Result
from batchmill.service.context import ServerContext
from batchmill.storage.keys import RESULTS
from batchmill.storage.local import LocalStorage
from batchmill.storage.split import SplitStorage
from support.server_contexts import (
    items_of,
    new_context,
    nothing_special,
    scripted,
    send,
    until_ended,
    working,
)

pytestmark = pytest.mark.anyio


class Bucket(LocalStorage):
    """A bucket that is away as long as a test says so."""

    away = False
    asked = 0

    async def put(self, key: str, path: Path, **more: Any) -> None:
        self.asked += 1
        if self.away:
            raise StorageUnavailableError(detail="it is away")
        await super().put(key, path, **more)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "bucket")


@pytest.fixture
def context(database: Database, tmp_path: Path, bucket: Bucket) -> ServerContext:
    context = new_context(database, tmp_path, results_url="s3://bucket")
    return replace(context, storage=SplitStorage(context.storage, bucket))


async def results(context: ServerContext, folder: Path, number: int) -> list[Result]:
    batch_id = await send(context, number)
    async with working(context, scripted(folder, nothing_special), slots=1):
        await until_ended(context, batch_id)
    found = [item.result for item in await items_of(context, batch_id)]
    return [result for result in found if result is not None]


async def test_a_result_says_by_its_key_that_it_is_in_the_bucket(
    context: ServerContext, tmp_path: Path
) -> None:
    (result,) = await results(context, tmp_path, 1)

    (output,) = result.outputs
    assert output.key.startswith(RESULTS)
    assert output.key.endswith(".txt")
    assert result.warnings == ()
    assert [piece async for piece in context.storage.read(output.key)] == [b"0.txt"]


async def test_a_bucket_that_is_away_is_left_alone_for_a_while(
    context: ServerContext, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.away = True
    found = await results(context, tmp_path, 5)

    assert bucket.asked == 1
    assert len(found) == 5
    for result in found:
        (output,) = result.outputs
        assert not output.key.startswith(RESULTS)
        assert result.warnings == ("out.txt is kept on the server: the bucket did not take it",)

    bucket.away, context.vitals.results_away_until_s = False, 0.0
    (result,) = await results(context, tmp_path, 1)
    assert result.outputs[0].key.startswith(RESULTS)
