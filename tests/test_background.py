"""What runs beside a block, and what is heard of it when it fails."""

import asyncio

import pytest

from batchmill.errors.outage import RunnerUnavailableError, StorageFullError
from batchmill.worker import background


async def _fail() -> None:
    raise RunnerUnavailableError


async def _for_ever() -> None:
    await asyncio.Event().wait()


def test_a_failure_beside_the_block_ends_the_block_and_is_raised_as_it_is() -> None:
    async def story() -> None:
        async with background(_for_ever()), background(_fail()):
            await _for_ever()

    with pytest.raises(RunnerUnavailableError):
        asyncio.run(story())


def test_a_failure_of_the_block_ends_what_runs_beside_it_and_is_raised_as_it_is() -> None:
    beside: list[asyncio.Task[None]] = []

    async def story() -> None:
        async with background(_for_ever()) as task:
            beside.append(task)
            raise StorageFullError

    with pytest.raises(StorageFullError):
        asyncio.run(story())
    assert beside[0].cancelled()
