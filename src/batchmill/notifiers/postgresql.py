"""Notifications by PostgreSQL's LISTEN and NOTIFY, on a connection of their own.

A pooler that shares connections between transactions loses them; then workers ask by themselves.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import psycopg

from batchmill import logs
from batchmill.db import notifications
from batchmill.db.connect import Database
from batchmill.db.notifications import CHANNEL
from batchmill.logs import Event
from batchmill.model.batch import BatchId
from batchmill.notifiers.base import OnWork

PAUSE_S: Final = 1.0
"""Time between two tries to reach a database that is away."""
PATIENCE_S: Final = 10
"""How long a connection may take."""


class PostgresqlNotifier:
    """Every worker on the database hears of every batch that gets work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def notify(self, batch_ids: Collection[BatchId]) -> None:
        """See Notifier.notify."""
        if batch_ids:
            await self._database.run(notifications.notify, sorted(batch_ids))

    async def listen(self, on_work: OnWork) -> None:
        """See Notifier.listen."""
        is_away = False
        while True:
            try:
                async with await self._connected() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    if is_away:
                        logs.info(Event.NOTIFIER_BACK)
                        is_away = False
                    on_work()  # what was said before is not heard any more
                    async for _ in connection.notifies():
                        on_work()
            except psycopg.Error as error:
                if not is_away:
                    logs.warning(Event.NOTIFIER_AWAY, detail=str(error))
                is_away = True
            await asyncio.sleep(PAUSE_S)

    async def check(self) -> str:
        """See Notifier.check."""
        return "workers are told through the database"

    async def aclose(self) -> None:
        """See Notifier.aclose."""

    async def _connected(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        address = self._database.address
        return await psycopg.AsyncConnection.connect(
            address, autocommit=True, connect_timeout=PATIENCE_S
        )
