"""The transactions of an item's way: claim, begin, finish, hand back, rescue; each for many items.

Each is run whole by `Database.run` and may run again after a deadlock. Items are counted beside
their change: by a worker, named by `by`, in counters of its own, so that it waits for no other;
else in the batch's row, under its lock. All locks are taken in one order: batch row, items by id,
counters, failures.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from batchmill.db import batches, counters, failures, items, shares, turns, workers
from batchmill.db.connect import Connection
from batchmill.db.items import Ending, Failing
from batchmill.db.shares import Share
from batchmill.db.turns import Due, Passed, Turn
from batchmill.db.types import NOW, Clock
from batchmill.errors.item import Budget, WorkerLostError
from batchmill.model import pipeline as pipelines
from batchmill.model import retry
from batchmill.model.batch import (
    Batch,
    BatchId,
    BatchStatus,
    Counts,
    OwnerId,
)
from batchmill.model.item import (
    AttemptKey,
    Claim,
    Failure,
    Input,
    ItemId,
    ItemStatus,
    Result,
    Spent,
    WorkerId,
)
from batchmill.service.scheduling import endings

CHUNK_ITEMS: Final = 200
CHUNK_BYTES: Final = 64_000_000
"""Most that a worker claims at once; one file may be larger."""
SUSPECT_LOST: Final = 2
"""An item whose worker was lost so often is suspected: it is claimed and worked on alone."""
LONGEST_OUTAGE_MS: Final = 86_400_000
"""What a batch needs and is away for longer than a day is waited for no more."""
MOST_LOST: Final = 4
"""After so many losses, the last ones of workers that had begun with it alone, it is at fault."""
_ANY_LOST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed item with all that its attempt needs; it is one of `total` of its batch.

    `is_capped`: only so many of its batch or family may be in hand at once. `may_halt`: its failure
    may stop its batch. `is_probe`: it tries what its batch needs and was away. `was_tried`: an
    earlier attempt may have left files behind. `is_aged`: its batch had waited too long.
    `is_suspect`: workers were lost while they had it, so its begin is noted before it begins.
    """

    claim: Claim
    input: Input
    position: int
    total: int
    owner_id: OwnerId
    tier: str
    pipeline: dict[str, Any]
    is_capped: bool = False
    is_sequential: bool = False
    may_halt: bool = False
    is_probe: bool = False
    was_tried: bool = False
    is_aged: bool = False
    is_suspect: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """A worker that asks for items, and what it has to say meanwhile.

    `slots` are those of all living workers. `most` says how many items of a batch it could use.
    `caps` limits the items in hand of a family, over all batches and owners. `passed` are those
    that it does not ask for now; `usage` is what has changed of what owners have of it. With a
    suspect in hand it `has_suspect`, and gets no other.
    """

    worker_id: WorkerId
    slots: int
    most: Callable[[Batch], int]
    caps: Mapping[str, int] = field(default_factory=dict)
    passed: Passed = field(default_factory=Passed)
    usage: Sequence[Share] = ()
    has_suspect: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    """The attempt's outputs are in storage."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt ended with a known error; `budget` is the retry budget it uses up.

    It is not tried again before `retry_after_s` is over, if what was away asks for that. In an
    `outage` of what the batch needs, which that names, it uses up nothing.
    """

    failure: Failure
    budget: Budget
    policy: retry.RetryPolicy
    retry_after_s: float = 0.0
    outage: str | None = None


