"""What every use case needs, wired once in `bootstrap`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchmill.config import Settings
from batchmill.db.connect import Database
from batchmill.engines.base import Engine
from batchmill.model.families import DOCUMENTS, IMAGES
from batchmill.model.item import Delivery, WorkerId
from batchmill.storage.base import Storage


@dataclass(slots=True)
class Vitals:
    """What the heartbeat keeps fresh.

    `slots` counts the child slots of all living workers; `short_of` says what this machine has
    too little of, as a sentence, and is None while it has enough of everything.
    """

    slots: int = 1
    short_of: str | None = None


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
    vitals: Vitals = field(default_factory=Vitals)

    @property
    def window(self) -> int:
        """Most items in flight of a batch that sets no concurrency, and queued of an owner."""
        return self.settings.window_factor * max(1, self.vitals.slots)

    @property
    def caps(self) -> Mapping[str, int]:
        """Most items in flight of those families that the reference documents limit."""
        return {
            DOCUMENTS: self.settings.documents.concurrency,
            IMAGES: self.settings.images.concurrency,
        }

    @property
    def lease_ms(self) -> int:
        """How long a claim holds without being renewed."""
        return round(self.settings.lease_s * 1000)

    async def ring(self, deliveries: Iterable[Delivery]) -> None:
        """Tell the engine; what it loses the sweep submits again."""
        wanted = list(deliveries)
        if wanted:
            await self.engine.submit(wanted)
