"""What every use case needs, wired once in `bootstrap`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchmill import logs
from batchmill.db.connect import Connection, Database
from batchmill.engines.base import Engine
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.item import QueueMessage, WorkerId
from batchmill.outgoing.calls import Outgoing
from batchmill.service.family_rules import PLAIN, FamilyRules
from batchmill.service.seals import Seals
from batchmill.settings.fields import Settings
from batchmill.storage.base import Storage
from batchmill.storage.signing import Signer, fresh_signer

Transaction = Connection
"""An open transaction, for those who only pass it on."""


@dataclass(slots=True)
class Vitals:
    """What this process knows for the moment; the heartbeat keeps most of it fresh.

    `slots` counts the child slots of all living workers. Two are reasons why no item is
    started, None while there is none: `short_of` says what this machine has too little of,
    `paused` what the administrator said who paused the queue. Until `results_away_until_s` of the
    monotonic clock the bucket for results is not asked.
    """

    slots: int = 1
    short_of: str | None = None
    paused: str | None = None
    results_away_until_s: float = 0.0

    @property
    def holding(self) -> bool:
        """Whether no item may be started."""
        return self.short_of is not None or self.paused is not None


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The truth, the bytes, the engine and the rules.

    `process_id` names this process, `uploads` is its own folder for files that are arriving;
    `outgoing` makes every call to an address that a user named, `signer` addresses of our own;
    `seals` opens the secrets that the database keeps; `family_rules` says by family what else holds
    for its batches.
    """

    database: Database
    storage: Storage
    engine: Engine
    settings: Settings
    process_id: WorkerId
    uploads: Path
    outgoing: Outgoing = field(default_factory=Outgoing)
    signer: Signer = field(default_factory=fresh_signer)
    seals: Seals = field(default_factory=Seals)
    family_rules: Mapping[str, FamilyRules] = field(default_factory=dict)
    vitals: Vitals = field(default_factory=Vitals)

    @property
    def window(self) -> int:
        """Most items in flight of a batch that sets no concurrency, and queued of an owner."""
        return self.settings.window_factor * max(1, self.vitals.slots)

    def rules_for(self, family: str) -> FamilyRules:
        """Return what holds for batches of this family; most have nothing of their own."""
        return self.family_rules.get(family, PLAIN)

    @property
    def caps(self) -> Mapping[str, int]:
        """Most items in flight over all batches, for the families that have such a limit."""
        return {
            family: rules.concurrency
            for family, rules in self.family_rules.items()
            if rules.concurrency is not None
        }

    @property
    def lease_ms(self) -> int:
        """How long a claim holds without being renewed."""
        return round(self.settings.lease_s * 1000)

    async def notify(self, messages: Iterable[QueueMessage]) -> None:
        """Tell the engine; what it loses, or can't be told now, the sweep submits again."""
        wanted = list(messages)
        try:
            if wanted:
                await self.engine.submit(wanted)
        except OutageError as error:
            logs.warning(Event.ENGINE_AWAY, code=error.code, detail=error.detail)
