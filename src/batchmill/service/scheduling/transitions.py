"""The transactions of claimed items: begin, finish, hand back, rescue; each for many items.

Each is run whole by `Database.run` and may run again after a deadlock. Items are counted beside
their change: by a worker, named by `by`, in counters of its own, so that it waits for no other;
else in the batch's row, under its lock. All locks are taken in one order: batch row, items by id,
counters, failures.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from batchmill.db import batches, counters, failures, items, turns, workers
from batchmill.db.connect import Connection
from batchmill.db.items import Ending, Failing
from batchmill.db.shares import Share
from batchmill.db.turns import Due, Passed, Turn
from batchmill.db.types import NOW, Clock
from batchmill.errors.item import Budget, BudgetUsedUpError, WorkerLostError
from batchmill.model import pipeline as pipelines
from batchmill.model import retry
from batchmill.model.batch import (
    RUNNABLE,
    Batch,
    BatchId,
    BatchStatus,
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
from batchmill.service.scheduling.endings import BatchEnd

SUSPECT_LOST: Final = 2
"""An item whose worker was lost so often is suspected: it is claimed and worked on alone."""
LONGEST_OUTAGE_MS: Final = 86_400_000
"""What a batch needs and is away for longer than a day is waited for no more."""
MOST_LOST: Final = 4
"""After so many losses, the last ones of workers that had begun with it alone, it is at fault."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed item with all that its attempt needs; it is one of `total` of its batch.

    `is_capped`: only so many of its batch or family may be in hand at once. `may_halt`: its failure
    may stop its batch. `is_probe`: it tries what its batch needs and was away. `was_tried`: an
    earlier attempt may have left files behind. `is_aged`: its batch had waited too long.
    `is_suspect`: workers were lost while they had it, so its begin is noted before it begins.
    `opens_run_of`: with it begins a run of its batch, of so many files; else 0.
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
    opens_run_of: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether nothing may be at work beside it in its slot."""
        return self.is_capped or self.is_sequential or self.is_probe or self.is_suspect


@dataclass(frozen=True, slots=True)
class Asking:
    """A worker that asks for items, and what it has to say meanwhile.

    `slots` are those of all living workers. `most` says how many items of a batch it could use.
    `caps` limits the items in hand of a family, over all batches and owners. `passed` are those
    that it does not ask for now; `usage` is what has changed of what owners have of it, and `here`
    are the owners for whom it has children. With a suspect in hand it `has_suspect`, and gets no
    other.
    """

    worker_id: WorkerId
    slots: int
    most: Callable[[Batch], int]
    caps: Mapping[str, int] = field(default_factory=dict)
    passed: Passed = field(default_factory=Passed)
    usage: Sequence[Share] = ()
    here: Collection[OwnerId] = ()
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
    """What became of the item.

    `ended`: how the batch did, if this was its last item. `is_stopping`: what the batch has left
    must not begin.
    """

    status: ItemStatus
    ended: BatchEnd | None = None
    is_stopping: bool = False


def outage_now(conn: Connection, batch: Batch, now: Clock) -> tuple[bool, bool]:
    """Say whether an outage of a locked batch is waited for, and whether it may be over."""
    if batch.outage_since is None:
        return True, True
    return batches.outage_of(conn, batch.id, longest_ms=LONGEST_OUTAGE_MS, now=now)


def claimed_of(batch: Batch, each: Due, turn: Turn, *, is_capped: bool) -> Claimed:
    """Return an item of a batch as its next attempt gets it."""
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
        was_tried=each.begun + each.rescued > 0,
        is_aged=turn.is_aged,
        is_suspect=each.lost >= SUSPECT_LOST,
        opens_run_of=0 if batch.run_started_at else batch.counts.unfinished,
    )


def held_of(batch: Batch, item: Due) -> Claimed:
    """Return an item of a batch as the attempt has it that it is in."""
    turn = Turn(batch.id, batch.owner_id, batch.family, is_aged=False)
    claim = Claim(item.id, batch.id, item.attempt, item.spent)
    claimed = claimed_of(batch, item, turn, is_capped=False)
    return replace(claimed, claim=claim, is_probe=False)


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
    if is_concerned := _concerns_batch(ended):
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
    is_new = batch is not None and batch.outage_since is None
    waits = is_concerned and batch is not None and outage_now(conn, batch, now)[0]
    written = _write(conn, batch_id, mine, waits=waits, is_new=is_new, now=now)
    deltas = _moved_by_finish(mine, held, written.statuses)
    told = FinishedItem(ItemStatus.COMPLETED)
    if batch is not None:
        if is_concerned:
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


def _away(
    batch: Batch, mine: Sequence[EndedAttempt], *, waits: bool, now: Clock
) -> Mapping[str, Any]:
    """Return the columns of a batch that say what is away, if anything, and since when."""
    if batch.status not in RUNNABLE:
        return {}
    own = {} if batch.paused else {"pause_reason": None}
    is_new = batch.outage_since is None
    put_off = [each for each in mine if _is_put_off(each, waits=waits, is_new=is_new)]
    found = _outages(put_off)
    if found:
        wait_ms = round(1000 * max(each.retry_after_s for each in found))
        since = {} if batch.outage_since else {"outage_since": now}
        said = {"pause_reason": found[0].outage} if since and not batch.paused else {}
        return {**since, **said, **batches.next_probe(batch, wait_ms=wait_ms, now=now)}
    if any(each.claimed.is_probe and _has_answer(each) for each in mine):
        return {**batches.OUTAGE_OVER, **own}
    return {}


def _has_answer(ended: EndedAttempt) -> bool:
    """Say whether an attempt found what its batch needs: not if a budget kept it from asking."""
    outcome = ended.outcome
    if isinstance(outcome, Completed):
        return True
    return outcome.outage is None and outcome.failure.code != BudgetUsedUpError.code


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
    ended = endings.conclude(conn, batch, over, deltas)
    return FinishedItem(ItemStatus.COMPLETED, ended, is_stopping=status is BatchStatus.CANCELLING)


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


@dataclass(frozen=True, slots=True)
class Rescue:
    """How many items a worker that is gone had, and what became of those that ended with it."""

    items: int = 0
    ended: Sequence[tuple[EndedAttempt, FinishedItem | None]] = ()


def rescue(  # noqa: PLR0913 - whose, what, and what it means
    conn: Connection,
    batch_id: BatchId,
    worker_id: WorkerId,
    claims: Sequence[Claim],
    *,
    retention_ms: int,
    is_blamed: bool = True,
    now: Clock = NOW,
) -> Rescue:
    """Return what a worker that is gone had of a batch to pending.

    Where it `is_blamed` each of them counts a loss, a suspect only when it had begun; one with
    `MOST_LOST` ends in quarantine. It is not where the database was away rather than the worker.
    """
    batch = batches.lock(conn, batch_id)
    if batch is None or worker_id not in workers.gone(conn, now=now):
        return Rescue()
    held = items.hold(conn, claims)
    blamed = _blamed(conn, list(held)) if is_blamed and held else {}
    at_fault = [each for each in blamed.values() if each.lost + 1 >= MOST_LOST]
    back = {key: held[key] for key in held.keys() - {each.id for each in at_fault}}
    for keys, lost in ((back.keys() & blamed.keys(), True), (back.keys() - blamed.keys(), False)):
        _return(conn, batch_id, {key: back[key] for key in keys}, rescued=True, lost=lost)
    ended = [_ended_by_losses(batch, each) for each in at_fault]
    if not ended:
        return Rescue(len(held))
    done = finish(conn, batch_id, ended, retention_ms=retention_ms, now=now)
    return Rescue(len(held), tuple(zip(ended, done, strict=True)))


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
    spent = replace(item.spent, crashes=max(item.lost, item.spent.crashes))
    claimed = held_of(batch, replace(item, spent=spent))
    failure = Failure(error.code, error.message, error.retryable)
    return EndedAttempt(claimed, Failed(failure, error.budget, retry.RetryPolicy()), run_ms=0)


def _return(
    conn: Connection,
    batch_id: BatchId,
    held: Mapping[Any, ItemStatus],
    *,
    rescued: bool = False,
    lost: bool = False,
    by: WorkerId | None = None,
) -> int:
    if held:
        items.hand_back(conn, list(held), rescued=rescued, lost=lost)
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


def _is_put_off(ended: EndedAttempt, *, waits: bool, is_new: bool) -> bool:
    """Say whether an attempt that met an outage uses up nothing.

    What was tried before, and meets one while its batch knows of none, may be the cause of it.
    """
    met = isinstance(ended.outcome, Failed) and ended.outcome.outage is not None
    return met and waits and not (is_new and ended.claimed.was_tried)


def _write(
    conn: Connection,
    batch_id: BatchId,
    mine: Sequence[EndedAttempt],
    *,
    waits: bool,
    is_new: bool,
    now: Clock,
) -> _Written:
    """Write the items.

    `waits`: an outage of what their batch needs uses up nothing of them; `is_new`: none is known.
    """
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
            if _is_put_off(each, waits=waits, is_new=is_new):
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
