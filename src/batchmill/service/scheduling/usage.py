"""What owners have of this worker's slots, and how long files take: by it chunks are measured."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from batchmill.db.shares import Share
from batchmill.model.batch import Batch, BatchId, OwnerId
from batchmill.model.item import AttemptKey
from batchmill.service.scheduling.claims import CHUNK_ITEMS
from batchmill.service.scheduling.transitions import Claimed

CHUNK_S: Final = 1.0
"""The work that a worker claims at once for each slot; no file counts as longer."""
AHEAD_S: Final = 0.25
"""With less work than this for a slot that is free, or is about to be, a worker claims more."""
FIRST_ITEMS: Final = 8
"""What is claimed of files of which nothing is known yet."""
SMALL_S: Final = 0.05
"""Files that take no longer share a slot: each alone, a child waits longer than it works."""
LEAST_SEEN: Final = 3
"""So many files of a batch must be known before its own mean counts."""
RECENT_PER_SLOT: Final = 2
"""For so many owners a slot has children: its own, and about as many that are kept idle."""
KNOWN: Final = 1_000
"""Most batches and pipelines whose means are remembered."""


@dataclass(slots=True)
class _Mean:
    number: int = 0
    total_s: float = 0.0
    last_s: float = 0.0

    @property
    def s(self) -> float:
        return max(1e-4, self.total_s / self.number)

    def add(self, passed_s: float, files: int) -> None:
        self.number += files
        self.last_s = passed_s / files
        self.total_s += min(passed_s, files * CHUNK_S)


@dataclass(frozen=True, slots=True)
class _InSlot:
    claimed: Claimed
    began_s: float
    expected_s: float

    def ends_soon(self, now_s: float) -> bool:
        """Say whether the slot falls free in a moment; of a long file that is not known."""
        passed_s = now_s - self.began_s
        return passed_s < CHUNK_S and self.expected_s - passed_s < AHEAD_S


class SlotUsage:
    """One per worker; `slots` is how many files it has at work at once."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._running: dict[AttemptKey, _InSlot] = {}
        self._means: dict[str, _Mean] = {}
        self._served_ms: dict[OwnerId, int] = {}
        self._told: dict[OwnerId, tuple[int, int]] = {}
        self.at_work: Counter[OwnerId] = Counter()
        """How many slots each owner has here."""
        self.recent: dict[OwnerId, None] = {}
        """The owners who had a slot here last: they have children still."""

    def begin(self, claimed: Claimed) -> None:
        """Note that an item has a slot."""
        now_s, expected_s = (
            time.monotonic(),
            self.expected_s(claimed.claim.batch_id, claimed.pipeline),
        )
        self._running[claimed.claim.key] = _InSlot(claimed, now_s, expected_s)
        self.at_work[claimed.owner_id] += 1
        self.recent.pop(claimed.owner_id, None)
        self.recent[claimed.owner_id] = None
        while len(self.recent) > RECENT_PER_SLOT * self.slots:
            del self.recent[next(iter(self.recent))]

    def is_small(self, batch_id: BatchId) -> bool:
        """Say whether files of a batch are known to take so little that several share a slot."""
        mean = self._means.get(batch_id)
        return (
            mean is not None and mean.number >= LEAST_SEEN and max(mean.s, mean.last_s) <= SMALL_S
        )

    def end(self, claimed: Claimed, *, files: int = 1) -> None:
        """Note that an item has left its slot, where it has not before; `files` had it together."""
        left = self._running.pop(claimed.claim.key, None)
        if left is None:
            return
        passed_s = time.monotonic() - left.began_s
        owner = claimed.owner_id
        self.at_work[owner] -= 1
        if not self.at_work[owner]:
            del self.at_work[owner]
        self._served_ms[owner] = self._served_ms.get(owner, 0) + max(1, round(passed_s * 1000))
        for key in (claimed.claim.batch_id, _pipeline_key(claimed.pipeline)):
            self._means.setdefault(key, _Mean()).add(passed_s, files)
        while len(self._means) > KNOWN:
            del self._means[next(iter(self._means))]

    def expected_s(self, batch_id: BatchId, pipeline: Mapping[str, object]) -> float:
        """Return how long a file of a batch will probably take."""
        for key in (str(batch_id), _pipeline_key(pipeline)):
            mean = self._means.get(key)
            if mean is not None and mean.number >= LEAST_SEEN:
                return mean.s
        return CHUNK_S / FIRST_ITEMS

    @property
    def free_soon(self) -> int:
        """How many slots are free or will be in a moment."""
        now_s = time.monotonic()
        free = max(0, self.slots - len(self._running))
        for each in self._running.values():
            free += each.ends_soon(now_s)
        return free

    def most(self, batch: Batch, *, slots: int, workers: int) -> int:
        """Return how many items of a batch give `slots` slots work for a second.

        Of the last ones a worker takes no more than half of its part, so that others get some.
        """
        mean_s = self.expected_s(batch.id, batch.pipeline)
        slots = max(1, slots)
        wanted = min(CHUNK_ITEMS, max(1, round(slots * CHUNK_S / mean_s)))
        if workers > 1:
            part = -(-batch.counts.waiting // (2 * workers))
            wanted = min(wanted, max(part, round(slots * AHEAD_S / mean_s), 1))
        return wanted

    def owners_of(self, waiting: Sequence[Claimed]) -> set[OwnerId]:
        """Return the owners who have a slot here, or will get one."""
        return self.at_work.keys() | {each.owner_id for each in waiting}

    def changes(self) -> Sequence[Share]:
        """Return what is to be written of what owners have; `written` says that it was."""
        now: dict[OwnerId, tuple[int, int]] = {}
        for each in self._running.values():
            slots, aged = now.get(each.claimed.owner_id, (0, 0))
            now[each.claimed.owner_id] = slots + 1, aged + each.claimed.is_aged
        owners = self._served_ms.keys() | self._told.keys() | now.keys()
        return [
            Share(owner, *now.get(owner, (0, 0)), self._served_ms.get(owner, 0))
            for owner in sorted(owners)
            if self._served_ms.get(owner) or now.get(owner, (0, 0)) != self._told.get(owner, (0, 0))
        ]

    def written(self, changes: Sequence[Share]) -> None:
        """Note that these changes are in the database."""
        for each in changes:
            self._told[each.owner_id] = each.slots, each.aged_slots
            left_ms = self._served_ms.pop(each.owner_id, 0) - each.served_ms
            if left_ms > 0:
                self._served_ms[each.owner_id] = left_ms
            elif not each.slots:
                del self._told[each.owner_id]

    def forget(self) -> None:
        """Forget what was written: this worker goes on under another id."""
        self._told.clear()


def _pipeline_key(pipeline: Mapping[str, object]) -> str:
    return f"{pipeline.get('name', '')} {pipeline.get('steps', '')}"