Outcome = Completed | Failed


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt that has ended, after `run_ms`."""

    claimed: Claimed
    outcome: Outcome
    run_ms: int


@dataclass(frozen=True, slots=True)
class FinishedItem:
    """What became of the item, and the batch's counters where its row was locked for it.

    `ended` is the batch's final status if this was its last item. `is_stopping`: what the batch
    has left must not begin.
    """

    status: ItemStatus
    counts: Counts | None = None
    ended: BatchStatus | None = None
    is_stopping: bool = False


def claim(conn: Connection, asking: Asking, *, now: Clock = NOW) -> Sequence[Claimed]:
    """Claim items of the batch whose turn it is, in their order; none when nothing is due."""
    shares.write(conn, asking.worker_id, asking.usage)
    passed = asking.passed
    while True:
        turn = turns.next_turn(conn, asking.worker_id, slots=asking.slots, passed=passed, now=now)
        if turn is None:
            return ()
        room = _room_in_family(conn, turn.family, asking.caps)
        if room <= 0:
            passed = replace(passed, families=(*passed.families, turn.family))
        elif taken := _take(conn, turn, asking, room=room, now=now):
            return taken
        else:  # another worker was faster
            passed = replace(passed, batches=(*passed.batches, turn.batch_id))


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
    batch = _read(conn, turn, is_alone=is_alone, is_exact=is_capped)
    if batch is None or not batch.runnable:
        return ()
    if batch.concurrency is not None:
        room = min(room, batch.concurrency - batch.counts.in_flight)
    if batch.outage_since is not None:
        room = min(room, 1)
    most = min(room, CHUNK_ITEMS, max(1, asking.most(batch)))
    found = _due(conn, batch, asking, most=most, now=now) if most > 0 else ()
    taken = _within_bytes(_suspect_alone(found))
    if taken:
        ids = [each.id for each in taken]
        items.take(conn, ids, worker_id=asking.worker_id, now=now)
    moved = _moved_by_claim(taken)
    if is_alone:
        batches.count(conn, batch.id, moved, **_turn(batch, begins=bool(taken), now=now))
    else:
        counters.take_turn(conn, batch.id, asking.worker_id, moved, now=now)
    return [_claimed(batch, each, turn, is_capped=is_capped) for each in taken]


def _read(conn: Connection, turn: Turn, *, is_alone: bool, is_exact: bool) -> Batch | None:
    """Read a batch that is claimed from; its numbers matter where it has a limit."""
    if not is_alone:
        return batches.get_any(conn, turn.batch_id)
    lock = batches.lock if is_exact or not turn.is_new else batches.lock_new
    return lock(conn, turn.batch_id)


def _due(conn: Connection, batch: Batch, asking: Asking, *, most: int, now: Clock) -> Sequence[Due]:
    waits = batch.counts.retrying > 0
    lost = SUSPECT_LOST - 1 if asking.has_suspect else _ANY_LOST
    return turns.due(conn, batch.id, limit=most, retrying=waits, most_lost=lost, now=now)


def _suspect_alone(found: Sequence[Due]) -> Sequence[Due]:
    """Cut a chunk off before a suspect that is not its first, and behind one that is."""
    for number, each in enumerate(found):
        if each.lost >= SUSPECT_LOST:
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


def _turn(batch: Batch, *, begins: bool, now: Clock) -> dict[str, Any]:
    """Return the columns of a batch's turn.

    It moves on even when nothing was due, so that no batch is asked twice in a row.
    """
    values: dict[str, Any] = {"turn_at": now}
    if batch.outage_since is not None:
        values |= batches.next_probe(batch, now=now)
    if begins:
        values["status"] = BatchStatus.PROCESSING
        values |= {
            name: now for name in ("started_at", "run_started_at") if not getattr(batch, name)
        }
    return values


def _claimed(batch: Batch, each: Due, turn: Turn, *, is_capped: bool) -> Claimed:
    return Claimed(
        claim=Claim(each.id, batch.id, each.attempt + 1, each.spent),
        input=each.input,
        position=each.position,
        total=batch.counts.total,
        owner_id=batch.owner_id,
        tier=batch.tier,
        pipeline=pipelines.with_options(batch.pipeline, each.options),
        is_capped=is_capped,
        is_sequential=batch.concurrency == 1,
        may_halt=batch.halt_after_pct is not None,
        is_probe=batch.outage_since is not None,
        was_tried=each.begun + each.lost > 0,
        is_aged=turn.is_aged,
        is_suspect=each.lost >= SUSPECT_LOST,
    )


def begin(
    conn: Connection,
    batch_id: BatchId,
    ages_ms: Mapping[Claim, int],
    *,
    by: WorkerId | None = None,
    now: Clock = NOW,
) -> int:
    """Note that attempts of a batch have begun, each so long ago; return of how many it is news."""
    if by is None and batches.lock(conn, batch_id) is None:
        return 0
    held = items.hold(conn, list(ages_ms))
    news = {
        claim: age_ms
        for claim, age_ms in ages_ms.items()
        if held.get(claim.item_id) is ItemStatus.QUEUED and claim.key in _newest(ages_ms)
    }
    if news:
        items.begin(conn, news, now=now)
        deltas = {ItemStatus.QUEUED: -len(news), ItemStatus.PROCESSING: len(news)}
        _count(conn, batch_id, deltas, by)
    return len(news)


def finish(
    conn: Connection,
    batch_id: BatchId,
    ended: Sequence[EndedAttempt],
    *,
    retention_ms: int,
    by: WorkerId | None = None,
    now: Clock = NOW,
) -> Sequence[FinishedItem | None]:
    """Record what became of attempts of one batch, each exactly once.

    None: that claim is stale, drop the work. The last one may end the batch: a worker that holds no
    more of it leaves out `by`.
    """
    claims = [each.claimed.claim for each in ended]
    if _concerns_batch(ended):
        by = None
    batch = batches.lock(conn, batch_id) if by is None else None
    if by is None and batch is None:
        return [None] * len(ended)
    held, newest = items.hold(conn, claims), _newest(claims)
    mine = [
        each
        for each in ended
        if each.claimed.claim.item_id in held and each.claimed.claim.key in newest
    ]
    if not mine:
        return [None] * len(ended)
    waits = _waits(conn, mine, batch, now)
    written = _write(conn, batch_id, mine, waits=waits, now=now)
    deltas = _moved_by_finish(mine, held, written.statuses)
    told = FinishedItem(ItemStatus.COMPLETED)
    if batch is not None:
        written.columns.update(_away(batch, mine, waits=waits, now=now))
        told = _settle(conn, batch, deltas, written, retention_ms=retention_ms, now=now)
    elif by is not None:
        counters.add(conn, batch_id, by, deltas, **written.sums)
    if written.groups.groups:
        failures.count(conn, batch_id, written.groups, now=now)
    done = dict(zip((each.claimed.claim.key for each in mine), written.statuses, strict=True))
    last = mine[-1].claimed.claim.key
    return [
        replace(told, status=done[claim.key], ended=told.ended if claim.key == last else None)
        if claim.key in done
        else None
        for claim in claims
    ]


def _concerns_batch(ended: Sequence[EndedAttempt]) -> bool:
    """Say whether the end of attempts may change more of their batch than what is counted."""
    may_halt = any(isinstance(each.outcome, Failed) and each.claimed.may_halt for each in ended)
    return may_halt or bool(_outages(ended)) or any(each.claimed.is_probe for each in ended)


def _outages(mine: Sequence[EndedAttempt]) -> Sequence[Failed]:
    return [
        each.outcome
        for each in mine
        if isinstance(each.outcome, Failed) and each.outcome.outage is not None
    ]


def _waits(conn: Connection, mine: Sequence[EndedAttempt], batch: Batch | None, now: Clock) -> bool:
    """Say whether what is away is waited for: for a day."""
    if batch is None or not _outages(mine):
        return False
    since = batch.outage_since
    return since is None or not batches.is_away_for(conn, batch.id, LONGEST_OUTAGE_MS, now=now)


def _away(
    batch: Batch, mine: Sequence[EndedAttempt], *, waits: bool, now: Clock
) -> Mapping[str, Any]:
    """Return the columns of a batch that say what is away, if anything, and since when."""
    found = _outages(mine)
    if found and waits:
        wait_ms = round(1000 * max(each.retry_after_s for each in found))
        since = {} if batch.outage_since else {"outage_since": now, "pause_reason": found[0].outage}
        return {**since, **batches.next_probe(batch, wait_ms=wait_ms, now=now)}
    if any(each.claimed.is_probe for each in mine) and not found:
        return {**batches.OUTAGE_OVER, "pause_reason": None}
    return {}


def _moved_by_finish(
    mine: Sequence[EndedAttempt],
    held: Mapping[ItemId, ItemStatus],
    statuses: Sequence[ItemStatus],
) -> dict[ItemStatus, int]:
    deltas = dict.fromkeys(ItemStatus, 0)
    for each, status in zip(mine, statuses, strict=True):
        deltas[held[each.claimed.claim.item_id]] -= 1
        deltas[status] += 1
    return deltas


def _settle(
    conn: Connection,
    batch: Batch,
    deltas: Mapping[ItemStatus, int],
    written: "_Written",
    *,
    retention_ms: int,
    now: Clock,
) -> FinishedItem:
    """Write into the row of a batch what a finish changes, and end or stop it where that is due.

    Returns what is true for each item of the finish, whatever its own status.
    """
    values: dict[str, Any] = {name: batches.add(name, n) for name, n in written.sums.items()}
    values |= batches.pace(batch, now=now)
    over = endings.finish_values(batch, deltas, retention_ms=retention_ms, now=now)
    away = {} if over else written.columns
    values = {**away, **endings.halted(batch, deltas), **values, **over}
    status = values.get("status", batch.status)
    batches.count(conn, batch.id, deltas, **values)
    endings.conclude(conn, batch, over)
    return FinishedItem(
        ItemStatus.COMPLETED,
        endings.counts_after(batch.counts, deltas),
        status if status.ended else None,
        is_stopping=status is BatchStatus.CANCELLING,
    )


def _newest(claims: Iterable[Claim]) -> set[AttemptKey]:
    """Return the newest attempt of each item: one process may hold an older one that ended late."""
    newest: dict[ItemId, int] = {}
    for claim in claims:
        newest[claim.item_id] = max(claim.attempt, newest.get(claim.item_id, 0))
    return set(newest.items())


def hand_back(
    conn: Connection, batch_id: BatchId, claims: Sequence[Claim], *, by: WorkerId | None = None
) -> int:
    """Return items of a batch unfinished, as at shutdown: no attempt is counted.

    Returns how many there were; those whose claim was stale stay as they are.
    """
    if by is None and batches.lock(conn, batch_id) is None:
        return 0
    return _return(conn, batch_id, items.hold(conn, claims), by=by)


def rescue(  # noqa: PLR0913 - whose, what, and what it means
    conn: Connection,
    batch_id: BatchId,
    worker_id: WorkerId,
    claims: Sequence[Claim],
    *,
    retention_ms: int,
    is_blamed: bool = True,
    now: Clock = NOW,
) -> int:
    """Return what a worker that is gone had of a batch to pending; return how many.

    Where it `is_blamed` each of them counts a loss, a suspect only when it had begun; one with
    `MOST_LOST` ends in quarantine. It is not where the database was away rather than the worker.
    """
    batch = batches.lock(conn, batch_id)
    if batch is None or worker_id not in workers.gone(conn, now=now):
        return 0
    held = items.hold(conn, claims)
    blamed = _blamed(conn, list(held)) if is_blamed and held else {}
    at_fault = [each for each in blamed.values() if each.lost + 1 >= MOST_LOST]
    back = {key: held[key] for key in held.keys() - {each.id for each in at_fault}}
    _return(conn, batch_id, {key: back[key] for key in back.keys() & blamed.keys()}, lost=True)
    _return(conn, batch_id, {key: back[key] for key in back.keys() - blamed.keys()})
    if at_fault:
        ended = [_ended_by_losses(batch, each) for each in at_fault]
        finish(conn, batch_id, ended, retention_ms=retention_ms, now=now)
    return len(held)


def _blamed(conn: Connection, ids: Sequence[ItemId]) -> Mapping[ItemId, Due]:
    """Return the items that may have to do with the loss of the worker that held them."""
    return {
        each.id: each
        for each in turns.named(conn, ids)
        if each.lost < SUSPECT_LOST or each.status is ItemStatus.PROCESSING
    }


def _ended_by_losses(batch: Batch, item: Due) -> EndedAttempt:
    """Return the end of an item's attempt, of which each loss was a crash."""
    error = WorkerLostError(item.input.name, item.lost + 1)
    turn = Turn(batch.id, batch.owner_id, batch.family, is_aged=False)
    spent = replace(item.spent, crashes=max(item.lost, item.spent.crashes))
    claim = Claim(item.id, batch.id, item.attempt, spent)
    claimed = replace(_claimed(batch, item, turn, is_capped=False), claim=claim)
    failure = Failure(error.code, error.message, error.retryable)
    return EndedAttempt(claimed, Failed(failure, error.budget, retry.RetryPolicy()), run_ms=0)


