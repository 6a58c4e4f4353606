"""What a run in this process makes remote calls with: a model, and a budget of the run's own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from batchmill.errors.item import BudgetUsedUpError
from batchmill.model.pipeline import Pipeline
from batchmill.operations import registry
from batchmill.operations.contract import RemoteCall
from batchmill.operations.vision.model import Clients

_MICROUSD = 1_000_000


class RunCallBudget:
    """The budget of one run; see `CallBudget`."""

    def __init__(self) -> None:
        self._used = 0

    async def reserve(self, amount: int, *, most: int | None) -> None:
        """See CallBudget.reserve."""
        if most is not None and self._used + amount > most:
            raise BudgetUsedUpError("this batch", most / _MICROUSD)
        self._used += amount

    async def settle(self, reserved: int, spent: int) -> None:
        """See CallBudget.settle."""
        self._used += spent - reserved


@asynccontextmanager
async def opened(pipeline: Pipeline) -> AsyncIterator[Clients]:
    """Make the clients that the environment's settings describe, where the pipeline has calls.

    Raises:
        ModelKeyMissingError, InvalidOptionError: the pipeline needs what is not set up.
        UsageError: a setting is wrong.
    """
    if not any(isinstance(registry.get(step.use), RemoteCall) for step in pipeline.steps):
        yield Clients()
        return
    # Here and not at the top: most runs call no model, and need no settings.
    from batchmill.settings import loading
    from batchmill.vision import clients

    settings = loading.load(os.environ, loading.read_file(os.environ))
    clients.check(pipeline, settings)
    async with clients.opened(settings) as made:
        yield replace(made, budget=RunCallBudget())
