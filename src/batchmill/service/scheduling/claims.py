"""Claims: which items a worker gets of the batch whose turn it is, in one transaction.

A claim waits for no other, but where a lock must decide: the first of a run, a batch or a family
with a limit, a batch of which something is away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from batchmill.db import batches, counters, items, shares, turns, workers
from batchmill.db.connect import Connection
from batchmill.db.turns import Due, Passed, Turn
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import Batch, BatchStatus
from batchmill.model.item import ItemStatus
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import Asking, Claimed

CHUNK_ITEMS: Final = 200
CHUNK_BYTES: Final = 64_000_000
"""Most that a worker claims at once; one file may be larger."""
_ANY_LOST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a claim brought; with `passed`, ask again in a transaction of its own.

    `passed` adds the batch or family that gave nothing: none of its locks is held over another's.
    """

    claimed: Sequence[Claimed] = ()
    passed: Passed | None = None


def claim(conn: Connection, asking: Asking, *, now: Clock = NOW) -> Answer:
    """Claim items of the batch whose turn it is, in their order; none when nothing is due."""
    shares.write(conn, asking.worker_id, asking.usage)
    passed, who = asking.passed, asking.worker_id
    turn = turns.next_turn(conn, who, slots=asking.slots, passed=passed, here=asking.here, now=now)
    if turn is None:
        return Answer()
    room = _room_in_family(conn, turn.family, asking.caps)
    if room <= 0:
        return Answer(passed=replace(passed, families=(*passed.families, turn.family)))
    if taken := _take(conn, turn, asking, room=room, now=now):
        return Answer(taken)
    # Another worker was faster.
    return Answer(passed=replace(passed, batches=(*passed.batches, turn.batch_id)))


def _room_in_family(conn: Connection, family: str, caps: Mapping[str, int]) -> int:
    """Return how many items of a family may be claimed; those who ask wait for each other."""
    if family not in caps:
        return CHUNK_ITEMS
    workers.go_alone(conn, f"cap {family}")
    return caps[family] - turns.in_flight_of_family(conn, family)


def _take(
    conn: Connection, turn: Turn, asking: Asking, *, room: int, now: Clock
) -> Sequence[Claimed]:
    """Claim of a batch: alone where that must be, else beside all who do the same."""
    is_capped = turn.is_bounded or turn.family in asking.caps
    is_alone = is_capped or turn.is_new or turn.is_away
    read = batches.lock if is_alone else batches.get_any
    if turn.is_new and not is_capped:  # the numbers matter where there is a limit
        read = batches.lock_new
    batch = read(conn, turn.batch_id)
    if batch is None or not batch.runnable or (not is_alone and _is_for_one(batch)):
        return ()
    is_probe = False
    if batch.outage_since is not None:
        is_probe, may_be_over = transitions.outage_now(conn, batch, now)
        if is_probe and not may_be_over:
            return ()  # another worker tries already
    room = 1 if is_probe else _room_in_batch(batch, room)
    most = min(room, CHUNK_ITEMS, max(1, asking.most(batch)))
    found = _due(conn, batch, asking, most=most, now=now) if most > 0 else ()
    taken = _within_bytes(_suspect_alone(found))
    if taken:
        ids = [each.id for each in taken]
        items.take(conn, ids, worker_id=asking.worker_id, now=now)
    moved = _moved_by_claim(taken)
    if is_alone:
        turned = _turn(batch, begins=bool(taken), is_probe=is_probe, now=now)
        batches.count(conn, batch.id, moved, **turned)
    else:
        counters.take_turn(conn, batch.id, asking.worker_id, moved, now=now)
    return [transitions.claimed_of(batch, each, turn, is_capped=is_capped) for each in taken]


def _room_in_batch(batch: Batch, room: int) -> int:
    if batch.concurrency is not None:
        room = min(room, batch.concurrency - batch.counts.in_flight)
    return room


def _is_for_one(batch: Batch) -> bool:
    """Say whether who claims of a batch goes alone; it may have become so since its turn."""
    is_away = batch.outage_since is not None
    return is_away or batch.concurrency is not None or batch.run_started_at is None


def _due(conn: Connection, batch: Batch, asking: Asking, *, most: int, now: Clock) -> Sequence[Due]:
    """Return what may be claimed: retries first, but what was never tried while something is away.

    Else one file that finds its model away each time would be the only one that asks.
    """
    statuses = [ItemStatus.RETRYING, ItemStatus.PENDING][not batch.counts.retrying :]
    if batch.outage_since is not None:
        statuses.reverse()
    lost = transitions.SUSPECT_LOST - 1 if asking.has_suspect else _ANY_LOST
    return turns.due(conn, batch.id, limit=most, statuses=statuses, most_lost=lost, now=now)


def _suspect_alone(found: Sequence[Due]) -> Sequence[Due]:
    """Cut a chunk off before a suspect that is not its first, and behind one that is."""
    for number, each in enumerate(found):
        if each.lost >= transitions.SUSPECT_LOST:
            return found[: max(1, number)]
    return found


def _within_bytes(found: Sequence[Due]) -> Sequence[Due]:
    size = 0
    for number, each in enumerate(found):
        size += each.input.bytes
        if size > CHUNK_BYTES and number:
            return found[:number]
    return found


def _moved_by_claim(taken: Sequence[Due]) -> dict[ItemStatus, int]:
    retried = sum(each.status is ItemStatus.RETRYING for each in taken)
    return {
        ItemStatus.RETRYING: -retried,
        ItemStatus.PENDING: retried - len(taken),
        ItemStatus.QUEUED: len(taken),
    }


def _turn(batch: Batch, *, begins: bool, is_probe: bool, now: Clock) -> dict[str, Any]:
    """Return the columns of a batch's turn.

    It moves on even when nothing was due, so that no batch is asked twice in a row.
    """
    values: dict[str, Any] = {"turn_at": now}
    if is_probe:
        values |= batches.next_probe(batch, now=now)
    if begins:
        values["status"] = BatchStatus.PROCESSING
        values |= {
            name: now for name in ("started_at", "run_started_at") if not getattr(batch, name)
        }
    return values
