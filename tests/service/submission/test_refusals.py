"""What a submission refuses before it keeps anything, and what a late one is told."""

from pathlib import Path

import pytest

from batchmill.db import batches
from batchmill.db.connect import Database
from batchmill.errors.request import ConflictError, InvalidOptionError, NotFoundError
from batchmill.model.batch import BatchId
from batchmill.service.submission import submit
from batchmill.service.submission.submit import Caller, Order, accept, drafted
from support.server_contexts import PIPELINE, a_file, new_context, send, stored_files


@pytest.mark.parametrize("concurrency", [-1, 10_001])
async def test_a_batch_has_at_least_one_item_under_way_and_at_most_ten_thousand(
    database: Database, tmp_path: Path, concurrency: int
) -> None:
    context = new_context(database, tmp_path)
    with pytest.raises(InvalidOptionError, match="between 1 and 10,000"):
        await send(context, 1, concurrency=concurrency)
    assert stored_files(tmp_path) == []


async def test_files_for_a_batch_that_does_not_exist_are_refused(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    files = [a_file(context.uploads, "a.txt")]
    with pytest.raises(NotFoundError):
        await submit.add_files(context, BatchId("bat_unknown"), Caller(), files)
    with pytest.raises(NotFoundError):
        await database.run(submit.append, BatchId("bat_unknown"), [], open_ms=1)
    assert stored_files(tmp_path) == []


async def test_files_that_arrive_after_their_place_was_given_up_are_to_be_sent_again(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)
    files = [a_file(context.uploads, "a.txt")]
    async with drafted(context, Caller()) as batch_id:
        await database.run(batches.delete, batch_id)
        with pytest.raises(ConflictError, match="send it again"):
            await accept(context, batch_id, Caller(), order=Order(PIPELINE), files=files)
