"""Owners share a server fairly: a small batch does not wait for a large one of another owner."""

import asyncio
from pathlib import Path

import pytest

from batchmill.db.connect import Database
from batchmill.model.batch import OwnerId
from batchmill.service.scheduling.transitions import Claimed
from batchmill.service.submission.submit import Caller
from support.server_contexts import (
    items_of,
    new_context,
    scripted,
    send,
    send_many,
    until_ended,
    working,
)

ANNA, BERTA = Caller(OwnerId("anna")), Caller(OwnerId("berta"))
FILES = 10


@pytest.mark.parametrize("slots", [1, 2, 8])
async def test_a_small_batch_ends_within_twice_its_own_work_beside_many_batches(
    database: Database, tmp_path: Path, slots: int
) -> None:
    """Work is counted in files that were begun, so that no clock has a say."""
    begun: list[str] = []
    standing, full, gate = 0, asyncio.Event(), asyncio.Event()

    async def script(claimed: Claimed) -> None:
        nonlocal standing
        begun.append(claimed.claim.item_id)
        if len(begun) > 20:  # once all goes its usual way
            standing += 1
            if standing == slots:
                full.set()
            await asyncio.wait_for(gate.wait(), 120)
        else:
            await asyncio.sleep(0.05)

    context = new_context(database, tmp_path)
    for _ in range(30):
        await send_many(context, 8, caller=ANNA)
    async with working(context, scripted(tmp_path, script), slots=slots):
        await asyncio.wait_for(full.wait(), 120)
        ahead = len(begun)
        berta = await send(context, FILES, caller=BERTA)
        gate.set()
        await until_ended(context, berta, limit_s=120)
    own = {item.id for item in await items_of(context, berta)}
    places = [place for place, item in enumerate(begun) if item in own]
    assert len(places) == FILES
    assert places[-1] + 1 - ahead <= 2 * FILES + slots * 8
