"""What every use case needs, wired once in `bootstrap`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from batchmill.config import Settings
from batchmill.db.connect import Database
from batchmill.engines.base import Engine
from batchmill.model.item import Delivery, WorkerId
from batchmill.storage.base import Storage


@dataclass(slots=True)
class KnownSlots:
    """How many child slots all living workers have together; the heartbeat keeps it fresh."""

    number: int


@dataclass(frozen=True, slots=True)
class Mill:
    """The truth, the bytes, the doorbell and the rules.

    `process_id` names this process, `uploads` is its own folder for files that are arriving.
    """

    database: Database
    storage: Storage
    engine: Engine
    settings: Settings
    process_id: WorkerId
    uploads: Path
    slots: KnownSlots = field(default_factory=lambda: KnownSlots(1))

    @property
    def window(self) -> int:
        """Most items in flight of a batch that sets no concurrency, and queued of an owner."""
        return self.settings.window_factor * max(1, self.slots.number)

    @property
    def lease_ms(self) -> int:
        """How long a claim holds without being renewed."""
        return round(self.settings.lease_s * 1000)

    async def ring(self, deliveries: Iterable[Delivery]) -> None:
        """Tell the engine; what it loses the sweep submits again."""
        wanted = list(deliveries)
        if wanted:
            await self.engine.submit(wanted)
