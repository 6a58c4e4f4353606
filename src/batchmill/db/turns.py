"""Whose turn it is: which batch a worker claims from next, and what of it is due.

    tier ─► fewest slots in use ─► least slot time served ─► the batch that waited longest

Slot time counts in whole seconds: within one, owners go first for whom this worker has children.

A batch that waited for `AGED_MS` while something of it was due goes before all others, on at most
a quarter of the slots. Statements are built once, because workers ask them all the time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    select,
    type_coerce,
)

from batchmill.db.counters import sums, with_sum
from batchmill.db.listing import input_of
from batchmill.db.schema import batches, items, shares, workers
from batchmill.db.types import NOW, Clock, one_of
from batchmill.model.batch import RUNNABLE, BatchId, OwnerId
from batchmill.model.item import Input, ItemId, ItemStatus, Spent, StepOptions, WorkerId

CLOCKS: Final = 8
"""Most statements that are kept for clocks of tests."""
AGED_MS: Final = 60_000
"""After so long without a turn a batch goes first."""
AGED_SHARE: Final = 4
"""A quarter of all slots, and at least one, may work for such batches at once."""
BEHIND_MS: Final = 10_000
"""No owner counts as more slot time a slot behind than this: else newcomers would have all."""
STAY_MS: Final = 1_000
"""Owners take turns by so much slot time: with shorter turns nearly every file starts a child."""
TIER: Final = 100
"""A batch's priority is its tier times this, plus its own rank; see `model.priority`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The batch whose turn it is. `is_aged`: it had waited too long.

    `is_new` until the first claim of its run, `is_bounded` where it has a `concurrency`, `is_away`
    while something is that it needs: then who claims of it goes alone.
    """

    batch_id: BatchId
    owner_id: OwnerId
    family: str
    is_aged: bool
    is_new: bool = False
    is_bounded: bool = False
    is_away: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """An item that may be claimed now, with all that its attempt needs.

    `begun` attempts were begun, `rescued` times its worker was gone, and `lost` times that may
    have been its own fault.
    """

    id: ItemId
    status: ItemStatus
    position: int
    attempt: int
    spent: Spent
    begun: int
    rescued: int
    lost: int
    input: Input
    options: StepOptions | None


@dataclass(frozen=True, slots=True)
class Passed:
    """Whom a worker does not ask for now; with `only_unserved` all who have a slot anywhere."""

    batches: Collection[BatchId] = ()
    families: Collection[str] = ()
    owners: Collection[OwnerId] = ()
    only_unserved: bool = False


def next_turn(
    conn: Connection,
    worker_id: WorkerId,
    *,
    slots: int,
    passed: Passed = Passed(),
    here: Collection[OwnerId] = (),
    now: Clock = NOW,
) -> Turn | None:
    """Name the batch whose turn it is; None: nothing is due, or the worker's lease is over.

    `slots` are those of all living workers; `here` are owners for whom this one has children.
    """
    given = {
        "worker_id": worker_id,
        "behind_ms": BEHIND_MS * max(1, slots),
        "aged_slots": max(1, slots // AGED_SHARE),
        "passed_batches": list(passed.batches),
        "passed_families": list(passed.families),
        "passed_owners": list(passed.owners),
        "here": list(here),
    }
    query = _next_turn(now, only_unserved=passed.only_unserved)
    row = conn.execute(query, given).one_or_none()
    if row is None:
        return None
    return Turn(
        BatchId(row.id),
        OwnerId(row.owner_id),
        row.family,
        is_aged=bool(row.is_aged),
        is_new=row.run_started_at is None,
        is_bounded=row.concurrency is not None,
        is_away=row.outage_since is not None,
    )


def in_flight_of_family(conn: Connection, family: str) -> int:
    """Sum the queued and processing items of a family over all batches that still run."""
    return _sum_of_family(conn, ("n_queued", "n_processing"), batches.c.family == family)


def waiting_of_family(conn: Connection, family: str, *, tier: str) -> int:
    """Sum the waiting items of a family that callers of a tier have sent."""
    of_tier = (batches.c.family == family) & (batches.c.tier == tier)
    return _sum_of_family(conn, ("n_pending", "n_queued", "n_retrying"), of_tier)


def _sum_of_family(conn: Connection, names: Sequence[str], chosen: ColumnElement[bool]) -> int:
    counted = sums(*names)
    total = func.sum(sum((with_sum(name, counted) for name in names), literal(0)))
    together = batches.outerjoin(counted, counted.c.batch_id == batches.c.id)
    query = select(func.coalesce(total, 0)).select_from(together).where(chosen, _running())
    return int(conn.scalar(query) or 0)


def due(
    conn: Connection,
    batch_id: BatchId,
    *,
    limit: int,
    statuses: Sequence[ItemStatus],
    most_lost: int,
    now: Clock = NOW,
) -> Sequence[Due]:
    """Hold and return what may be claimed of a batch: by status in this order, then by position.

    Items whose worker was lost more often than `most_lost` times are left out, and what another
    worker claims at this moment.
    """
    found: list[Due] = []
    for status in statuses:
        given = {"batch_id": batch_id, "status": status, "most": limit - len(found)}
        given["most_lost"] = most_lost
        found += [_due(row, status) for row in conn.execute(_due_items(now), given)]
        if len(found) >= limit:
            break
    return found


def named(conn: Connection, ids: Collection[ItemId]) -> Sequence[Due]:
    """Return items by id, as `due` does; `attempt` is the one that they have."""
    query = select(items.c.status, *(items.c[name] for name in _COLUMNS))
    rows = conn.execute(query.where(items.c.id.in_(ids)))
    return [_due(row, ItemStatus(row.status)) for row in rows]


@lru_cache(maxsize=CLOCKS)
def _next_turn(now: Clock, *, only_unserved: bool) -> Select[Any]:
    usage, counted = _usage(), sums("n_pending", "n_queued", "n_processing", "turn_at")
    turn_at = _last_turn(counted)
    in_use = func.coalesce(usage.c.slots, 0)
    is_here = batches.c.owner_id.in_(bindparam("here", expanding=True))
    living = exists().where(workers.c.id == bindparam("worker_id"), workers.c.lease_until > now)
    is_aged = and_(
        turn_at < now - AGED_MS,
        select(func.coalesce(func.sum(shares.c.aged_slots), 0)).scalar_subquery()
        < bindparam("aged_slots"),
    )
    tier = batches.c.priority - batches.c.priority % TIER
    query = (
        select(
            batches.c.id,
            batches.c.owner_id,
            batches.c.family,
            batches.c.run_started_at,
            batches.c.concurrency,
            batches.c.outage_since,
            case((is_aged, 1), else_=0).label("is_aged"),
        )
        .select_from(
            batches.outerjoin(usage, usage.c.owner_id == batches.c.owner_id).outerjoin(
                counted, counted.c.batch_id == batches.c.id
            )
        )
        .where(_running(), batches.c.paused.is_(False), living)
        .where(_has_due(counted, now), _room(counted), _may_be_tried(now))
        .where(batches.c.id.not_in(bindparam("passed_batches", expanding=True)))
        .where(batches.c.family.not_in(bindparam("passed_families", expanding=True)))
        .where(batches.c.owner_id.not_in(bindparam("passed_owners", expanding=True)))
        .order_by(
            case((is_aged, literal(0)), else_=tier),
            case((is_aged, turn_at), else_=literal(0)),
            in_use,
            _served(usage) - _served(usage) % STAY_MS,
            case((and_(_counts_in_full(usage), is_here), 0), else_=1),
            _served(usage),
            batches.c.priority,
            turn_at,
            batches.c.id,
        )
        .limit(1)
    )
    return query.where(in_use == 0) if only_unserved else query


@cache
def _usage() -> Any:  # noqa: ANN401 - a subquery
    """Return what each owner has of all workers together."""
    sums = (func.sum(shares.c[name]).label(name) for name in ("slots", "served_ms"))
    return select(shares.c.owner_id, *sums).group_by(shares.c.owner_id).subquery("in_use")


def _served(usage: Any) -> ColumnElement[int]:  # noqa: ANN401 - a subquery
    """Return the slot time that an owner counts as having got."""
    served, least = func.coalesce(usage.c.served_ms, 0), _least_served()
    return case((served < least, least), else_=served)


def _counts_in_full(usage: Any) -> ColumnElement[bool]:  # noqa: ANN401 - a subquery
    """Say whether what an owner gets counts at once.

    Of those who are far behind it does not yet: among them none may stay, or others would starve.
    """
    return func.coalesce(usage.c.served_ms, 0) >= _least_served()


def _least_served() -> ColumnElement[int]:
    each = _usage().alias("each_owner")
    return select(func.max(each.c.served_ms)).scalar_subquery() - bindparam("behind_ms")


@lru_cache(maxsize=CLOCKS)
def _due_items(now: Clock) -> Select[Any]:
    """Return the statement of `due`.

    MariaDB is told which index: by another it would hold every row that it looks at.
    """
    return (
        select(*(items.c[name] for name in _COLUMNS))
        .with_hint(items, "FORCE INDEX (items_by_batch_status)", "mysql")
        .where(items.c.batch_id == bindparam("batch_id"), items.c.status == bindparam("status"))
        .where(items.c.due_at <= now, items.c.lost <= bindparam("most_lost"))
        .order_by(items.c.due_at, items.c.position)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


# fmt: off
_COLUMNS = (
    "id", "position", "attempt", "errors", "crashes", "timeouts", "begun", "rescued", "lost",
    "input_key", "name", "input_bytes", "input_sha256", "input_type", "input_absent", "entry",
    "options",
)
# fmt: on


def _due(row: Any, status: ItemStatus) -> Due:  # noqa: ANN401 - a row of `_COLUMNS`
    return Due(
        id=ItemId(row.id),
        status=status,
        position=row.position,
        attempt=row.attempt,
        spent=Spent(row.errors, row.crashes, row.timeouts),
        begun=row.begun,
        rescued=row.rescued,
        lost=row.lost,
        input=input_of(row),
        options=row.options,
    )


def _last_turn(counted: Subquery) -> ColumnElement[int]:
    """Return when a batch was last claimed from, in milliseconds."""
    own = type_coerce(batches.c.turn_at, BigInteger)
    others = func.coalesce(type_coerce(counted.c.turn_at, BigInteger), 0)
    return case((own < others, others), else_=own)


def _room(counted: Subquery) -> ColumnElement[bool]:
    in_flight = with_sum("n_queued", counted) + with_sum("n_processing", counted)
    return batches.c.concurrency.is_(None) | (in_flight < batches.c.concurrency)


def _may_be_tried(now: Clock) -> ColumnElement[bool]:
    """Say whether nothing is away that a batch needs, or may be back."""
    return batches.c.outage_until.is_(None) | (batches.c.outage_until <= now)


def _has_due(counted: Subquery, now: Clock) -> ColumnElement[bool]:
    """Say whether something may be claimed; retries are looked for where they would be taken."""
    retrying = exists().where(
        items.c.batch_id == batches.c.id,
        items.c.status == ItemStatus.RETRYING,
        items.c.due_at <= now,
    )
    return (with_sum("n_pending", counted) > 0) | retrying


def _running() -> ColumnElement[bool]:
    return one_of(batches.c.status, RUNNABLE)
