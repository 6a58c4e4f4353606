"""What every use case needs, wired once in `bootstrap`."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from batchmill import logs
from batchmill.db.connect import Connection, Database
from batchmill.errors.outage import OutageError
from batchmill.logs import Event
from batchmill.model.batch import BatchId
from batchmill.model.item import WorkerId
from batchmill.notifiers.base import Notifier
from batchmill.outgoing.calls import Outgoing
from batchmill.service.family_rules import PLAIN, FamilyRules
from batchmill.service.seals import Seals
from batchmill.settings.fields import Settings
from batchmill.storage.base import Storage
from batchmill.storage.signing import Signer, fresh_signer

Transaction = Connection
"""An open transaction, for those who only pass it on."""


LONGEST_OUTAGE_S: Final = 86_400
"""A storage that is away for longer than a day is not waited for any more."""


@dataclass(slots=True)
class Vitals:
    """What this process knows for the moment; the heartbeat keeps most of it fresh.

    `slots` counts the child slots of all living workers, of which there are `workers`. Three are
    reasons why no item is started, None while there is none: `short_of` says what this machine has
    too little of, `paused` what the administrator said who paused the queue, `worker_paused` what
    the one said who paused this process alone. `standstill` is a
    sentence for people: why no worker at all starts anything. `worker_id` is the id
    under which this process has a lease, asked for at `renewed_s` of the monotonic clock; at
    `silent_s` it last could not renew it. Until
    `results_away_until_s` of that clock the bucket for results is not asked. The main storage does
    not answer while `storage_is_away`, and has taken nothing since `storage_failing_since_s`; it
    last took files at `storage_took_s` and last failed at `storage_failed_s`.
    """

    slots: int = 1
    workers: int = 1
    worker_id: WorkerId | None = None
    renewed_s: float = field(default_factory=time.monotonic)
    silent_s: float | None = None
    short_of: str | None = None
    paused: str | None = None
    worker_paused: str | None = None
    standstill: str | None = None
    results_away_until_s: float = 0.0
    storage_is_away: bool = False
    storage_failing_since_s: float | None = None
    storage_took_s: float = 0.0
    storage_failed_s: float = 0.0

    @property
    def holding(self) -> bool:
        """Whether no item may be started."""
        is_waited_for = self.storage_is_away and not self.storage_is_given_up
        reasons = (self.short_of, self.paused, self.worker_paused)
        return is_waited_for or any(reason is not None for reason in reasons)

    @property
    def storage_is_given_up(self) -> bool:
        """Whether the main storage has failed for too long to be waited for."""
        since_s = self.storage_failing_since_s
        return since_s is not None and time.monotonic() - since_s >= LONGEST_OUTAGE_S


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The truth, the bytes, the notifier and the rules.

    `process_id` names this process, `uploads` is its own folder for files that are arriving;
    `outgoing` makes every call to an address that a user named, `signer` addresses of our own;
    `seals` opens the secrets that the database keeps; `family_rules` says by family what else holds
    for its batches.
    """

    database: Database
    storage: Storage
    notifier: Notifier
    settings: Settings
    process_id: WorkerId
    uploads: Path
    outgoing: Outgoing = field(default_factory=Outgoing)
    signer: Signer = field(default_factory=fresh_signer)
    seals: Seals = field(default_factory=Seals)
    family_rules: Mapping[str, FamilyRules] = field(default_factory=dict)
    vitals: Vitals = field(default_factory=Vitals)

    @property
    def worker_id(self) -> WorkerId:
        """The id under which this process claims; another one once its lease was over."""
        return self.vitals.worker_id or self.process_id

    def rules_for(self, family: str) -> FamilyRules:
        """Return what holds for batches of this family; most have nothing of their own."""
        return self.family_rules.get(family, PLAIN)

    @property
    def caps(self) -> Mapping[str, int]:
        """Most items in hand over all batches, for the families that have such a limit."""
        return {
            family: rules.concurrency
            for family, rules in self.family_rules.items()
            if rules.concurrency is not None
        }

    @property
    def has_end_work(self) -> bool:
        """Whether batches of some family have something left to do once their items have ended."""
        return any(rules.end_work is not None for rules in self.family_rules.values())

    @property
    def lease_ms(self) -> int:
        """How long a worker counts as alive without a word from it."""
        return round(self.settings.lease_s * 1000)

    async def notify(self, batch_ids: Collection[BatchId]) -> None:
        """Tell the workers that these batches have work; who does not hear it asks by itself."""
        try:
            await self.notifier.notify(batch_ids)
        except OutageError as error:
            logs.warning(Event.NOTIFIER_AWAY, code=error.code, detail=error.detail)