def _return(
    conn: Connection,
    batch_id: BatchId,
    held: Mapping[Any, ItemStatus],
    *,
    lost: bool = False,
    by: WorkerId | None = None,
) -> int:
    if held:
        items.hand_back(conn, list(held), lost=lost)
        deltas = {status: -number for status, number in Counter(held.values()).items()}
        _count(conn, batch_id, {**deltas, ItemStatus.PENDING: len(held)}, by)
    return len(held)


def _count(
    conn: Connection, batch_id: BatchId, deltas: Mapping[ItemStatus, int], by: WorkerId | None
) -> None:
    if by is None:
        batches.count(conn, batch_id, deltas)
    else:
        counters.add(conn, batch_id, by, deltas)


@dataclass(frozen=True, slots=True)
class _Written:
    """What became of attempts, and what the sums of their batch grow by.

    `columns` are others of the batch that they change.
    """

    statuses: Sequence[ItemStatus]
    sums: Mapping[str, float]
    groups: failures.Tally
    columns: dict[str, Any] = field(default_factory=dict)


def _write(
    conn: Connection, batch_id: BatchId, mine: Sequence[EndedAttempt], *, waits: bool, now: Clock
) -> _Written:
    """Write the items. `waits`: an outage of what their batch needs uses up nothing of them."""
    statuses: list[ItemStatus] = []
    endings: list[Ending] = []
    failings: list[Failing] = []
    groups = failures.Tally()
    sums = dict.fromkeys(("bytes_done", "bytes_out", "bytes_saved"), 0)
    for each in mine:
        if isinstance(each.outcome, Completed):
            ending = Ending(each.claimed.claim, each.run_ms, each.outcome.result)
            endings.append(ending)
            statuses.append(_status_of(ending.result))
            _add_bytes(sums, each.claimed.input.bytes, ending.result)
        else:
            if waits and each.outcome.outage is not None:
                failing = _put_off(each, each.outcome)
            else:
                failing = _failing(batch_id, each, each.outcome, groups)
            failings.append(failing)
            statuses.append(failing.status)
            if failing.status is not ItemStatus.RETRYING:
                sums["bytes_done"] += each.claimed.input.bytes
    items.finish(conn, endings, now=now)
    if failings:
        over = [each for each in failings if each.status is not ItemStatus.RETRYING]
        again = [each for each in failings if each.status is ItemStatus.RETRYING]
        items.fail(conn, over, now=now)
        items.retry_later(conn, again, now=now)
    grown: dict[str, float] = {name: size for name, size in sums.items() if size}
    grown["run_ms"] = sum(each.run_ms for each in mine)
    grown["run_s2"] = sum((each.run_ms / 1000) ** 2 for each in mine)
    return _Written(statuses, grown, groups)


