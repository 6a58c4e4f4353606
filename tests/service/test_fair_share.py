"""Owners share a mill fairly: a small batch doesn't wait for somebody else's hundreds."""

import asyncio
from pathlib import Path

import pytest

from batchmill.db.connect import Database
from batchmill.model.batch import OwnerId
from batchmill.service.delivery import Claimed
from batchmill.service.submit import Caller
from support.mills import a_mill, scripted, send, until_ended, working

ANNA, BERTA = Caller(OwnerId("anna")), Caller(OwnerId("berta"))
FILES = 10


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_a_small_batch_ends_within_twice_its_own_work_beside_many_batches(
    database: Database, tmp_path: Path, slots: int
) -> None:
    """Work is counted in files that were begun, so that no clock has a say."""
    begun: list[OwnerId] = []
    warm, gate = asyncio.Event(), asyncio.Event()

    async def script(claimed: Claimed) -> None:
        begun.append(claimed.owner_id)
        if len(begun) == 40:
            gate.clear()
            warm.set()
        await asyncio.wait_for(gate.wait(), 60)

    async def story() -> None:
        mill = a_mill(database, tmp_path)
        mill.vitals.slots = slots
        for _ in range(30):
            await send(mill, 20, caller=ANNA)
        async with working(mill, scripted(tmp_path, script), slots=slots):
            gate.set()
            await asyncio.wait_for(warm.wait(), 60)
            berta = await send(mill, FILES, caller=BERTA)
            ahead = len(begun)
            gate.set()
            await until_ended(mill, berta)
        own = [place for place, owner in enumerate(begun) if owner == BERTA.owner_id]
        assert len(own) == FILES
        assert own[-1] + 1 - ahead <= 2 * FILES

    asyncio.run(story())