def _status_of(result: Result) -> ItemStatus:
    return ItemStatus.SKIPPED if result.skipped else ItemStatus.COMPLETED


def _add_bytes(sums: dict[str, int], input_bytes: int, result: Result) -> None:
    bytes_out = sum(output.bytes for output in result.outputs)
    sums["bytes_done"] += input_bytes
    sums["bytes_out"] += bytes_out
    # What is told about a file, or cut out of it, is no copy of it that saves bytes.
    if result.outputs and not result.data:
        sums["bytes_saved"] += input_bytes - bytes_out


def _put_off(ended: EndedAttempt, failed: Failed) -> Failing:
    """Return how an attempt ended that met an outage: nothing is used up, and it waits."""
    held, wait_ms = ended.claimed.claim, max(batches.PROBE_MS, round(failed.retry_after_s * 1000))
    status = ItemStatus.RETRYING
    return Failing(held, ended.run_ms, failed.failure, status, held.spent, wait_ms=wait_ms)


def _failing(
    batch_id: BatchId, ended: EndedAttempt, failed: Failed, groups: failures.Tally
) -> Failing:
    held, failure = ended.claimed.claim, failed.failure
    used = getattr(held.spent, failed.budget) + 1
    spent: Spent = replace(held.spent, **{failed.budget: used})
    status = retry.verdict(spent, failed.budget, failed.policy, retryable=failure.retryable)
    if status is ItemStatus.RETRYING:
        wait_s = max(failed.retry_after_s, retry.backoff_s(used))
        return Failing(held, ended.run_ms, failure, status, spent, wait_ms=round(wait_s * 1000))
    no = groups.add(batch_id, failure, ended.claimed.input.name)
    return Failing(held, ended.run_ms, failure, status, spent, failure_no=no)
